"""`equilens inject`: simulated arcs in real cutouts, labelled."""

from __future__ import annotations

import argparse
from pathlib import Path

from equilens.tasks.arguments import (
    existing_file,
    existing_path,
    known_survey,
    positive,
    positive_float,
    share,
)
from equilens.tasks.console import Outcome, progress_bar
from equilens.tasks.errors import UsageError


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "inject", parents=[common], help="inject simulated arcs into real cutouts, labelled"
    )
    parser.add_argument("background", type=existing_path, metavar="STORE.zarr")
    parser.add_argument("--survey", required=True, metavar="NAME_OR_TOML")
    parser.add_argument("-n", type=positive, required=True, dest="n_objects", metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, metavar="OUT.zarr")
    parser.add_argument("--replace", action="store_true", help="overwrite a finished store")
    _add_sources(parser)
    _add_parents(parser)
    parser.set_defaults(run=run_inject)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lens-fraction", type=share, default=0.5, metavar="SHARE")
    parser.add_argument(
        "--pasted-fraction",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="of the non-lenses, that carry sources which are not multiply imaged (default 0.5)",
    )
    parser.add_argument(
        "--einstein-radius",
        nargs=2,
        type=positive_float,
        default=(),
        metavar=("LOW", "HIGH"),
        help="arcsec; by default the population's, by the central galaxy's magnitude",
    )
    parser.add_argument(
        "--faintest-lens",
        type=positive_float,
        metavar="MAG",
        help="AB magnitude of the faintest central galaxy; by default the survey's own limit",
    )
    parser.add_argument(
        "--arc-snr-min", type=float, metavar="SNR", help="of the faintest arcs; 0 keeps all"
    )
    parser.add_argument(
        "--max-shift", type=int, default=2, metavar="PIXELS", help="of a background (default 2)"
    )


def _add_parents(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--hold-out",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="of the parent frames, chosen by a hash of their name, that training never sees",
    )
    parser.add_argument(
        "--hold-out-parents", nargs="+", default=(), metavar="NAME", help="held out in any case"
    )
    parser.add_argument(
        "--parents-from",
        choices=("training", "held-out"),
        default="training",
        help="which side of that split is injected into",
    )
    parser.add_argument(
        "--known-lenses",
        nargs="+",
        type=existing_file,
        default=(),
        metavar="TABLE",
        help="with id, or ra and dec: never backgrounds, like the store's own and lenscat's lenses",
    )


def run_inject(args: argparse.Namespace) -> Outcome:
    """Inject into a store, or say what is there already."""
    known_survey(args.survey)
    if args.einstein_radius and args.einstein_radius[0] >= args.einstein_radius[1]:
        raise UsageError("--einstein-radius LOW HIGH: LOW must be below HIGH")
    if args.max_shift < 0 or (args.arc_snr_min or 0) < 0:
        raise UsageError("--max-shift and --arc-snr-min must not be negative")
    from equilens.pipeline.stores import CutoutStore
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.inject import InjectTask

    # a folder that is no finished store is an error of its own, not one of planning
    CutoutStore(args.background)
    with progress_bar("injecting", args.n_objects) as advance:
        task = InjectTask(
            background=str(args.background),
            survey=args.survey,
            n_objects=args.n_objects,
            seed=args.seed,
            out=args.out,
            lens_fraction=args.lens_fraction,
            pasted_fraction=args.pasted_fraction,
            parents_from=args.parents_from,
            hold_out=args.hold_out,
            hold_out_parents=tuple(args.hold_out_parents),
            einstein_radius=tuple(args.einstein_radius),
            faintest_lens=args.faintest_lens,
            arc_snr_min=args.arc_snr_min,
            max_shift=args.max_shift,
            known_lenses=tuple(map(str, args.known_lenses)),
            replace=args.replace,
            progress=advance,
        )
        run_tasks([task])
    return describe_injection(args.out, task.made)


def describe_injection(path: str, made: bool) -> Outcome:
    """What an injected store says of itself."""
    from equilens.pipeline.stores import CutoutStore
    from equilens.tasks.simulate import truth_path

    store = CutoutStore(path)
    config = store.manifest["config"]
    n_lenses = int(store.facts("columns/is_lens").sum())
    counts = {name: config[name] for name in ("n_backgrounds", "n_quarantined", "by_rule")}
    facts = {
        "store": path,
        "truth": str(truth_path(path)),
        "survey": store.survey_name,
        "n_objects": store.n_objects,
        "n_lenses": n_lenses,
        "n_parents": len(config["parents"]),
        **counts,
        "lens_checks": config["lens_checks"],
        "quarantine": str(Path(path, "quarantine.csv")),
        "fingerprint": store.fingerprint,
        "made_now": made,
    }
    rules = ", ".join(f"{count} {rule}" for rule, count in config["by_rule"].items())
    text = (
        f"{'injected' if made else 'there already:'} {store.n_objects} objects of "
        f"{store.survey_name}, {n_lenses} of them lenses, in {path}\n"
        f"backgrounds: {counts['n_backgrounds']} real cutouts of {facts['n_parents']} parents; "
        f"{counts['n_quarantined']} refused" + (f" ({rules})" if rules else "") + "\n"
        f"truth in {facts['truth']}"
    )
    if not config["lens_checks"]["labelled"] and not config["lens_checks"]["tables"]:
        text += (
            "\nno label says that the backgrounds are no lenses: only lenscat was asked, for the "
            f"{config['lens_checks']['n_with_position']} objects of the store with a position"
        )
    return Outcome(facts, text)
