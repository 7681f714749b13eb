"""`equilens sky evaluate`: mass maps and halo peaks of simulated skies against their truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from equilens.tasks.arguments import existing_file, existing_path, positive_float
from equilens.tasks.console import Outcome
from equilens.tasks.errors import UsageError

METHODS = ("kaiser-squires", "wiener", "matched-filter")


def add_evaluate(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = verbs.add_parser(
        "evaluate", parents=[common], help="judge mass maps and peaks of simulated skies"
    )
    parser.add_argument("skies", type=existing_path, nargs="+", metavar="SKY.zarr")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument(
        "--scored",
        type=existing_path,
        nargs="+",
        default=[],
        metavar="DIR",
        help="results of `equilens sky score` on these skies, in any order",
    )
    parser.add_argument(
        "--controls",
        type=existing_path,
        nargs="+",
        default=[],
        metavar="SKY.zarr",
        help="of `equilens sky control`, where --scored holds results on them",
    )
    parser.add_argument(
        "--methods", choices=METHODS, nargs="*", default=METHODS, help="classical ones to compare"
    )
    _add_prior(parser)
    _add_filters(parser)
    _add_judging(parser)
    parser.set_defaults(run=run_evaluate)


def _add_prior(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--prior", type=existing_file, metavar="PRIOR.json")
    group.add_argument(
        "--prior-skies",
        type=existing_path,
        nargs="+",
        metavar="SKY.zarr",
        help="measure the filters' prior on these; by default on all other skies evaluated",
    )


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lmax", type=int, metavar="L", help="of the filters; default all")
    parser.add_argument(
        "--smoothing", type=float, default=10.0, metavar="ARCMIN", help="of Kaiser-Squires, FWHM"
    )
    parser.add_argument(
        "--scales",
        type=positive_float,
        nargs="+",
        default=(3.0, 6.0, 12.0),
        metavar="ARCMIN",
        help="angles of r200 that the matched filter looks for",
    )
    parser.add_argument(
        "--tolerance", type=positive_float, default=1e-5, help="of the Wiener filter"
    )
    parser.add_argument(
        "--realisations", type=int, default=0, metavar="N", help="for the Wiener filter's variance"
    )


def _add_judging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--false-peaks",
        type=positive_float,
        nargs="+",
        default=(0.1, 0.5),
        metavar="DENSITY",
        help="a square degree, at which completeness is given",
    )
    parser.add_argument("--radius", type=positive_float, default=2.0, metavar="ARCMIN")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="count peaks of haloes outside the targets' masses and redshifts as false",
    )


def run_evaluate(args: argparse.Namespace) -> Outcome:
    """Judge skies into a folder."""
    if len(set(args.skies)) < len(args.skies):
        raise UsageError("a sky can be evaluated once only: name each once")
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.sky_evaluate import SkyEvaluateTask, SkyPriorTask

    prior, first = args.prior, []
    if args.prior_skies:
        prior = Path(args.out) / "prior.json"
        first = [SkyPriorTask(skies=[str(sky) for sky in args.prior_skies], out=str(prior))]
    task = SkyEvaluateTask(
        skies=[str(sky) for sky in args.skies],
        out=args.out,
        scored=[str(folder) for folder in args.scored],
        controls=[str(sky) for sky in args.controls],
        methods=list(args.methods),
        prior=str(prior) if prior else None,
        densities=list(args.false_peaks),
        radius_arcmin=args.radius,
        lmax=args.lmax,
        fwhm_arcmin=args.smoothing,
        scales_arcmin=list(args.scales),
        tolerance=args.tolerance,
        realisations=args.realisations,
        strict=args.strict,
        after=tuple(first),
    )
    run_tasks([task])
    figures = json.loads(Path(task.output().path).read_text())
    text = Path(args.out, "sky_evaluation.txt").read_text().rstrip()
    return Outcome(figures, f"{text}\nall figures in {task.output().path}")
