"""`equilens sky spectrum`: the angular power spectrum of a map."""

from __future__ import annotations

import argparse

from equilens.tasks.arguments import existing_path
from equilens.tasks.console import Outcome


def add_spectrum(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = verbs.add_parser(
        "spectrum", parents=[common], help="pseudo-C_l of a map, by healpy's conventions"
    )
    parser.add_argument("sky", type=existing_path, metavar="SKY.zarr")
    parser.add_argument("--lmax", type=int, metavar="L", help="inclusive; 3 nside - 1 by default")
    parser.add_argument("--mask", type=existing_path, metavar="MAP.zarr", help="multiplies the map")
    parser.add_argument(
        "--iter", type=int, default=3, dest="iterations", metavar="K", help="default 3"
    )
    parser.add_argument("--column", metavar="NAME", help="of a map with several scalar columns")
    parser.add_argument("--out", required=True, metavar="CL.csv")
    parser.set_defaults(run=run_spectrum)


def run_spectrum(args: argparse.Namespace) -> Outcome:
    """Measure one spectrum."""
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.sky_evaluate import SkySpectrumTask

    task = SkySpectrumTask(
        sky=str(args.sky),
        out=args.out,
        lmax=args.lmax,
        column=args.column,
        mask=str(args.mask) if args.mask else None,
        iterations=args.iterations,
    )
    run_tasks([task])
    with open(args.out, encoding="utf-8") as file:
        n_degrees = sum(1 for _ in file) - 1
    facts = {"out": args.out, "lmax": n_degrees - 1, "iterations": args.iterations}
    return Outcome(facts, f"C_l of {n_degrees} degrees, 0 to {n_degrees - 1}, in {args.out}")
