"""`equilens selection-function`: which lenses a cut finds, as a table and a smooth model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import (
    add_missing_as_lowest,
    add_scored_truth,
    positive,
    positive_float,
    share,
)
from equilens.tasks.console import Outcome
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from equilens.catalogs.selection import SelectionFunction

SUFFIXES = (".parquet", ".ecsv", ".fits", ".vot")


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "selection-function",
        parents=[common],
        help="completeness by the properties of a lens, from injected lenses",
    )
    add_scored_truth(parser, "properties")
    parser.add_argument("--out", required=True, metavar="FILE", help=" ".join(SUFFIXES))
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument("--threshold", type=float, metavar="T", help="of the catalogue")
    cut.add_argument(
        "--fpr", type=share, default=0.01, metavar="SHARE", help="that chooses it (default 0.01)"
    )
    _add_model_options(parser)
    parser.set_defaults(run=run_selection_function)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--columns",
        nargs="+",
        default=(),
        metavar="NAME[:log10]",
        help="properties that completeness may depend on; by default those known of the lenses",
    )
    parser.add_argument("--band", help="whose PSF width and depth count; default: the first")
    parser.add_argument(
        "--visible-from",
        type=positive_float,
        metavar="SNR",
        help="count only lenses with this arc_snr or more; by default all injected",
    )
    parser.add_argument(
        "--bootstrap", type=positive, default=200, metavar="N", help="samples of the parents"
    )
    parser.add_argument("--seed", type=int, default=0, help="of folds and samples")
    add_missing_as_lowest(parser)


def run_selection_function(args: argparse.Namespace) -> Outcome:
    """Measure the selection function into files."""
    if Path(args.out).suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {args.out}: the suffix must be one of {' '.join(SUFFIXES)}")
    if args.bootstrap < 2:
        raise UsageError("--bootstrap must be at least 2: intervals come from it")
    from equilens.catalogs.selection_table import read_selection
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.selection_function import SelectionFunctionTask

    task = SelectionFunctionTask(
        scores=str(args.scores),
        truth=str(args.truth) if args.truth else None,
        out=args.out,
        threshold=args.threshold,
        fpr=args.fpr,
        columns=tuple(args.columns),
        band=args.band,
        arc_snr_from=args.visible_from,
        bootstrap=args.bootstrap,
        missing_as_lowest=args.missing_as_lowest,
        seed=args.seed,
    )
    run_tasks([task])
    function, bins = read_selection(args.out)
    beside = [str(Path(args.out).with_suffix(suffix)) for suffix in (".json", ".png")]
    text = selection_text(function, bins)
    return Outcome(
        {**_facts(function, bins), "files": [args.out, *beside]},
        f"{text}\ntable and model in {args.out}, the model alone in {beside[0]}, "
        f"a picture in {beside[1]}",
        notes=function.notes,
    )


def _facts(function: SelectionFunction, bins: pa.Table) -> dict[str, Any]:
    facts = function.to_dict()
    names = ("cut", "denominator", "check", "penalty", "n_bootstrap", "model_sha256", "notes")
    return {
        **{name: facts[name] for name in names},
        "columns": [axis.column for axis in function.axes],
        "terms": [list(term.columns) for term in function.terms],
        "bins": bins.to_pylist(),
    }


def selection_text(function: SelectionFunction, bins: pa.Table) -> str:
    """Cut, denominator, bins and check, for the terminal."""
    from equilens.catalogs.intervals import proportion
    from equilens.pipeline.report.selection_section import check_text

    counts = function.denominator
    overall = proportion(counts.n_found, counts.n_counted)
    lines = [
        f"found: {function.cut}",
        f"of: {counts}",
        f"overall completeness {overall.with_interval('.3f')}",
    ]
    for axis in function.axes:
        lines.append(f"{axis.column:<28}{'N':>8}{'found':>8}  completeness             model")
        rows = bins.to_pylist()
        for row in (r for r in rows if r["column"] == axis.column and r["column_2"] is None):
            lines.append(_bin_line(row))
    return "\n".join([*lines, check_text(function.check)])


def _bin_line(row: dict[str, Any]) -> str:
    place = f"{row['lower']:.4g} to {row['upper']:.4g}"
    if not row["n"]:
        return f"  {place:<26}{0:>8}"
    model = "" if row["model"] is None else f"{row['model']:.3f}"
    interval = f"{row['completeness']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    return f"  {place:<26}{row['n']:>8,}{row['n_found']:>8,}  {interval:<25}{model}"
