"""The terminal: results on stdout, for people or machines; progress and errors on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DONE, FAILED, WRONG_USE, OVER_TOLERANCE = 0, 1, 2, 3


@dataclass(frozen=True)
class Outcome:
    """What a command gave.

    Attributes
    ----------
    facts : for machines, the one JSON object
    text : for people, lines or anything that rich renders
    code : of the process
    """

    facts: Mapping[str, Any]
    text: Any = ""
    code: int = DONE
    notes: tuple[str, ...] = field(default=())


def show(outcome: Outcome, as_json: bool) -> None:
    """Print an outcome on stdout; notes go to stderr."""
    for note in outcome.notes:
        print(f"equilens: {note}", file=sys.stderr)  # noqa: T201
    if as_json:
        print(json.dumps(plain(outcome.facts), indent=2))  # noqa: T201
    elif isinstance(outcome.text, str):
        print(outcome.text)  # noqa: T201
    else:
        from rich.console import Console

        Console().print(outcome.text)


def complain(message: str) -> None:
    """Print one line on stderr."""
    print(f"equilens: error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201


def plain(value: Any) -> Any:
    """Types that JSON has; what is not finite becomes None, paths become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


@contextmanager
def progress_bar(label: str, total: float | None = None) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, where that is a terminal; gives a function to advance it.

    Parameters
    ----------
    total : of the steps; None where it is not known beforehand
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(label, total=total)

        def advance(steps: int) -> None:
            progress.advance(bar, steps)

        yield advance


def quarantine_code(n_rejected: int, n_all: int, tolerance: float) -> int:
    """Exit code for `n_rejected` of `n_all` objects in quarantine."""
    return OVER_TOLERANCE if n_all and n_rejected / n_all > tolerance else DONE
