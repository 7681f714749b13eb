"""How many cutouts a network should take at once on this machine: timed once, then kept.

The size decides the last bits of a score, so it is part of a ScoreStore's identity: whoever goes on
with a store, or repeats it, takes the size that it has. Only a new store is ever timed.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import psutil
import torch

from equilens.pipeline.errors import ScoringError
from equilens.pipeline.scores import SMALL_BLOCK
from equilens.pipeline.scoring.blocks import NetworkTask, Source
from equilens.pipeline.scoring.reading import Inputs, batches, open_cutouts
from equilens.pipeline.scoring.worker import network_logits, ready

DEFAULT_SIZE = 64
SIZES = (16, 32, 64, 128, 256)
# cutouts a turn, and more only for a larger batch
CUTOUTS_A_TURN = 64
TURNS = 3
# by how much another size must be faster than the default
WORTHWHILE = 1.03

Clock = Callable[[], float]


@dataclass(frozen=True)
class BatchTiming:
    """What was timed, and what was chosen.

    Attributes
    ----------
    chosen : cutouts the network takes at once
    n_cutouts : of the store that were timed on
    device : where
    rates : of each size that fits into memory, cutouts a second, one value a turn
    """

    chosen: int
    n_cutouts: int
    device: str
    rates: Mapping[int, Sequence[float]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for the manifest."""
        table = [
            {"batch_size": size, "cutouts_per_s": round(median(rates), 1), "turns": len(rates)}
            for size, rates in self.rates.items()
        ]
        about = {"chosen": self.chosen, "n_cutouts": self.n_cutouts, "device": self.device}
        return {**about, "table": table}


def check_size(size: int) -> int:
    """The size, if batches of it fill blocks.

    Raises
    ------
    ScoringError
    """
    if type(size) is not int or size < 1 or SMALL_BLOCK % size:
        raise ScoringError(f"batch_size must be a power of two up to {SMALL_BLOCK}, got {size}")
    return size


def time_batches(
    source: Source, network: NetworkTask, *, workers: int = 1, clock: Clock = time.perf_counter
) -> BatchTiming:
    """Time batches of several sizes with the store's first cutouts, and choose.

    Sizes take turns, so that a machine that is slow for a while is slow for all. One that does not
    fit into memory, `workers` times, is left out, and larger ones with it.
    """
    cutouts = open_cutouts(source)
    n = min(cutouts.store.n_objects, max(SIZES))
    cutouts.refuse_damaged(0, n)
    arrays = next(cutouts.read(0, n, n))
    torch.set_num_threads(source.threads)
    runner = ready(network, source.device)

    def run(size: int) -> float:
        """Cutouts a second; what fills up a batch is none."""
        count = min(n, max(size, CUTOUTS_A_TURN))
        taken = [values[:count] for values in arrays]
        fed = list(batches(taken, replace(network, batch_size=size)))
        began = clock()
        _run(runner, fed, source.device)
        return count / (clock() - began)

    # a larger batch would be filled up with nothing
    sizes = [size for size in SIZES if size <= max(n, DEFAULT_SIZE)]
    fitting = _fitting(sizes, run, workers)
    rates: dict[int, list[float]] = {size: [] for size in fitting}
    for _ in range(TURNS):
        for size in fitting:
            rates[size].append(run(size))
    return BatchTiming(choose(rates), n, source.device, rates)


def choose(rates: Mapping[int, Sequence[float]]) -> int:
    """The fastest size; the default unless that was slower in every turn, and worthwhile so."""
    best = max(rates, key=lambda size: median(rates[size]))
    if DEFAULT_SIZE not in rates:
        return best
    gains = [ours / usual for ours, usual in zip(rates[best], rates[DEFAULT_SIZE], strict=True)]
    return best if min(gains) > 1 and median(gains) >= WORTHWHILE else DEFAULT_SIZE


def _run(runner: Callable[..., torch.Tensor], fed: list[Inputs], device: str) -> None:
    network_logits([runner], ([(0, inputs)] for inputs in fed), device)


def _fitting(sizes: Sequence[int], run: Callable[[int], float], workers: int) -> list[int]:
    """Sizes that fit into memory; each runs once, which also warms it up."""
    fitting: list[int] = []
    for size in sizes:
        before = _peak_bytes()
        try:
            run(size)
        except (torch.OutOfMemoryError, MemoryError):
            break
        fitting.append(size)
        # twice the batch takes twice what this one took, in every worker
        if 2 * (_peak_bytes() - before) * workers > psutil.virtual_memory().available:
            break
    if not fitting:
        raise ScoringError(
            f"no batch fits into memory, the smallest timed has {sizes[0]} cutouts: "
            "give a smaller --batch-size"
        )
    return fitting


def _peak_bytes() -> int:
    """The most memory that this process ever took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
