"""Is a night done, and if not, what is missing and why? Answered without loading a network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from glob import glob
from pathlib import Path
from typing import Any, Literal

from equilens.pipeline.nightly.baseline import Baseline
from equilens.pipeline.nightly.config import NIGHT, NightConfig
from equilens.pipeline.nightly.folders import CATALOGUE, CUMULATIVE, NightFolder
from equilens.pipeline.nightly.inputs import NightInputs
from equilens.pipeline.nightly.runs import is_locked, read_runs
from equilens.pipeline.provenance import sha256_file

State = Literal["done", "not accepted", "stale", "missing", "running", "empty"]

_CAUSES = {
    "files": "files arrived, changed or went since then",
    "network": "the network is another one",
    "calibration": "the calibration is another one",
    "survey": "the survey is defined otherwise",
    "merge_radius_arcsec": "merge_radius_arcsec changed",
    "sentinels": "the sentinels changed",
    "injections": "the injections changed",
}


@dataclass(frozen=True)
class NightState:
    """How a night stands.

    Attributes
    ----------
    night : its date
    state : ``done``, ``not accepted`` (done as well), ``stale``, ``missing``, ``running`` or
        ``empty``
    reasons : what is missing, or why it was not accepted
    summary : of its products; None without any
    n_found : objects there are now; None where that was not looked at
    """

    night: date
    state: State
    reasons: tuple[str, ...] = ()
    summary: Mapping[str, Any] | None = None
    n_found: int | None = None

    @property
    def is_complete(self) -> bool:
        """Whether a run would do nothing."""
        return self.state in ("done", "not accepted")


def night_state(config: NightConfig, night: date) -> NightState:
    """Compare a night's products with its files, network and rules as they are now."""
    folder = NightFolder(config.out_path, night)
    summary = folder.summary()
    inputs = NightInputs.find(config, night, summary)
    n_found = inputs.discovery.n_found
    if summary is None:
        reason = _unfinished(folder, n_found)
        return NightState(night, "missing" if n_found else "empty", (reason,), None, n_found)
    reasons = _changed(inputs, summary)
    if not reasons:
        baseline = Baseline.of(config, night, inputs.model_sha256)
        if baseline.identity(config, inputs.data_identity) != summary["identity"]:
            reasons.append("rules, or accepted nights before it, changed: no pixel is read again")
        reasons += _damaged(folder, summary)
    if reasons:
        return NightState(night, "stale", tuple(reasons), summary, n_found)
    state: State = "done" if summary["accepted"] else "not accepted"
    return NightState(night, state, tuple(summary["reasons"]), summary, n_found)


def known_nights(config: NightConfig) -> list[date]:
    """Nights that a run has left something of, and those that have a folder in the source."""
    names = {path.name for path in (config.out_path / "nights").glob("*") if path.is_dir()}
    pattern = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]"
    if NIGHT in config.source:
        places = glob(config.source.replace(NIGHT, pattern))
        names |= {found for place in places for found in re.findall(r"\d{4}-\d\d-\d\d", place)[-1:]}
    elif Path(config.source).is_dir():
        names |= {path.name for path in Path(config.source).rglob(pattern) if path.is_dir()}
    return sorted(date.fromisoformat(name) for name in names if _is_date(name))


def _is_date(name: str) -> bool:
    try:
        return date.fromisoformat(name).isoformat() == name
    except ValueError:
        return False


def is_running(config: NightConfig, night: date) -> bool:
    """Whether some process runs the night."""
    return is_locked(NightFolder(config.out_path, night))


def _changed(inputs: NightInputs, summary: Mapping[str, Any]) -> list[str]:
    """What the night's own products depend on and that is not as it was."""
    now, then = json.loads(json.dumps(inputs.parts())), summary["parts"]
    causes = [_CAUSES.get(name, name) for name in now if now[name] != then.get(name)]
    if now["files"] != then["files"]:
        change = inputs.discovery.n_found - summary["n_found"]
        causes.append(f"{change:+d} objects" if change else "as many objects as before")
    return causes


def _damaged(folder: NightFolder, summary: Mapping[str, Any]) -> list[str]:
    problems = []
    for name in (CATALOGUE, CUMULATIVE):
        facts, path = summary["files"].get(name.split(".")[0]), folder.current / name
        if facts is None:
            continue
        if not path.is_file():
            problems.append(f"{name} is gone")
        elif sha256_file(path) != facts["sha256"]:
            problems.append(f"{name} does not match its checksum")
    return problems


def _unfinished(folder: NightFolder, n_found: int) -> str:
    runs = read_runs(folder)
    if not n_found:
        return "no object has arrived"
    if not runs:
        return f"{n_found} objects have arrived, and no run of it has ended"
    last = runs[-1]
    if "error" not in last:
        return f"the last run ended {last['outcome']!r} at {last['ended_utc']}"
    return f"the last run failed in stage {last['stage']} at {last['ended_utc']}: {last['error']}"
