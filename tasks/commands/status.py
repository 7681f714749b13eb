"""`equilens status`: which nights are done, what is missing, and why."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import existing_file
from equilens.tasks.commands.night import asked_night, load_config
from equilens.tasks.console import Outcome

if TYPE_CHECKING:
    from datetime import date

    from equilens.pipeline.nightly.config import NightConfig
    from equilens.pipeline.nightly.state import NightState


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "status", parents=[common], help="which nights are done, what is missing, and why"
    )
    parser.add_argument("night", nargs="?", metavar="YYYY-MM-DD")
    parser.add_argument("--config", type=existing_file, required=True, metavar="SURVEY.toml")
    parser.set_defaults(run=run_status)


def run_status(args: argparse.Namespace) -> Outcome:
    """One night stage by stage, or all nights in a line each."""
    config = load_config(args)
    if args.night is not None:
        return _one(config, asked_night(args.night))
    from equilens.pipeline.nightly.state import known_nights

    nights = known_nights(config)
    if not nights:
        return Outcome({"nights": []}, f"no night below {config.out} or in {config.source} yet")
    rows = [_row(config, night) for night in nights]
    return Outcome({"nights": [facts for facts, _ in rows]}, "\n".join(text for _, text in rows))


def _one(config: NightConfig, night: date) -> Outcome:
    from equilens.pipeline.nightly.folders import NightFolder
    from equilens.pipeline.nightly.inputs import NightInputs
    from equilens.pipeline.nightly.runs import read_runs
    from equilens.pipeline.nightly.stages import describe_stages, stage_states

    facts, text = _row(config, night)
    inputs = NightInputs.find(config, night)
    runs = read_runs(NightFolder(config.out_path, night))
    states = stage_states(inputs)
    lines = [text, describe_stages(states)]
    lines += [
        f"  run of {run['ended_utc']}: {run['outcome']} in {run['seconds']:.1f} s"
        + (f", in stage {run['stage']}: {run['error']}" if "error" in run else "")
        for run in runs[-5:]
    ]
    stages = [vars(state) for state in states]
    return Outcome({**facts, "stages": stages, "runs": runs}, "\n".join(lines))


def _row(config: NightConfig, night: date) -> tuple[dict[str, Any], str]:
    from equilens.pipeline.nightly.state import is_running, night_state

    state = night_state(config, night)
    running = is_running(config, night)
    facts = {
        "night": night.isoformat(),
        "state": "running" if running else state.state,
        "reasons": list(state.reasons),
        "n_found": state.n_found,
    }
    return facts, f"{night}  {facts['state']:<12}  {_why(state, running)}"


def _why(state: NightState, running: bool) -> str:
    if running:
        return "a run is under way"
    if state.reasons:
        return "; ".join(state.reasons)
    from equilens.pipeline.nightly.summary import sentence

    assert state.summary is not None
    return sentence(state.summary).split(": ", 1)[1]
