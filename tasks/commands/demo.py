"""`equilens demo`: everything, on what ships."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import known_model, positive
from equilens.tasks.console import Outcome, progress_bar

if TYPE_CHECKING:
    from equilens.pipeline.demo import DemoFolder

N_SIMULATED, SEED = 1500, 20


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "demo", parents=[common], help="real galaxies in, a ranked and explained catalogue out"
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("-n", type=positive, default=N_SIMULATED, metavar="N", help="to simulate")
    parser.add_argument("--seed", type=int, default=SEED, help="of the simulation")
    parser.add_argument("--model", metavar="NAME_OR_DIR", help="network for the Euclid cutouts")
    parser.add_argument(
        "--no-sky", action="store_true", help="leave out the mass map, two minutes of one core"
    )
    parser.add_argument("--replace", action="store_true", help="make all of it anew")
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> Outcome:
    """Run the demonstration; quarantined objects belong to it, so the exit code stays 0."""
    from pathlib import Path

    from equilens.pipeline.demo import REAL_SURVEY, DemoFolder

    model = known_model(args.model or REAL_SURVEY)
    from equilens.tasks.demo import demo_tasks
    from equilens.tasks.engine import run_tasks

    with (
        progress_bar("simulating", args.n) as simulated,
        progress_bar("scoring", args.n) as scored,
    ):
        task = demo_tasks(
            args.out,
            n_simulated=args.n,
            seed=args.seed,
            model=model,
            with_sky=not args.no_sky,
            replace=args.replace,
            progress={"simulate": simulated, "score": lambda facts: scored(int(facts["rows"]))},
        )
        run_tasks([task])
    folder = DemoFolder(Path(args.out))
    facts = _facts(folder) | {"sky": None if args.no_sky else _sky(folder)}
    return Outcome(facts, _text(facts))


def _facts(folder: DemoFolder) -> dict[str, Any]:
    import json

    from equilens.catalogs.export import read_catalog
    from equilens.pipeline.quarantine import count_by_rule, read_quarantine
    from equilens.pipeline.stores import CutoutStore

    table = read_catalog(folder.catalogs[0])
    metrics = json.loads((folder.path / "metrics.json").read_text())
    stores = {name: CutoutStore(folder.store(name)) for name in ("euclid", "des", "simulated")}
    ranks = zip(table["rank"].to_pylist(), table["is_lens"].to_pylist(), strict=True)
    return {
        "n_objects": {name: store.n_objects for name, store in stores.items()},
        "quarantined": count_by_rule(read_quarantine(folder.quarantine)),
        "n_candidates": table.num_rows,
        "ranks_of_known_lenses": [rank for rank, is_lens in ranks if is_lens],
        "metrics": {k: metrics[k] for k in ("auroc", "tpr0", "tpr10", "n_lenses", "n_nonlenses")},
        "intervals": metrics["intervals"],
        **_measured(folder),
        "report": str(folder.report),
        "catalogs": list(folder.catalogs),
        "files": [str(folder.path / "metrics.json"), str(folder.quarantine)],
    }


def _sky(folder: DemoFolder) -> dict[str, Any]:
    """Area, peaks, and how many of the best ones are at a true halo."""
    from equilens.pipeline.demo import mapped_sky
    from equilens.pipeline.report.mass_section import MATCH_RADIUS_ARCMIN, best_peaks

    sky = mapped_sky(folder)
    best = best_peaks(sky)
    return {
        "area_sq_deg": sky.area_sq_deg,
        "n_peaks": sky.peaks.num_rows,
        "n_best": len(best),
        "n_best_at_halo": sum(peak["halo"] is not None for peak in best),
        "radius_arcmin": MATCH_RADIUS_ARCMIN,
        "mapper": sky.mapper,
    }


def _measured(folder: DemoFolder) -> dict[str, Any]:
    """Calibration, selection function and ranks in short; None where the scores allow none."""
    from equilens.catalogs.calibration_result import read_calibration
    from equilens.catalogs.export import read_catalog
    from equilens.catalogs.intervals import proportion
    from equilens.pipeline.demo import made_or_none, read_measured

    facts: dict[str, Any] = {"calibration": None, "selection": None}
    calibration = made_or_none(folder.calibration, read_calibration)
    if calibration is not None:
        facts["calibration"] = {
            "family": calibration.calibration.family,
            "error": calibration.quality.error.to_dict(),
            "bare_scores": calibration.uncalibrated.error.to_dict(),
        }
    selection = made_or_none(folder.selection, read_measured)
    if selection is not None:
        counts, cut = selection.function.denominator, selection.function.cut
        facts["selection"] = {
            "cut": cut.to_dict(),
            "completeness": proportion(counts.n_found, counts.n_counted).to_json(),
        }
    facts["shares_of_known_lenses"] = [
        {
            "value": row["share"],
            "low": row["share_low"],
            "high": row["share_high"],
            "n": row["n_nonlenses"],
        }
        for row in read_catalog(folder.ranks).to_pylist()
        if row["is_lens"] == 1
    ]
    return facts


def _text(facts: dict[str, Any]) -> str:
    counts, metrics = facts["n_objects"], facts["metrics"]
    rules = ", ".join(f"{n} {rule}" for rule, n in facts["quarantined"].items())
    low, high = facts["intervals"]["auroc"]
    ranks = ", ".join(map(str, facts["ranks_of_known_lenses"]))
    return "\n".join(
        [
            f"ingested   {counts['euclid']} real Euclid objects, {counts['des']} real DES galaxies",
            f"quarantine {rules}",
            f"simulated  {counts['simulated']} Euclid-like objects: AUROC {metrics['auroc']:.3f} "
            f"({low:.3f} to {high:.3f}; {metrics['n_lenses']} lenses, "
            f"{metrics['n_nonlenses']} non-lenses)",
            *_measured_lines(facts),
            f"candidates {facts['n_candidates']} real Euclid objects ranked; the known lenses are "
            f"at {ranks}{_shares(facts['shares_of_known_lenses'])}",
            *_sky_lines(facts["sky"]),
            f"report     {facts['report']}",
            f"catalogue  {' '.join(facts['catalogs'])}",
        ]
    )


def _shares(known: list[dict[str, Any]]) -> str:
    if not known:
        return ""
    texts = (f"{s['value']:.2g} ({s['low']:.2g} to {s['high']:.2g})" for s in known)
    return f"; of {known[0]['n']} simulated non-lenses {', '.join(texts)} score as high"


def _sky_lines(sky: dict[str, Any] | None) -> list[str]:
    if sky is None:
        return []
    return [
        f"mass       {sky['area_sq_deg']:.0f} square degrees of simulated shear by "
        f"{sky['mapper']}: {sky['n_peaks']} peaks, {sky['n_best_at_halo']} of the "
        f"{sky['n_best']} best within {sky['radius_arcmin']:g}' of a true halo"
    ]


def _measured_lines(facts: dict[str, Any]) -> list[str]:
    lines = []
    if fit := facts["calibration"]:
        error, perfect = fit["error"]["value"], fit["error"]["if_calibrated"]
        lines.append(
            f"calibrated {fit['family']}; expected calibration error of {error['n']} held-out "
            f"objects {error['value']:.3f}, perfect probabilities show {perfect['low']:.3f} to "
            f"{perfect['high']:.3f}"
        )
    if found := facts["selection"]:
        share, rate = found["completeness"], found["cut"]["fpr"]
        lines.append(
            f"selection  {share['value']:.3f} ({share['low']:.3f} to {share['high']:.3f}) of "
            f"{share['n']} injected lenses found where {rate['value']:.3f} "
            f"({rate['low']:.3f} to {rate['high']:.3f}) of {rate['n']} non-lenses pass"
        )
    return lines
