"""`equilens night`: one night, or a range of them, from files to catalogue."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import existing_file
from equilens.tasks.console import DONE, FAILED, OVER_TOLERANCE, Outcome
from equilens.tasks.errors import TaskError, UsageError

if TYPE_CHECKING:
    from equilens.pipeline.nightly.config import NightConfig


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "night", parents=[common], help="a night from files to catalogue, or a range of nights"
    )
    parser.add_argument("night", nargs="?", metavar="YYYY-MM-DD")
    parser.add_argument("--config", type=existing_file, required=True, metavar="SURVEY.toml")
    parser.add_argument("--from", dest="first", metavar="YYYY-MM-DD", help="of a range to fill in")
    parser.add_argument("--to", dest="last", metavar="YYYY-MM-DD", help="included")
    parser.set_defaults(run=run_nights)


def run_nights(args: argparse.Namespace) -> Outcome:
    """Run what is asked for; exit code 3 where a night is not accepted."""
    config, nights = load_config(args), _asked(args)
    if args.night is not None:
        return _on_one_line(args, _run(args, config, nights[0]))
    outcomes = [_tried(args, config, night) for night in nights]
    codes = {outcome.code for outcome in outcomes}
    worst = FAILED if FAILED in codes else max(codes)
    text = "\n".join(str(outcome.text) for outcome in outcomes)
    facts = {"nights": [outcome.facts for outcome in outcomes]}
    notes = tuple(note for outcome in outcomes for note in outcome.notes)
    return _on_one_line(args, Outcome(facts, text, worst, notes))


def load_config(args: argparse.Namespace) -> NightConfig:
    """The configuration; what is wrong with it is wrong use."""
    from equilens.pipeline.nightly.config import load_night_config
    from equilens.pipeline.nightly.errors import NightConfigError

    try:
        return load_night_config(args.config)
    except NightConfigError as error:
        raise UsageError(str(error)) from error


def asked_night(text: str) -> date:
    """A night of the command line."""
    from equilens.pipeline.nightly.config import parse_night
    from equilens.pipeline.nightly.errors import NightConfigError

    try:
        return parse_night(text)
    except NightConfigError as error:
        raise UsageError(str(error)) from error


def _asked(args: argparse.Namespace) -> list[date]:
    if (args.night is None) == (args.first is None) or (args.first is None) != (args.last is None):
        raise UsageError("give one night, or a range by --from and --to")
    if args.night is not None:
        return [asked_night(args.night)]
    first, last = asked_night(args.first), asked_night(args.last)
    if first > last:
        raise UsageError(f"--from {first} must not be after --to {last}")
    return [date.fromordinal(k) for k in range(first.toordinal(), last.toordinal() + 1)]


def _tried(args: argparse.Namespace, config: NightConfig, night: date) -> Outcome:
    """One night of a range: where it fails, the others are run all the same."""
    from equilens.catalogs.errors import CatalogError
    from equilens.pipeline.errors import PipelineError

    try:
        return _run(args, config, night)
    except (PipelineError, CatalogError, TaskError) as error:
        text = f"night {night} failed: {error}"
        return Outcome({"night": night.isoformat(), "error": str(error)}, text, FAILED, (text,))


def _run(args: argparse.Namespace, config: NightConfig, night: date) -> Outcome:
    """One night; where nothing is to be done, neither Luigi nor torch is loaded."""
    from equilens.pipeline.nightly.errors import EmptyNight
    from equilens.pipeline.nightly.folders import NightFolder
    from equilens.pipeline.nightly.runs import log_run
    from equilens.pipeline.nightly.state import night_state

    state = night_state(config, night)
    if state.is_complete:
        assert state.summary is not None
        log_run(NightFolder(config.out_path, night), "nothing to do", 0.0)
        return _outcome(state.summary, ran=False)
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.nightly import NightTask

    task = NightTask(night=night, config=str(args.config))
    try:
        run_tasks([task])
    except EmptyNight as error:
        facts = {"night": night.isoformat(), "accepted": False, "n_found": 0, "ran": True}
        code = OVER_TOLERANCE if config.acceptance.least_objects else DONE
        return Outcome({**facts, "reasons": [str(error)]}, str(error), code)
    assert task.shared is not None
    return _outcome(task.shared.summary, ran=True)


def _outcome(summary: Mapping[str, Any], ran: bool) -> Outcome:
    from equilens.pipeline.nightly.summary import brief, sentence

    text = sentence(summary) if ran else f"nothing to do: {sentence(summary)}"
    code = DONE if summary["accepted"] else OVER_TOLERANCE
    notes = (*summary["drift"]["alarms"], *summary["problems"]) if ran else ()
    return Outcome({**brief(summary), "ran": ran}, text, code, notes)


def _on_one_line(args: argparse.Namespace, outcome: Outcome) -> Outcome:
    """With --json, the object as one line, as logs and collectors take it."""
    if not args.json:
        return outcome
    import json

    from equilens.tasks.console import plain

    args.json = False
    line = json.dumps(plain(outcome.facts), separators=(",", ":"))
    return Outcome(outcome.facts, line, outcome.code, outcome.notes)
