"""Timing side by side: contenders take turns, and a ratio is that of one turn.

A shared machine is slow for minutes at a time; contenders that take turns are slow together, so
the median of paired ratios holds where two separate timings would not.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
Clock = Callable[[], float]


@dataclass(frozen=True)
class Comparison:
    """Seconds of each contender, turn by turn.

    Attributes
    ----------
    seconds : by contender, one value a turn
    counts : objects that a contender handles in one turn
    baseline : contender that ratios are against
    """

    seconds: Mapping[str, list[float]]
    counts: Mapping[str, int]
    baseline: str

    def rates(self, name: str) -> list[float]:
        """Objects a second, each turn."""
        return [self.counts[name] / seconds for seconds in self.seconds[name]]

    def ratio(self, name: str) -> float:
        """Median over turns of this rate over the baseline's."""
        pairs = zip(self.rates(name), self.rates(self.baseline), strict=True)
        return median(own / other for own, other in pairs)

    def show(self, title: str, unit: str = "objects/s", target: str = "") -> None:
        """Print the table, in Markdown."""
        table = Table("", unit, "lowest to highest", "µs each", "ratio", box=box.MARKDOWN)
        for column in table.columns[1:]:
            column.justify = "right"
        for name in self.seconds:
            rates = self.rates(name)
            table.add_row(
                name + (" (baseline)" if name == self.baseline else ""),
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f} to {max(rates):,.0f}",
                f"{1e6 / median(rates):,.1f}",
                f"{self.ratio(name):.2f}",
            )
        console = Console(width=110, highlight=False)
        turns = len(self.seconds[self.baseline])
        sizes = sorted(set(self.counts.values()))
        number = " and ".join(f"{size:,}" for size in sizes)
        console.print(f"{title}: N = {number}, median of {turns} turns", soft_wrap=True)
        console.print(table)
        if target:
            console.print(f"Target: {target}", soft_wrap=True)


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    n: int | Mapping[str, int],
    turns: int,
    baseline: str,
    clock: Clock = time.perf_counter,
) -> Comparison:
    """Time every contender once a turn, after one turn that does not count.

    Parameters
    ----------
    contenders : what to time, by name
    n : objects that each handles in a turn, where they differ by name
    baseline : name that ratios are against
    clock : wall clock, or ``time.process_time`` for CPU seconds of all threads
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(turns + 1):
        for name, run in contenders.items():
            start = clock()
            run()
            if turn:
                seconds[name].append(clock() - start)
    counts = dict.fromkeys(contenders, n) if isinstance(n, int) else dict(n)
    return Comparison(seconds, counts, baseline)


def parser(description: str, n: int, turns: int = 5, threads: int = 1) -> argparse.ArgumentParser:
    """Return a parser of ``-n``, ``--turns`` and ``--threads``, to add to."""
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("-n", type=int, default=n, help=f"objects ({n})")
    found.add_argument("--turns", type=int, default=turns, help=f"repetitions ({turns})")
    found.add_argument("--threads", type=int, default=threads, help=f"CPU threads ({threads})")
    return found


def arguments(description: str, n: int, turns: int = 5, threads: int = 1) -> argparse.Namespace:
    """Parse ``-n``, ``--turns`` and ``--threads``, and pin threads."""
    options = parser(description, n, turns, threads).parse_args()
    pin_threads(options.threads)
    return options


def pin_threads(threads: int) -> None:
    """Start the program over with that many threads, unless it has them.

    BLAS and OpenMP read their variables when they are loaded, so a script calls this before it
    imports anything that computes.
    """
    pinned = dict.fromkeys(THREAD_VARIABLES, str(threads))
    if any(os.environ.get(name) != value for name, value in pinned.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **pinned})
