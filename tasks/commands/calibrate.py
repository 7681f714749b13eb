"""`equilens calibrate`: from scores to probabilities, and what to expect of the sky."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from equilens.tasks.arguments import (
    add_missing_as_lowest,
    add_scored_truth,
    existing_file,
    existing_path,
    positive_float,
    share,
)
from equilens.tasks.console import Outcome
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    from equilens.catalogs.calibration_result import CalibrationResult

FAMILIES = ("temperature", "logistic", "beta")
MOST_CUTS = 10


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "calibrate",
        parents=[common],
        help="scores to probabilities; expected purity and number of candidates",
    )
    add_scored_truth(parser)
    parser.add_argument(
        "--prior", type=share, required=True, metavar="SHARE", help="of lenses among sky objects"
    )
    parser.add_argument(
        "--density",
        type=positive_float,
        required=True,
        metavar="N",
        help="lenses per square degree among them",
    )
    parser.add_argument("--out", required=True, metavar="FILE.json")
    _add_fit_options(parser)
    parser.set_defaults(run=run_calibrate)


def _add_fit_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--family", choices=FAMILIES, help="default: the best on held-out parents")
    parser.add_argument(
        "--training-prior",
        type=share,
        metavar="SHARE",
        help="of lenses that the network was trained at; a temperature needs it",
    )
    parser.add_argument(
        "--graded", type=existing_file, metavar="KEY", help="real objects that people graded"
    )
    parser.add_argument(
        "--graded-scores", type=existing_path, metavar="SCORES.zarr", help="of those objects"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    add_missing_as_lowest(parser)


def run_calibrate(args: argparse.Namespace) -> Outcome:
    """Calibrate scores into a file."""
    if (args.graded is None) != (args.graded_scores is None):
        raise UsageError("--graded and --graded-scores belong together: give both, or none")
    if Path(args.out).suffix.lower() != ".json":
        raise UsageError(f"--out {args.out}: the suffix must be .json")
    for name in ("prior", "training_prior"):
        if getattr(args, name) in (0.0, 1.0):
            raise UsageError(f"--{name.replace('_', '-')} must lie strictly between 0 and 1")
    from equilens.catalogs.calibration_result import read_calibration
    from equilens.tasks.calibrate import CalibrateTask
    from equilens.tasks.engine import run_tasks

    task = CalibrateTask(
        scores=str(args.scores),
        truth=str(args.truth) if args.truth else None,
        out=args.out,
        prior=args.prior,
        density=args.density,
        family=args.family,
        training_prior=args.training_prior,
        graded_scores=str(args.graded_scores) if args.graded_scores else None,
        graded=str(args.graded) if args.graded else None,
        missing_as_lowest=args.missing_as_lowest,
        seed=args.seed,
    )
    run_tasks([task])
    result = read_calibration(args.out)
    text = f"{calibration_text(result)}\nall of it in {args.out}"
    return Outcome(result.to_dict(), text, notes=result.notes)


def calibration_text(result: CalibrationResult) -> str:
    """Fit, quality and cuts, for the terminal."""
    from equilens.catalogs.calibration import FAMILIES as PARAMETERS

    fitted, error = result.calibration, result.quality.error
    about = fitted.fitted_on
    names = PARAMETERS[fitted.family].parameters
    values = [f"{n} = {v:.4g}" for n, v in zip(names, fitted.coefficients, strict=True)]
    tried = ", ".join(f"{name} {loss:.4f}" for name, loss in result.candidates.items())
    lines = [
        f"{about.n_lenses:,} lenses, {about.n_nonlenses:,} non-lenses, {about.n_parents:,} parents"
        f"; {about.n_without_score:,} without a score left out of the fit",
        f"{fitted.family} calibration: {', '.join(values)} (held-out log-loss: {tried}; bare "
        f"scores {result.uncalibrated.log_loss:.4f})",
        f"expected calibration error, held out: {error.value.with_interval('.4f')}, N="
        f"{error.value.n:,}; bare scores {result.uncalibrated.error.value.value:.4f}; perfect "
        f"probabilities would show {error.if_calibrated.with_interval('.4f')}",
        f"{'score from':>12}  {'completeness':<23}{'false-positive rate':<31}"
        f"{'candidates per deg2':<29}expected purity",
    ]
    step = max(1, -(-len(result.cuts) // MOST_CUTS))
    for cut in result.cuts[::step]:
        lines.append(
            f"{cut.threshold:>12.4f}  {cut.completeness.with_interval('.3f'):<23}"
            f"{cut.fpr.with_interval('.2e'):<31}"
            f"{cut.candidates_per_square_degree.with_interval('.3g'):<29}"
            f"{cut.purity.with_interval('.3g')}"
        )
    return "\n".join([*lines, result.purity_statement])
