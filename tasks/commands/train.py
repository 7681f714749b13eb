"""`equilens train`: a finder, or a committee, from labelled stores or from nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from equilens.tasks.arguments import (
    existing_file,
    existing_path,
    known_model,
    known_survey,
    positive,
    positive_float,
    settings_file,
    share,
)
from equilens.tasks.console import Outcome, progress_bar
from equilens.tasks.errors import UsageError

N_SIMULATED = 20_000
_SETTINGS = ("images_seen", "epochs", "batch_size", "learning_rate", "time_limit_s", "seed", "loss")


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "train", parents=[common], help="train a finder on labelled stores, or on simulated ones"
    )
    parser.add_argument("--survey", required=True, metavar="NAME_OR_TOML")
    parser.add_argument(
        "--data",
        type=existing_path,
        nargs="+",
        metavar="STORE.zarr",
        help="labelled cutouts; without any, they are simulated into DIR/data",
    )
    parser.add_argument(
        "-n",
        type=positive,
        dest="n_objects",
        metavar="N",
        help=f"objects to simulate, without --data (default {N_SIMULATED:,})",
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--name", help="of the weights; by default the survey's")
    for declare in (_add_network, _add_schedule, _add_learning, _add_machine):
        declare(parser)
    parser.set_defaults(run=run_train)


def _add_network(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("network")
    group.add_argument("--architecture", default="d4-resnet-nano", help="see equilens models")
    group.add_argument(
        "--field",
        type=positive,
        metavar="PIXELS",
        help="side of the central square that the network sees; odd, all of the cutout by default",
    )
    group.add_argument(
        "--from",
        dest="base",
        metavar="WEIGHTS",
        help="start from shipped weights or a file: fine-tuning, or transfer by generic band",
    )
    group.add_argument(
        "--freeze",
        choices=("none", "stem", "stages"),
        default="none",
        help="with --from: what does not learn, for few real objects (default none)",
    )
    group.add_argument(
        "--blend",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="with --from: share of the base in the weights that are kept (default 0); 0.5 gives "
        "up a little on the new images for a lot on others",
    )
    group.add_argument(
        "--members", type=positive, default=1, metavar="K", help="of a committee (default 1)"
    )
    group.add_argument(
        "--no-bootstrap",
        action="store_true",
        help="with --members: all on the same objects, other seeds alone",
    )


def _add_schedule(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("schedule")
    budget = group.add_mutually_exclusive_group()
    budget.add_argument("--images-seen", type=positive, metavar="N", help="length of the schedule")
    budget.add_argument("--epochs", type=positive_float, metavar="N", help="the same, in passes")
    group.add_argument("--batch-size", type=positive, metavar="N")
    group.add_argument("--learning-rate", type=positive_float, metavar="RATE")
    group.add_argument("--time-limit", type=positive_float, dest="time_limit_s", metavar="SECONDS")
    group.add_argument(
        "--patience",
        type=positive,
        metavar="N",
        help="validations without a better held-out AUROC after which to stop; keeps the best",
    )
    group.add_argument("--seed", type=int)
    group.add_argument("--fresh", action="store_true", help="do not go on where one was stopped")
    group.add_argument("--replace", action="store_true", help="train again, over finished weights")


def _add_learning(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("learning")
    group.add_argument(
        "--loss",
        choices=("bce", "tail"),
        help="cross-entropy (default), or with the hardest non-lenses against all lenses",
    )
    group.add_argument(
        "--mining",
        type=share,
        metavar="SHARE",
        help="of the draws of non-lenses that go to hard ones (default 0)",
    )
    group.add_argument(
        "--augment",
        choices=("plain", "rich"),
        default="plain",
        help="rich: other sizes, seeing, zero points and holes as well (default plain)",
    )
    group.add_argument(
        "--settings",
        type=existing_file,
        metavar="FILE.toml",
        help="any field of TrainConfig, with tables for its groups; options go before it",
    )


def _add_machine(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("machine")
    group.add_argument("--threads", type=positive, default=1)
    group.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    group.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="auto (default): bfloat16 on a GPU that has it",
    )
    group.add_argument("--compile", action="store_true", help="torch.compile, on a GPU")


def run_train(args: argparse.Namespace) -> Outcome:
    """Train, or go on with a training."""
    survey = known_survey(args.survey)
    _check(args)
    if args.data is not None:
        _check_surveys(args.data, survey.name)
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.train import TrainTask

    config = settings_of(args, survey.max_missing_bands)
    stores = args.data or _simulated(args, config.get("seed", 0))
    with progress_bar("training", 1000) as advance:
        task = TrainTask(
            stores=tuple(str(path) for path in stores),
            out=args.out,
            architecture=args.architecture,
            config=config,
            start=_start(args),
            members=args.members,
            field_px=args.field,
            name=args.name or survey.name,
            resume=not args.fresh,
            replace=args.replace,
            progress=_Thousandths(advance),
        )
        run_tasks([task])
    return _outcome(task.output().path, task.made)


def _start(args: argparse.Namespace) -> dict[str, Any]:
    if args.base is None:
        return {}
    return {"weights": args.base, "freeze": args.freeze, "blend": args.blend}


def _check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before anything is made."""
    from equilens.models.comparators import COMPARATORS
    from equilens.models.networks import ARCHITECTURES

    known = (*ARCHITECTURES, *COMPARATORS)
    if args.architecture not in known:
        raise UsageError(f"--architecture must be one of {', '.join(known)}")
    if args.data is not None and args.n_objects is not None:
        raise UsageError("-n is for training data that are simulated: leave out --data or -n")
    if args.freeze != "none" and args.base is None:
        raise UsageError("--freeze keeps what --from brings: give --from WEIGHTS too")
    if args.blend and args.base is None:
        raise UsageError("--blend keeps a share of what --from brings: give --from WEIGHTS too")
    if args.base is not None:
        known_model(args.base)


def settings_of(args: argparse.Namespace, max_missing_bands: int) -> dict[str, Any]:
    """The training's configuration as plain values: options, then the file, then defaults."""
    from equilens.pipeline.training import TrainConfig
    from equilens.pipeline.training.augmentation import PRESETS

    settings = settings_file(args.settings)
    stated = settings.get("augmentation", {})
    usual = {"max_missing_bands": max_missing_bands, **PRESETS[args.augment]}
    settings["augmentation"] = {**usual, **stated}
    for name in _SETTINGS:
        if getattr(args, name) is not None:
            settings[name] = getattr(args, name)
    for group, name, value in (
        ("mining", "share", args.mining),
        ("stopping", "patience", args.patience),
    ):
        if value is not None:
            settings[group] = {**settings.get(group, {}), name: value}
    settings |= {name: getattr(args, name) for name in ("threads", "device", "precision")}
    settings |= {"compile": args.compile}
    if args.members > 1:
        settings["bootstrap"] = not args.no_bootstrap
    TrainConfig.from_dict(settings)
    return settings


def _simulated(args: argparse.Namespace, seed: int) -> list[str]:
    """Stores of training data in the output folder, simulated where they are not there yet."""
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.train import training_data_tasks

    n = args.n_objects or N_SIMULATED
    with progress_bar("simulating", n) as advance:
        parts = training_data_tasks(args.survey, n, seed, Path(args.out) / "data", advance)
        run_tasks(parts)
    return [part.out for part in parts]


def _outcome(weights: str, made: bool) -> Outcome:
    from equilens.models.checkpoint import load_checkpoint

    _, metadata = load_checkpoint(weights)
    card = metadata["card"]
    figures = {key: card["held_out"][key] for key in ("auroc", "tpr0", "tpr10", "intervals")}
    facts = {"weights": weights, "sha256": metadata["sha256"], "made_now": made}
    facts |= {"members": metadata["members"], "steps": card["steps"]}
    facts |= {"images_seen": card["images_seen"], "held_out": figures}
    low, high = figures["intervals"]["auroc"]
    counts = f"{card['held_out']['n_lenses']} lenses, {card['held_out']['n_nonlenses']} non-lenses"
    of = "" if metadata["members"] == 1 else f" (a committee of {metadata['members']})"
    return Outcome(
        facts,
        f"{'trained' if made else 'there already'}: {weights}{of}\n"
        f"held-out AUROC {figures['auroc']:.4f} ({low:.4f} to {high:.4f}; {counts})\n"
        f"card, report and plot beside it",
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
