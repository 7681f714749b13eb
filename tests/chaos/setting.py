"""Where faults happen: the undisturbed catalogue, fresh copies of its night, what a fault cost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from catalogue import BLOCK_ROWS, Night, must, write_inputs
from cluster_processes import ClusterProcesses

from equilens.pipeline.stores import CutoutStore


@dataclass
class Row:
    """What one kind of fault did.

    Attributes
    ----------
    fault : in words
    times : that it struck
    redone : blocks begun more than once
    allowed : most blocks that may be
    seconds_lost : beside the undisturbed run
    identical : whether the catalogue came out bit for bit; None where it was not tried
    note : what the first command said, or why it was not tried
    """

    fault: str
    times: int = 1
    redone: int = 0
    allowed: int = 0
    seconds_lost: float = 0.0
    identical: bool | None = None
    note: str = ""

    @property
    def sound(self) -> bool:
        return self.identical is not False and self.redone <= self.allowed


@dataclass
class Setting:
    """One harness run.

    Attributes
    ----------
    folder : empty, for everything
    rng : decides what breaks when
    n : objects of the night
    """

    folder: Path
    rng: np.random.Generator
    n: int
    cluster: ClusterProcesses
    expected: dict[str, str] = field(default_factory=dict)
    score_seconds: float = 0.0

    @property
    def undisturbed(self) -> Night:
        return Night(self.folder / "inputs", self.folder / "undisturbed", workers=1)

    @property
    def n_blocks(self) -> int:
        """Of a scoring on the cluster; one worker alone takes whole shards of a large night."""
        return -(-self.n // BLOCK_ROWS)

    def prepare(self, seed: int) -> None:
        """Make the undisturbed catalogue."""
        night = self.undisturbed
        write_inputs(night.inputs, self.n, seed)
        night.out.mkdir()
        must(night.ingest)
        with stopwatch() as seconds:
            must(night.score)
            self.score_seconds = seconds()
        must(night.export)
        self.expected = night.identity()

    def fresh(self, name: str, *, scores: bool = False, remote: bool = False) -> Night:
        """A night that is ingested, and also scored with `scores`."""
        address = self.cluster.address if remote else ""
        night = Night(self.undisturbed.inputs, self.folder / name, address)
        night.out.mkdir(exist_ok=True)
        self.refill(night, scores=scores)
        return night

    def refill(self, night: Night, *, scores: bool = False) -> None:
        """Copy the undisturbed stores into a night."""
        shutil.copytree(self.undisturbed.store, night.store)
        if scores:
            shutil.copytree(self.undisturbed.scores, night.scores)

    def is_identical(self, night: Night) -> bool:
        """Export the catalogue, and compare it bit for bit."""
        must(night.export)
        return night.identity() == self.expected

    def same_store(self, night: Night) -> bool:
        """Whether the ingested store holds the same, and is sound."""
        store, reference = CutoutStore(night.store), CutoutStore(self.undisturbed.store)
        return store.fingerprint == reference.fingerprint and not store.verify()


def rewritten(night: Night, before: dict[int, int]) -> int:
    """Blocks of `before` (index → time of change) that were written again."""
    return sum(night.block(k).stat().st_mtime_ns != when for k, when in before.items())


def written(night: Night) -> dict[int, int]:
    """Blocks that are there, with their times of change."""
    found = (night.scores / "scores" / "c").glob("[0-9]*/0")
    return {int(file.parent.name): file.stat().st_mtime_ns for file in found}


def expect_failure(code: int, told: str, words: tuple[str, ...]) -> str:
    """The error of a command that had to fail with one clear line."""
    lines = [line for line in told.splitlines() if line.startswith("equilens: error:")]
    if code != 1 or len(lines) != 1 or not all(word in lines[0] for word in words):
        raise AssertionError(f"expected one error with {words}, got code {code}: {told}")
    return lines[0].removeprefix("equilens: error: ")


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since this began."""
    began = time.monotonic()
    yield lambda: time.monotonic() - began
