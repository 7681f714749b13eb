"""`equilens challenge`: score a submission, make one, or train on a challenge's training set."""

from __future__ import annotations

import argparse
from typing import Any

from equilens.tasks.arguments import (
    add_missing_as_lowest,
    add_tolerance,
    existing_file,
    existing_path,
    known_model,
    positive,
    share,
)
from equilens.tasks.commands.challenge_text import key_text, report_text
from equilens.tasks.commands.ingest import Steps, describe_ingest
from equilens.tasks.console import Outcome, progress_bar, quarantine_code
from equilens.tasks.errors import UsageError

# the keys of equilens.pipeline.challenge.SURVEYS, which importing here would make --help slow
SETS = ("space", "ground", "2.0", "2.0-vis", "2.0-nir")
SET_HELP = (
    "space or ground: challenge 1.0. 2.0: VIS, J, Y and H on VIS's pixels, 2.0-vis and 2.0-nir: "
    "each at its own; challenge 2.0 is read by its documented layout, UNTRIED on its real files"
)
TRAINING = {
    "--architecture": "NAME",
    "--field": "PIXELS",
    "--name": "NAME",
    "--images-seen": "N",
    "--epochs": "N",
    "--batch-size": "N",
    "--learning-rate": "RATE",
    "--time-limit": "SECONDS",
    "--threads": "N",
    "--device": "NAME",
    "--seed": "N",
}


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    parser = commands.add_parser(
        "challenge", help="lens-finding challenges: score, take part, or train"
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_score(actions.add_parser("score", parents=[common], help="measure a submission"))
    _add_run(actions.add_parser("run", parents=[common], help="make a submission"))
    _add_train(
        actions.add_parser(
            "train",
            parents=[common],
            help="train on a challenge's official training set",
            description="Ingest a training set with its key's labels, then train on it. The "
            "labelled store stays in --out: `equilens train --data` has every further option.",
        )
    )


def _add_score(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("submission", type=existing_file, help="`ID score` lines, or a table")
    parser.add_argument("--truth", type=existing_file, required=True, metavar="KEY.csv")
    parser.add_argument(
        "--set", choices=SETS, dest="image_set", help="compare with its published ranking"
    )
    parser.add_argument("--out", metavar="DIR", help="write tables and plots there")
    parser.add_argument("--id-column", metavar="NAME")
    parser.add_argument("--score-column", metavar="NAME")
    parser.add_argument("--truth-id-column", metavar="NAME")
    parser.add_argument("--label-column", metavar="NAME")
    parser.add_argument("--threshold", type=float, help="of a cut chosen beforehand")
    parser.add_argument("--prevalence", type=share, help="of lenses on the sky, for the purity")
    add_missing_as_lowest(parser)
    parser.set_defaults(run=run_score)


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument("--truth", type=existing_file, metavar="KEY.csv")
    parser.add_argument("--model", metavar="NAME_OR_DIR", help="default: the weights of the set")
    add_missing_as_lowest(parser)
    parser.set_defaults(run=run_run)


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_folder(parser)
    parser.add_argument("--key", type=existing_file, required=True, metavar="KEY.csv")
    for option, metavar in TRAINING.items():
        parser.add_argument(option, metavar=metavar, help="as of `equilens train`")
    parser.set_defaults(run=run_train)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=existing_path, help="files by their names, anywhere below")
    parser.add_argument("--set", choices=SETS, required=True, dest="image_set", help=SET_HELP)
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--workers", type=positive, metavar="N")
    parser.add_argument("--replace", action="store_true", help="begin anew in --out")
    add_tolerance(parser)


def run_score(args: argparse.Namespace) -> Outcome:
    """Exact figures of a submission."""
    from equilens.pipeline.challenge import measure_submission

    named = ("id_column", "score_column", "truth_id_column", "label_column")
    report = measure_submission(
        args.submission,
        args.truth,
        args.out,
        image_set=args.image_set,
        columns={name: getattr(args, name) for name in named},
        missing_as_lowest=args.missing_as_lowest,
        threshold=args.threshold,
        prevalence=args.prevalence,
    )
    notes = [f"{report['n_unknown']} IDs are not in the key and were left out"]
    text = report_text(report) + (f"\ntables and plots in {args.out}" if args.out else "")
    return Outcome(report, text, notes=tuple(notes if report["n_unknown"] else ()))


def run_run(args: argparse.Namespace) -> Outcome:
    """From a folder of challenge files to a submission."""
    import json

    model = _checked_model(args)
    from equilens.pipeline.evaluation import SEEN_IN_TRAINING
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
    n_all = n_found + summary.get("key", {}).get("n_without_image", 0)
    code = quarantine_code(summary["n_quarantined"], n_all, args.tolerance)
    seen = (SEEN_IN_TRAINING,) if summary["seen_in_training"] else ()
    return Outcome(summary, _summary_text(summary), code, (*_notes(args), *seen))


def run_train(args: argparse.Namespace) -> Outcome:
    """From a training set and its key to weights."""
    _check_folder(args)
    from equilens.tasks.challenge import labelled_cutouts
    from equilens.tasks.cli import build_parser
    from equilens.tasks.engine import run_tasks

    # every option is judged by the command that it belongs to, before a file is read
    words = _training_words(args)
    build_parser().parse_args([*words, "--data", str(args.folder)])
    with progress_bar("ingesting") as ingested:
        task = labelled_cutouts(
            args.folder,
            args.image_set,
            args.key,
            args.out,
            workers=args.workers,
            replace=args.replace,
            progress=Steps(ingested),
        )
        run_tasks([task])
    stored = describe_ingest(task.out, args.tolerance)
    training = build_parser().parse_args([*words, "--data", task.out])
    trained = training.run(training)
    facts = {**trained.facts, "cutouts": stored.facts}
    return Outcome(facts, f"{stored.text}\n{trained.text}", stored.code, _notes(args))


def _training_words(args: argparse.Namespace) -> list[str]:
    from equilens.pipeline.challenge import SURVEYS

    words = ["train", "--survey", SURVEYS[args.image_set], "--out", args.out]
    for option in TRAINING:
        value = getattr(args, option.removeprefix("--").replace("-", "_"))
        words += [] if value is None else [option, value]
    return [*words, "--replace", "--fresh"] if args.replace else words


def _checked_model(args: argparse.Namespace) -> str:
    """The network to score with: an ingest of minutes is no way to learn of a wrong name."""
    _check_folder(args)
    from equilens.pipeline.challenge import SURVEYS, UNTRIED_SETS

    if args.model is None and args.image_set in UNTRIED_SETS:
        raise UsageError(
            f"no weights ship for --set {args.image_set}: train some with `equilens challenge "
            "train`, and name them with --model"
        )
    return known_model(args.model or SURVEYS[args.image_set])


def _check_folder(args: argparse.Namespace) -> None:
    if not args.folder.is_dir():
        raise UsageError(
            f"{args.folder} is a file; give the folder that holds the challenge's files"
        )


def _notes(args: argparse.Namespace) -> tuple[str, ...]:
    from equilens.pipeline.challenge import UNTRIED, UNTRIED_SETS

    return (UNTRIED,) if args.image_set in UNTRIED_SETS else ()


def _summary_text(summary: dict[str, Any]) -> str:
    lines = [
        f"{summary['n_submitted']} scores in {summary['submission']}; {summary['n_lowest']} of "
        f"them the lowest, for objects without a score; {summary['n_quarantined']} rows in "
        f"{summary['quarantine']}"
    ]
    if "auroc" in summary:
        lines += [key_text(summary["key"]), report_text(summary)]
    return "\n".join(lines)
