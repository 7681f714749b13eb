"""Batches in an order that the seed and the step decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count

import numpy as np

from equilens.pipeline.training.augmentation import Augmentation, Examples, augment
from equilens.pipeline.training.data import Shard, TrainingSet, joined
from equilens.pipeline.training.mining import Hardness


class _KeptPool:
    """The pool read last: a set of one pool is read once."""

    def __init__(self) -> None:
        self._shards: list[Shard] = []
        self._examples: Examples | None = None

    def load(self, pool: list[Shard]) -> Examples:
        if self._examples is None or [id(s) for s in pool] != [id(s) for s in self._shards]:
            self._examples = None  # let the old pool go before the new one is read
            self._examples = joined([shard.load(held_out=False) for shard in pool])
            self._shards = pool
        return self._examples


@dataclass(frozen=True)
class Curriculum:
    """Bright arcs first: a network that has never seen an arc does not find the faint ones.

    Attributes
    ----------
    arc_snr : at the start, lenses whose arcs have a lower signal-to-noise ratio wait
    images : cutouts shown until the limit has come down, linearly, to nothing; 0 for no curriculum
    """

    arc_snr: float = 0.0
    images: float = 0.0

    def limit(self, images: float) -> float:
        """Faintest arcs shown after so many cutouts."""
        return self.arc_snr * (1 - images / self.images) if images < self.images else 0.0


@dataclass(frozen=True)
class BatchPlan:
    """Which objects make up which step, for ever.

    Every object that `curriculum` lets in is shown once an epoch, or as often as `Hardness` draws
    it. Shards are drawn in random order, a few at a time form a pool, and the pool's objects are
    shuffled and cut into batches of nearly `batch_size`.
    """

    data: TrainingSet
    seed: int
    batch_size: int
    pool_shards: int
    curriculum: Curriculum = Curriculum()
    kept: _KeptPool = field(default_factory=_KeptPool, compare=False, repr=False)

    def batches(self, how: Augmentation, start: int = 0) -> Iterator[Examples]:
        """Augmented batches from step `start` on; endless."""
        for number, first in self.epochs(start):
            yield from self.epoch(number, first, how, start)

    def epochs(self, start: int = 0) -> Iterator[tuple[int, int]]:
        """Number and first step of each epoch, from the one of step `start` on; endless."""
        first = 0
        for number in count():
            step = first
            for pool in self._pools(np.random.default_rng([self.seed, number])):
                step += self._n_steps(len(self._shown(pool, step)))
            if step > start:
                yield number, first
            first = step

    def epoch(
        self,
        number: int,
        first: int,
        how: Augmentation,
        start: int = 0,
        hardness: Hardness | None = None,
    ) -> Iterator[Examples]:
        """Augmented batches of one epoch, whose first step is `first`, from step `start` on."""
        rng = np.random.default_rng([self.seed, number])
        step = first
        for pool in self._pools(rng):
            order, weights = self._order(pool, step, rng, hardness)
            n_steps = self._n_steps(len(order))
            if step + n_steps <= start:
                step += n_steps
                continue
            loaded = self.kept.load(pool)
            for index, weight in zip(
                np.array_split(order, n_steps), np.array_split(weights, n_steps), strict=True
            ):
                if step >= start:
                    rng_step = np.random.default_rng([self.seed, number, step])
                    yield replace(augment(loaded, index, how, rng_step), weights=weight)
                step += 1

    def _n_steps(self, n_shown: int) -> int:
        return max(1, round(n_shown / self.batch_size))

    def _pools(self, rng: np.random.Generator) -> list[list[Shard]]:
        shards = self.data.shards
        drawn = rng.permutation(len(shards))
        starts = range(0, len(shards), self.pool_shards)
        chunks = [sorted(drawn[start : start + self.pool_shards]) for start in starts]
        return [[shards[k] for k in chunk] for chunk in chunks]

    def _shown(self, pool: list[Shard], step: int) -> np.ndarray:
        """Places in the pool's training objects of those that may be shown, with copies."""
        limit = self.curriculum.limit(step * self.batch_size)
        arc_snr = _joined_facts(pool, "arc_snr")
        copies = _joined_facts(pool, "copies")
        return np.repeat(np.arange(len(arc_snr)), copies * (arc_snr >= limit))

    def _order(
        self, pool: list[Shard], step: int, rng: np.random.Generator, hardness: Hardness | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places in the pool in the order in which they are shown, and weights of their losses."""
        shown = self._shown(pool, step)
        if hardness is None or not len(shown):
            return rng.permutation(shown), np.ones(len(shown), np.float32)
        rows = np.concatenate([s.first + np.flatnonzero(~s.held_out) for s in pool])[shown]
        drawn, weights = hardness.draw(rows, _joined_facts(pool, "labels")[shown], rng)
        order = rng.permutation(len(drawn))
        return shown[drawn[order]], weights[order]


def _joined_facts(pool: list[Shard], name: str) -> np.ndarray:
    """A fact of all training objects of a pool."""
    return np.concatenate([getattr(shard, name)[~shard.held_out] for shard in pool])
