"""`equilens challenge`: score a submission, or make one."""

from __future__ import annotations

import argparse
from typing import Any

from equilens.tasks.arguments import (
    add_tolerance,
    existing_file,
    existing_path,
    known_model,
    positive,
    share,
)
from equilens.tasks.commands.evaluate import metrics_text
from equilens.tasks.commands.ingest import Steps
from equilens.tasks.console import Outcome, progress_bar, quarantine_code
from equilens.tasks.errors import UsageError


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    parser = commands.add_parser("challenge", help="lens-finding challenges: score, or take part")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_score(actions.add_parser("score", parents=[common], help="measure a submission"))
    _add_run(actions.add_parser("run", parents=[common], help="make a submission"))


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submission", type=existing_file, help="`ID score` lines, or a table")
    parser.add_argument("--truth", type=existing_file, required=True, metavar="KEY.csv")
    parser.add_argument("--id-column", metavar="NAME")
    parser.add_argument("--score-column", metavar="NAME")
    parser.add_argument("--truth-id-column", metavar="NAME")
    parser.add_argument("--label-column", metavar="NAME")
    parser.add_argument("--threshold", type=float, help="of a cut chosen beforehand")
    parser.add_argument("--prevalence", type=share, help="of lenses on the sky, for the purity")
    _add_missing(parser)
    parser.set_defaults(run=run_score)


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=existing_path, help="files by their names, anywhere below")
    parser.add_argument("--set", choices=("space", "ground"), required=True, dest="image_set")
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--truth", type=existing_file, metavar="KEY.csv")
    parser.add_argument("--model", metavar="NAME_OR_DIR", help="default: the weights of the set")
    parser.add_argument("--workers", type=positive, metavar="N")
    parser.add_argument("--replace", action="store_true", help="begin anew in --out")
    _add_missing(parser)
    add_tolerance(parser)
    parser.set_defaults(run=run_run)


def _add_missing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--missing-as-lowest",
        action="store_true",
        help="count objects of the key without a score as missed",
    )


def run_score(args: argparse.Namespace) -> Outcome:
    """Exact figures of a submission."""
    from equilens.catalogs.submission import score_submission

    report = score_submission(
        args.submission,
        args.truth,
        id_column=args.id_column,
        score_column=args.score_column,
        truth_id_column=args.truth_id_column,
        label_column=args.label_column,
        missing_as_lowest=args.missing_as_lowest,
        threshold=args.threshold,
        prevalence=args.prevalence,
    )
    notes = [f"{report['n_unknown']} IDs are not in the key and were left out"]
    return Outcome(report, metrics_text(report), notes=tuple(notes if report["n_unknown"] else ()))


def run_run(args: argparse.Namespace) -> Outcome:
    """From a folder of challenge files to a submission."""
    import json

    if not args.folder.is_dir():
        raise UsageError(
            f"{args.folder} is a file; give the folder that holds the challenge's files"
        )
    from equilens.pipeline.challenge import SURVEYS

    # before the files are read: an ingest of minutes is no way to learn of a wrong name
    model = known_model(args.model or SURVEYS[args.image_set])
    from equilens.pipeline.stores import CutoutStore
    from equilens.tasks.challenge import challenge_tasks
    from equilens.tasks.engine import run_tasks

    with progress_bar("ingesting") as ingested, progress_bar("scoring") as scored:
        task = challenge_tasks(
            args.folder,
            args.image_set,
            args.out,
            model=model,
            replace=args.replace,
            workers=args.workers,
            truth=str(args.truth) if args.truth else None,
            missing_as_lowest=args.missing_as_lowest,
            progress={
                "ingest": Steps(ingested),
                "score": lambda facts: scored(int(facts["rows"])),
            },
        )
        run_tasks([task])
    with open(task.output().path, encoding="utf-8") as file:
        summary = json.load(file)
    n_found = CutoutStore(task.cutouts).manifest["config"]["n_found"]
    code = quarantine_code(summary["n_quarantined"], n_found, args.tolerance)
    return Outcome(summary, _summary_text(summary), code)


def _summary_text(summary: dict[str, Any]) -> str:
    text = (
        f"{summary['n_submitted']} scores in {summary['submission']}; {summary['n_lowest']} of "
        f"them the lowest, for objects without a score; {summary['n_quarantined']} rows in "
        f"{summary['quarantine']}"
    )
    if "auroc" in summary:
        text += f"\n{metrics_text(summary)}"
    return text
