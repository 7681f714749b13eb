"""Training cutouts, and who of them is held out: a split by parent."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.training.augmentation import Examples
from equilens.pipeline.training.config import TrainConfig


@dataclass(frozen=True)
class Shard:
    """One shard of one store, with who in it is held out.

    Attributes
    ----------
    first : place of its first object in the training set
    held_out : never shown to the network
    decides : of those, who decides when a training stops; the others report how good it is
    arc_snr : infinite for non-lenses, and for all where the store does not know it
    copies : times that an object is there; 1, but in a bootstrap
    """

    store: CutoutStore
    number: int
    first: int
    ids: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    decides: np.ndarray
    arc_snr: np.ndarray
    copies: np.ndarray

    @property
    def reports(self) -> np.ndarray:
        """Those held out who decide nothing."""
        return self.held_out & ~self.decides

    def load(self, held_out: bool) -> Examples:
        """The shard's training objects, or those held out."""
        return self.load_chosen(self.held_out == held_out)

    def load_chosen(self, chosen: np.ndarray) -> Examples:
        """Some of the shard's objects."""
        return examples(self.store.read_shard(self.number), chosen, self.first)


def examples(batch: CutoutBatch, chosen: np.ndarray, first: int = 0) -> Examples:
    """The chosen objects of `batch` with their labels; `first` is the place of its first object."""
    labels = batch.columns["is_lens"][chosen].astype(np.float32)
    return Examples(
        batch.images[chosen],
        batch.noise_njy[chosen],
        batch.mask[chosen],
        batch.band_present[chosen],
        labels,
        first + np.flatnonzero(chosen),
        np.ones_like(labels),
    )


class TrainingSet:
    """Labelled cutouts from one or more stores of equal bands and shape.

    Parameters
    ----------
    paths : CutoutStores that have a column ``is_lens`` of 0 and 1. Where there is a column
        ``parent_id`` (the real or simulated galaxy that several cutouts share), it decides the
        split instead of the ID: children of one galaxy in both halves would flatter the figures.
    validation_fraction : share of parents held out, chosen by a hash of their name alone
    decides : share of those that decide when to stop, by the same hash
    bootstrap : seed of a Poisson bootstrap of the training parents: each is there 0, 1, 2, … times,
        with all its children. None for each once.
    """

    def __init__(
        self,
        paths: Sequence[Path | str],
        validation_fraction: float,
        *,
        decides: float = 0.0,
        bootstrap: int | None = None,
    ) -> None:
        if not paths:
            raise TrainingError("at least one store of labelled cutouts is needed, got none")
        self.stores = [CutoutStore(path) for path in paths]
        self._check_equal()
        self.tables = [store.table() for store in self.stores]
        self.shards: list[Shard] = []
        for store, table in zip(self.stores, self.tables, strict=True):
            self._add(store, table, validation_fraction, decides * validation_fraction, bootstrap)
        self._check_classes()

    @classmethod
    def of(cls, paths: Sequence[Path | str], config: TrainConfig) -> TrainingSet:
        """The training set that a configuration asks for."""
        stopping = config.stopping
        return cls(
            paths,
            config.validation_fraction,
            decides=stopping.decides if stopping.active else 0.0,
            bootstrap=config.seed if config.bootstrap else None,
        )

    @property
    def first(self) -> CutoutStore:
        return self.stores[0]

    @property
    def n_objects(self) -> int:
        """All of them, those held out too."""
        return sum(len(shard.labels) for shard in self.shards)

    @property
    def n_training(self) -> int:
        """Cutouts of one pass."""
        return sum(int(shard.copies[~shard.held_out].sum()) for shard in self.shards)

    def counts(self, held_out: bool) -> dict[str, int]:
        """Lenses and non-lenses on one side of the split; in a bootstrap, each once."""
        return self._counts([s.held_out == held_out for s in self.shards])

    def _counts(self, chosen: list[np.ndarray]) -> dict[str, int]:
        labels = np.concatenate([s.labels[c] for s, c in zip(self.shards, chosen, strict=True)])
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

    def _add(
        self, store: CutoutStore, table: Any, fraction: float, decides: float, bootstrap: int | None
    ) -> None:
        labels = np.asarray(table["is_lens"].to_numpy(), np.float64)
        if not np.isin(labels, (0, 1)).all():
            raise TrainingError(f"{store.path}: is_lens must be 0 or 1, got {np.unique(labels)}")
        parents = table["parent_id" if "parent_id" in store.column_names else "id"].to_pylist()
        share = np.array([_share(key) for key in parents])
        ids = np.asarray(table["id"].to_pylist(), object)
        arc_snr = np.full(len(labels), np.inf)
        if "arc_snr" in store.column_names:
            arc_snr[labels == 1] = table["arc_snr"].to_numpy()[labels == 1]
        copies = np.ones(len(labels), int)
        if bootstrap is not None:
            drawn = np.array([_share(f"{bootstrap}/{key}") for key in parents])
            copies = np.searchsorted(_POISSON, drawn, side="right")
        facts = (ids, labels, share < fraction, share < decides, arc_snr, copies)
        for number in range(store.n_shards):
            rows, first = store.rows(number), self.n_objects
            self.shards.append(Shard(store, number, first, *(values[rows] for values in facts)))

    def _check_classes(self) -> None:
        parts = {
            "training": [~s.held_out & (s.copies > 0) for s in self.shards],
            "reporting held-out": [s.reports for s in self.shards],
        }
        if any(s.decides.any() for s in self.shards):
            parts["deciding held-out"] = [s.decides for s in self.shards]
        for side, chosen in parts.items():
            counts = self._counts(chosen)
            if not all(counts.values()):
                raise TrainingError(
                    f"the {side} part has {counts['lenses']} lenses and {counts['nonlenses']} "
                    "non-lenses, both are needed: give more objects or another "
                    "validation_fraction"
                )


def _share(key: object) -> float:
    """A number in [0, 1) that depends on the key alone."""
    digest = hashlib.blake2b(str(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


# chances of at most 0, 1, 2, … copies: a bootstrap of many, one by one (mean 1)
_POISSON = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(12)])


def joined(parts: list[Examples]) -> Examples:
    """One block of examples from several."""
    if len(parts) == 1:
        return parts[0]
    names = vars(parts[0])
    return Examples(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def held_out_sample(data: TrainingSet, size: int) -> Examples:
    """Up to `size` held-out objects, from the first shards on, to follow a training by.

    Where some decide when it stops, those; else any.
    """
    some_decide = any(shard.decides.any() for shard in data.shards)
    parts, found = [], 0
    for shard in data.shards:
        part = shard.load_chosen(shard.decides if some_decide else shard.held_out)
        parts.append(part.take(np.arange(min(len(part), size - found))))
        found += len(parts[-1])
        if found >= size:
            break
    return joined(parts)
