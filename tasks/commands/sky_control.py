"""`equilens sky control`: a sky with the noise and mask of another, and no mass in it."""

from __future__ import annotations

import argparse

from equilens.tasks.arguments import existing_path
from equilens.tasks.console import Outcome


def add_control(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = verbs.add_parser(
        "control", parents=[common], help="make a sky without mass, to count false peaks on"
    )
    parser.add_argument("sky", type=existing_path, metavar="SKY.zarr")
    parser.add_argument(
        "--kind",
        choices=("noise", "rotated"),
        required=True,
        help="noise alone, or the sky's own shear turned by 45 degrees",
    )
    parser.add_argument("--out", required=True, metavar="CONTROL.zarr")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--replace", action="store_true")
    parser.set_defaults(run=run_control)


def run_control(args: argparse.Namespace) -> Outcome:
    """Write one control."""
    from equilens.pipeline.skymaps import SkyMapStore
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.sky_evaluate import SkyControlTask

    task = SkyControlTask(
        sky=str(args.sky), kind=args.kind, out=args.out, seed=args.seed, replace=args.replace
    )
    run_tasks([task])
    store = SkyMapStore.open(args.out)
    facts = {"store": args.out, "control": store.manifest["control"]}
    return Outcome(facts, f"{args.kind} control of {args.sky} in {args.out}")
