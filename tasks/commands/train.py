"""`equilens train`: a finder from labelled stores."""

from __future__ import annotations

import argparse

from equilens.tasks.arguments import (
    existing_path,
    known_survey,
    positive,
    positive_float,
)
from equilens.tasks.console import Outcome, progress_bar
from equilens.tasks.errors import UsageError

_SETTINGS = ("images_seen", "epochs", "batch_size", "learning_rate", "time_limit_s", "seed")


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "train", parents=[common], help="train a finder on labelled stores"
    )
    parser.add_argument("--survey", required=True, metavar="NAME_OR_TOML")
    parser.add_argument(
        "--data", type=existing_path, nargs="+", required=True, metavar="STORE.zarr"
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--architecture", default="d4-resnet-nano", help="see equilens models")
    parser.add_argument(
        "--field",
        type=positive,
        metavar="PIXELS",
        help="side of the central square that the network sees; odd, all of the cutout by default",
    )
    parser.add_argument("--name", help="of the weights; by default the survey's")
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--images-seen", type=positive, metavar="N", help="length of the schedule")
    budget.add_argument("--epochs", type=positive_float, metavar="N", help="the same, in passes")
    parser.add_argument("--batch-size", type=positive, metavar="N")
    parser.add_argument("--learning-rate", type=positive_float, metavar="RATE")
    parser.add_argument("--time-limit", type=positive_float, dest="time_limit_s", metavar="SECONDS")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--fresh", action="store_true", help="do not go on where one was stopped")
    parser.add_argument("--replace", action="store_true", help="train again, over finished weights")
    parser.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> Outcome:
    """Train, or go on with a training."""
    survey = known_survey(args.survey)
    from equilens.models.comparators import COMPARATORS
    from equilens.models.networks import ARCHITECTURES

    known = (*ARCHITECTURES, *COMPARATORS)
    if args.architecture not in known:
        raise UsageError(f"--architecture must be one of {', '.join(known)}")
    _check_surveys(args.data, survey.name)
    given = {name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None}
    from equilens.models.checkpoint import load_checkpoint
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.train import TrainTask

    with progress_bar("training", 1000) as advance:
        task = TrainTask(
            stores=tuple(str(path) for path in args.data),
            out=args.out,
            architecture=args.architecture,
            config={**given, "threads": args.threads, "device": args.device},
            augmentation={"max_missing_bands": survey.max_missing_bands},
            field_px=args.field,
            name=args.name or survey.name,
            resume=not args.fresh,
            replace=args.replace,
            progress=_Thousandths(advance),
        )
        run_tasks([task])
    _, metadata = load_checkpoint(task.output().path)
    card = metadata["card"]
    figures = {key: card["held_out"][key] for key in ("auroc", "tpr0", "tpr10", "intervals")}
    facts = {"weights": task.output().path, "sha256": metadata["sha256"], "made_now": task.made}
    facts |= {"steps": card["steps"], "images_seen": card["images_seen"], "held_out": figures}
    low, high = figures["intervals"]["auroc"]
    counts = f"{card['held_out']['n_lenses']} lenses, {card['held_out']['n_nonlenses']} non-lenses"
    return Outcome(
        facts,
        f"{'trained' if task.made else 'there already'}: {facts['weights']}\n"
        f"held-out AUROC {figures['auroc']:.4f} ({low:.4f} to {high:.4f}; {counts})",
    )


class _Thousandths:
    """Turn the share that is done into steps of a bar of 1,000."""

    def __init__(self, advance) -> None:
        self.advance, self.told = advance, 0

    def __call__(self, facts: dict[str, float]) -> None:
        steps = int(1000 * min(facts["done"], 1.0)) - self.told
        self.advance(steps)
        self.told += steps


def _check_surveys(stores, survey: str) -> None:
    from equilens.pipeline.stores import CutoutStore

    for path in stores:
        found = CutoutStore(path).survey_name
        if found != survey:
            raise UsageError(f"{path} holds cutouts of {found!r}, --survey says {survey!r}")
