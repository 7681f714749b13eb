"""`equilens sky train`: a mass mapper from simulated skies."""

from __future__ import annotations

import argparse
from typing import Any

from equilens.tasks.arguments import (
    existing_file,
    existing_path,
    positive,
    positive_float,
    settings_file,
)
from equilens.tasks.console import Outcome, progress_bar

_SETTINGS = ("patches_seen", "batch_size", "learning_rate", "time_limit_s", "seed", "threads")


def add_train(verbs: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = verbs.add_parser(
        "train", parents=[common], help="train a mass mapper on simulated skies"
    )
    parser.add_argument("skies", type=existing_path, nargs="+", metavar="SKY.zarr")
    parser.add_argument(
        "--held-out",
        type=existing_path,
        nargs="+",
        required=True,
        metavar="SKY.zarr",
        help="skies that only tell how it goes",
    )
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--name", default="mass-mapper", help="of the weights")
    group = parser.add_argument_group("schedule")
    group.add_argument("--patches-seen", type=positive, metavar="N", help="length of the schedule")
    group.add_argument("--batch-size", type=positive, metavar="N")
    group.add_argument("--learning-rate", type=positive_float, metavar="RATE")
    group.add_argument("--time-limit", type=positive_float, dest="time_limit_s", metavar="SECONDS")
    group.add_argument("--seed", type=int)
    group.add_argument("--threads", type=positive)
    group.add_argument("--fresh", action="store_true", help="do not go on where one was stopped")
    group.add_argument("--replace", action="store_true", help="train again, over finished weights")
    group.add_argument(
        "--settings",
        type=existing_file,
        metavar="FILE.toml",
        help="any field of MapperConfig, and a table [size] of MapperSpec's; options go before it",
    )
    parser.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> Outcome:
    """Train, or go on with a training."""
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.sky_mapper import SkyTrainTask

    config, size = settings_of(args)
    with progress_bar("training", 1000) as advance:
        task = SkyTrainTask(
            skies=tuple(str(path) for path in args.skies),
            held_out=tuple(str(path) for path in args.held_out),
            out=args.out,
            config=config,
            size=size,
            name=args.name,
            resume=not args.fresh,
            replace=args.replace,
            progress=_Thousandths(advance),
        )
        run_tasks([task])
    return _outcome(task.output().path, task.made)


def settings_of(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and network size as plain values: options, then the file, then defaults."""
    from equilens.pipeline.masses.mapper_config import MapperConfig

    settings = settings_file(args.settings)
    size = settings.pop("size", {})
    settings |= {name: getattr(args, name) for name in _SETTINGS if getattr(args, name) is not None}
    MapperConfig.from_dict(settings)
    return settings, size


def _outcome(weights: str, made: bool) -> Outcome:
    from equilens.models.spherical.mapper_checkpoint import load_mapper

    mapper = load_mapper(weights)
    figures = mapper.card["figures"]
    facts = {
        "weights": weights,
        "sha256": mapper.sha256,
        "made_now": made,
        "steps": mapper.card["steps"],
        "figures": figures,
    }
    ratio = figures["error"] / figures["wiener_error"]
    there = "" if made else ", there already"
    return Outcome(
        facts,
        f"{weights}: squared error of κ {ratio:.4f} of the Wiener filter's on held-out patches"
        f"{there}",
    )


class _Thousandths:
    """Progress of a training on a bar of a thousand steps."""

    def __init__(self, advance: Any) -> None:
        self._advance, self._shown = advance, 0

    def __call__(self, facts: dict[str, float]) -> None:
        reached = int(1000 * min(facts["done"], 1.0))
        self._advance(reached - self._shown)
        self._shown = reached
