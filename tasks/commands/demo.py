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
            replace=args.replace,
            progress={"simulate": simulated, "score": lambda facts: scored(int(facts["rows"]))},
        )
        run_tasks([task])
    facts = _facts(DemoFolder(Path(args.out)))
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
        "report": str(folder.report),
        "catalogs": list(folder.catalogs),
        "files": [str(folder.path / "metrics.json"), str(folder.quarantine)],
    }


def _text(facts: dict[str, Any]) -> str:
    counts, metrics = facts["n_objects"], facts["metrics"]
    rules = ", ".join(f"{n} {rule}" for rule, n in facts["quarantined"].items())
    low, high = facts["intervals"]["auroc"]
    return "\n".join(
        (
            f"ingested   {counts['euclid']} real Euclid objects, {counts['des']} real DES galaxies",
            f"quarantine {rules}",
            f"simulated  {counts['simulated']} Euclid-like objects: AUROC {metrics['auroc']:.3f} "
            f"({low:.3f} to {high:.3f}; {metrics['n_lenses']} lenses, "
            f"{metrics['n_nonlenses']} non-lenses)",
            f"candidates {facts['n_candidates']} real Euclid objects ranked; the known lenses are "
            f"at {', '.join(map(str, facts['ranks_of_known_lenses']))}",
            f"report     {facts['report']}",
            f"catalogue  {' '.join(facts['catalogs'])}",
        )
    )
