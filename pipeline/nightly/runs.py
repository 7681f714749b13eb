"""One run of a night at a time, and a line in its log for each."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from equilens.pipeline.errors import StoreError
from equilens.pipeline.lock import lock_store
from equilens.pipeline.nightly.errors import NightError
from equilens.pipeline.nightly.folders import NightFolder

WAIT_S = 600.0
_PAUSE_S = 0.2


def lock_night(folder: NightFolder) -> Callable[[], None]:
    """Claim a night for this run; call what is returned to let go of it.

    The lock ends with the process, however it ends.

    Raises
    ------
    NightError
        Another run has it.
    """
    try:
        return lock_store(folder.path)
    except StoreError:
        raise NightError(
            f"night {folder.night} is being run by another process, which holds "
            f"{folder.path.parent}/.{folder.path.name}.lock: wait for it to end; one run of a "
            "night is allowed at a time"
        ) from None


def is_locked(folder: NightFolder) -> bool:
    """Whether a run of the night is under way."""
    # the file goes when a run ends; only one that was killed leaves it behind, without a lock
    if not (folder.path.parent / f".{folder.path.name}.lock").exists():
        return False
    try:
        lock_store(folder.path)()
    except StoreError:
        return True
    return False


@contextmanager
def alone(path: Path, what: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold what all nights share; wait while another night's run has it.

    Raises
    ------
    NightError
        It is not let go of in time.
    """
    until = time.monotonic() + wait_s
    while True:
        try:
            release = lock_store(path)
            break
        except StoreError:
            if time.monotonic() > until:
                raise NightError(
                    f"{what} ({path}) is held by the run of another night for more than "
                    f"{wait_s:.0f} s: look whether that run still goes on, then run again"
                ) from None
            time.sleep(_PAUSE_S)
    try:
        yield
    finally:
        release()


def log_run(folder: NightFolder, outcome: str, seconds: float, **facts: Any) -> None:
    """Append one line to the night's log; what stands there is never changed."""
    line = {
        "ended_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "outcome": outcome,
        "seconds": round(seconds, 3),
        **facts,
    }
    folder.path.mkdir(parents=True, exist_ok=True)
    text = json.dumps(line, default=str) + "\n"
    # one write of one line: two runs can not mix theirs
    descriptor = os.open(folder.runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read_runs(folder: NightFolder) -> list[dict[str, Any]]:
    """The log, oldest first; a line that a crash cut short is left out."""
    if not folder.runs.exists():
        return []
    runs = []
    for line in folder.runs.read_text().splitlines():
        try:
            runs.append(json.loads(line))
        except ValueError:
            continue
    return runs
