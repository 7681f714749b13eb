"""Training cutouts: a split by parent, and batches in an order that seed and step decide."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.training.augmentation import Augmentation, Examples, augment


@dataclass(frozen=True)
class Shard:
    """One shard of one store, with who in it is held out.

    `arc_snr` is infinite for non-lenses, and for all where the store does not know it.
    """

    store: CutoutStore
    number: int
    ids: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    arc_snr: np.ndarray

    def load(self, held_out: bool) -> Examples:
        """The shard's training objects, or those held out."""
        return examples(self.store.read_shard(self.number), self.held_out == held_out)


def examples(batch: CutoutBatch, chosen: np.ndarray) -> Examples:
    """The chosen objects of `batch` with their labels."""
    return Examples(
        batch.images[chosen],
        batch.noise_njy[chosen],
        batch.mask[chosen],
        batch.band_present[chosen],
        batch.columns["is_lens"][chosen].astype(np.float32),
    )


class TrainingSet:
    """Labelled cutouts from one or more stores of equal bands and shape.

    Parameters
    ----------
    paths : CutoutStores that have a column ``is_lens`` of 0 and 1. Where there is a column
        ``parent_id`` (the real or simulated galaxy that several cutouts share), it decides the
        split instead of the ID: children of one galaxy in both halves would flatter the figures.
    validation_fraction : share of parents held out, chosen by a hash of their name alone
    """

    def __init__(self, paths: Sequence[Path | str], validation_fraction: float) -> None:
        if not paths:
            raise TrainingError("at least one store of labelled cutouts is needed, got none")
        self.stores = [CutoutStore(path) for path in paths]
        self._check_equal()
        self.tables = [store.table() for store in self.stores]
        self.shards: list[Shard] = []
        for store, table in zip(self.stores, self.tables, strict=True):
            self._add(store, table, validation_fraction)
        self._check_classes()

    @property
    def first(self) -> CutoutStore:
        return self.stores[0]

    @property
    def n_training(self) -> int:
        return sum(int((~shard.held_out).sum()) for shard in self.shards)

    def counts(self, held_out: bool) -> dict[str, int]:
        """Lenses and non-lenses on one side of the split."""
        labels = np.concatenate([s.labels[s.held_out == held_out] for s in self.shards])
        return {"lenses": int(labels.sum()), "nonlenses": int((labels == 0).sum())}

    def fingerprints(self) -> list[str]:
        """Of the stores, in order: what the weights depend on."""
        return [store.fingerprint for store in self.stores]

    def describe(self) -> list[dict[str, Any]]:
        """Facts about each store for the model card."""
        return [
            {
                "name": store.path.name,
                "survey": store.survey_name,
                "fingerprint": store.fingerprint,
                "n_objects": store.n_objects,
                "n_lenses": int(np.sum(table["is_lens"].to_numpy())),
            }
            for store, table in zip(self.stores, self.tables, strict=True)
        ]

    def _check_equal(self) -> None:
        first = self.first
        for store in self.stores:
            if (store.band_names, store.shape) != (first.band_names, first.shape):
                raise TrainingError(
                    f"{store} and {first} differ in bands or shape: train on one kind of cutout"
                )
            if "is_lens" not in store.column_names:
                raise TrainingError(f"{store.path} has no column is_lens of 0 and 1: add labels")

    def _add(self, store: CutoutStore, table: Any, fraction: float) -> None:
        labels = np.asarray(table["is_lens"].to_numpy(), np.float64)
        if not np.isin(labels, (0, 1)).all():
            raise TrainingError(f"{store.path}: is_lens must be 0 or 1, got {np.unique(labels)}")
        name = "parent_id" if "parent_id" in store.column_names else "id"
        held_out = np.array([_share(key) < fraction for key in table[name].to_pylist()])
        ids = np.asarray(table["id"].to_pylist(), object)
        arc_snr = np.full(len(labels), np.inf)
        if "arc_snr" in store.column_names:
            arc_snr[labels == 1] = table["arc_snr"].to_numpy()[labels == 1]
        facts = (ids, labels, held_out, arc_snr)
        for number in range(store.n_shards):
            rows = store.rows(number)
            self.shards.append(Shard(store, number, *(values[rows] for values in facts)))

    def _check_classes(self) -> None:
        for held_out in (False, True):
            counts = self.counts(held_out)
            if not all(counts.values()):
                side = "held-out" if held_out else "training"
                raise TrainingError(
                    f"the {side} part has {counts['lenses']} lenses and {counts['nonlenses']} "
                    "non-lenses, both are needed: give more objects or another "
                    "validation_fraction"
                )


def _share(key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    digest = hashlib.blake2b(str(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


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

    Every object that `curriculum` lets in is shown once an epoch. Shards are drawn in random
    order, a few at a time form a pool, and the pool's objects are shuffled and cut into batches of
    nearly `batch_size`.
    """

    data: TrainingSet
    seed: int
    batch_size: int
    pool_shards: int
    curriculum: Curriculum = Curriculum()

    def batches(self, how: Augmentation, start: int = 0) -> Iterator[Examples]:
        """Augmented batches from step `start` on; endless."""
        step, kept = 0, _KeptPool()
        for epoch in count():
            rng = np.random.default_rng([self.seed, epoch])
            for pool in self._pools(rng):
                limit = self.curriculum.limit(step * self.batch_size)
                order = np.array_split(*self._order(pool, limit, rng))
                if step + len(order) <= start:
                    step += len(order)
                    continue
                loaded = kept.load(pool)
                for index in order:
                    if step >= start:
                        rng_step = np.random.default_rng([self.seed, epoch, step])
                        yield augment(loaded, index, how, rng_step)
                    step += 1

    def _pools(self, rng: np.random.Generator) -> list[list[Shard]]:
        shards = self.data.shards
        drawn = rng.permutation(len(shards))
        starts = range(0, len(shards), self.pool_shards)
        chunks = [sorted(drawn[start : start + self.pool_shards]) for start in starts]
        return [[shards[k] for k in chunk] for chunk in chunks]

    def _order(
        self, pool: list[Shard], limit: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, int]:
        arc_snr = np.concatenate([shard.arc_snr[~shard.held_out] for shard in pool])
        shown = rng.permutation(np.flatnonzero(arc_snr >= limit))
        return shown, max(1, round(len(shown) / self.batch_size))


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


def joined(parts: list[Examples]) -> Examples:
    """One block of examples from several."""
    if len(parts) == 1:
        return parts[0]
    names = vars(parts[0])
    return Examples(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def held_out_sample(data: TrainingSet, size: int) -> Examples:
    """Up to `size` held-out objects, from the first shards on, to follow a training by."""
    parts, found = [], 0
    for shard in data.shards:
        part = shard.load(held_out=True)
        parts.append(part.take(np.arange(min(len(part), size - found))))
        found += len(parts[-1])
        if found >= size:
            break
    return joined(parts)
