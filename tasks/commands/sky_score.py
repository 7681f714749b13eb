"""`equilens sky score`: a mass map, a list of peaks and cutout tiles from a sky of shear."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from equilens.tasks.arguments import existing_path, positive
from equilens.tasks.console import Outcome, progress_bar
from equilens.tasks.errors import UsageError

METHODS = ("mass-mapper", "wiener", "kaiser-squires", "matched-filter")


def add_score(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = verbs.add_parser(
        "score", parents=[common], help="map the mass of a sky, and list its peaks and tiles"
    )
    parser.add_argument("sky", type=existing_path, metavar="SKY.zarr")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--model", metavar="NAME", help="shipped mapper, training folder, or file")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="mass-mapper",
        help="mass-mapper (default), or a baseline on the same shear",
    )
    parser.add_argument(
        "--prior",
        type=existing_path,
        metavar="PRIOR.json",
        help="spectra for wiener and matched-filter; by default those of --model",
    )
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="lowest score of a peak that is listed"
    )
    parser.add_argument(
        "--cutouts",
        type=existing_path,
        metavar="CUTOUTS",
        help='store, or CSV or Parquet table with id, ra and dec: list its objects within 60" of '
        "each peak instead of positions to cut out",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler")
    parser.add_argument("--workers", type=positive, metavar="N", help="without one (default 1)")
    parser.add_argument("--replace", action="store_true")
    parser.set_defaults(run=run_score)


def run_score(args: argparse.Namespace) -> Outcome:
    """Map, search, tile."""
    _check(args)
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.sky_mapper import SkyScoreTask

    with progress_bar("mapping", 12) as advance:
        task = SkyScoreTask(
            sky=str(args.sky),
            model=args.model,
            method=args.method,
            prior=None if args.prior is None else str(args.prior),
            out=args.out,
            threshold=args.threshold,
            cutouts=None if args.cutouts is None else str(args.cutouts),
            scheduler=args.scheduler,
            workers=args.workers,
            replace=args.replace,
            progress=_Reached(advance),
        )
        run_tasks([task])
    summary = task.summary
    facts = {
        "mass_map": summary.mass,
        "peaks": summary.peaks,
        "tiles": summary.tiles,
        "n_peaks": summary.n_peaks,
        "n_tiles": summary.n_tiles,
        "method": args.method,
    }
    return Outcome(
        facts,
        f"{summary.n_peaks} peaks in {summary.peaks}, {summary.n_tiles} places for the planar "
        f"finder in {summary.tiles}",
    )


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is made."""
    if args.method == "mass-mapper" and args.model is None:
        raise UsageError("--method mass-mapper needs --model NAME: a shipped mapper or a file")
    if args.method in ("wiener", "matched-filter") and args.model is None and args.prior is None:
        raise UsageError(f"--method {args.method} needs spectra: give --prior or --model")


class _Reached:
    """Turn the number that is done into steps of a bar."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self.advance, self.told = advance, 0

    def __call__(self, done: int, total: int) -> None:
        self.advance(done - self.told)
        self.told = done
