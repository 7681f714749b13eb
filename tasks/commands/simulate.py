"""`equilens simulate`: labelled cutouts of any survey."""

from __future__ import annotations

import argparse

from equilens.tasks.arguments import known_survey, positive, share
from equilens.tasks.console import Outcome, progress_bar


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "simulate", parents=[common], help="simulate labelled cutouts of a survey"
    )
    parser.add_argument("--survey", required=True, metavar="NAME_OR_TOML")
    parser.add_argument("-n", type=positive, required=True, dest="n_objects", metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lens-fraction", type=share, default=0.5, metavar="SHARE")
    parser.add_argument("--out", required=True, metavar="STORE.zarr")
    parser.add_argument("--replace", action="store_true")
    parser.set_defaults(run=run_simulate)


def run_simulate(args: argparse.Namespace) -> Outcome:
    """Simulate a store and its truth."""
    known_survey(args.survey)
    from equilens.pipeline.stores import CutoutStore
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.simulate import SimulateTask, truth_path

    with progress_bar("simulating", args.n_objects) as advance:
        task = SimulateTask(
            survey=args.survey,
            n_objects=args.n_objects,
            seed=args.seed,
            out=args.out,
            lens_fraction=args.lens_fraction,
            replace=args.replace,
            progress=advance,
        )
        run_tasks([task])
    store = CutoutStore(args.out)
    n_lenses = int(store.table()["is_lens"].to_numpy().sum())
    facts = {
        "store": args.out,
        "truth": str(truth_path(args.out)),
        "survey": store.survey_name,
        "n_objects": store.n_objects,
        "n_lenses": n_lenses,
        "fingerprint": store.fingerprint,
        "made_now": task.made,
    }
    state = "simulated" if task.made else "there already:"
    return Outcome(
        facts,
        f"{state} {store.n_objects} objects of {store.survey_name}, {n_lenses} of them lenses, "
        f"in {args.out}\ntruth in {facts['truth']}",
    )
