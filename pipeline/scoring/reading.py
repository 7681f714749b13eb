"""Cutouts as the batches that each network takes, read once for all of them.

Batches lie at fixed rows of the store and always have the same size, the last one filled up, so
that a score depends on its cutout alone and not on how the work was cut into blocks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch

from equilens.pipeline.errors import ScoringError, StoreError
from equilens.pipeline.scoring.blocks import Block, NetworkTask, Source
from equilens.pipeline.stores import REMAKE, CutoutStore, shard_checksums

Inputs = tuple[torch.Tensor, ...]
# of each network, by its place in the block: a batch
Piece = list[tuple[int, Inputs]]
# images, noise, mask and presence of what fills up a batch: empty sky
_FILL = (0, 1, False, True)
_opening = threading.Lock()


def read_blocks(source: Source, blocks: Iterable[Block]) -> Iterator[Piece]:
    """Batches of the blocks in order, ``n_reads`` pieces a block.

    The last piece of a block comes once its shards have proven sound, so that the checksum is
    taken while networks work on the pieces before, and nothing is written of a damaged shard.
    """
    cutouts = open_cutouts(source)
    pinned = source.device.startswith("cuda")
    for block in blocks:
        for number, arrays in enumerate(cutouts.read(block.start, block.stop, block.read_rows), 1):
            if number == block.n_reads:
                cutouts.refuse_damaged(block.start, block.stop)
            yield [
                (k, inputs)
                for k, network in enumerate(block.networks)
                for inputs in batches(arrays, network, pinned)
            ]


def batches(
    arrays: Sequence[np.ndarray], network: NetworkTask, pinned: bool = False
) -> Iterator[Inputs]:
    """Batches of exactly ``batch_size``, padded by empty sky at the end.

    Parameters
    ----------
    arrays : images, noise, mask and presence, (n, B, ...) each
    pinned : in memory that a GPU fetches from while it computes
    """
    size, bands = network.batch_size, list(network.band_index)
    for first in range(0, len(arrays[0]), size):
        parts = (_picked(values[first : first + size], bands) for values in arrays)
        whole = (_padded(part, size, fill) for part, fill in zip(parts, _FILL, strict=True))
        tensors = (torch.from_numpy(values) for values in whole)
        yield tuple(values.pin_memory() if pinned else values for values in tensors)


class Cutouts:
    """The store of a scoring, opened once a process."""

    def __init__(self, source: Source) -> None:
        self.store = CutoutStore(source.cutouts)
        if self.store.fingerprint != source.fingerprint:
            raise ScoringError(f"{source.cutouts} changed while it was scored: score it again")
        self._sound: set[int] = set()
        self._locks = [threading.Lock() for _ in range(self.store.n_shards)]

    def read(self, start: int, stop: int, at_once: int) -> Iterator[tuple[np.ndarray, ...]]:
        """images, noise, mask and presence of every band, some rows at a time."""
        store, every = self.store, slice(start, stop)
        noise, present = store.facts("noise_njy", every), store.facts("band_present", every)
        for first in range(start, stop, at_once):
            rows = slice(first, min(first + at_once, stop))
            local = slice(rows.start - start, rows.stop - start)
            try:
                images, mask = store.read_pixels("images", rows), store.read_pixels("mask", rows)
            except StoreError:
                # of a shard that changed all that counts is that it did
                self.refuse_damaged(rows.start, rows.stop)
                raise
            yield images, noise[local], mask, present[local]

    def refuse_damaged(self, start: int, stop: int) -> None:
        """A flipped byte decodes to other pixels without a word; the manifest's checksums know.

        Each shard is looked at once, when it was just read and so is in memory anyway.
        """
        size = self.store.shard_size
        for shard in range(start // size, -(-stop // size)):
            with self._locks[shard]:
                if shard not in self._sound:
                    self._check(shard)
                    self._sound.add(shard)

    def _check(self, shard: int) -> None:
        store = self.store
        if shard_checksums(store.path, shard) != store.manifest["shards"][shard]["sha256"]:
            raise ScoringError(
                f"{store.path}: shards [{shard}] do not match the checksums of the manifest: "
                f"{REMAKE}"
            )


def open_cutouts(source: Source) -> Cutouts:
    """The cutouts of a scoring; threads of one process share them."""
    with _opening:
        return _opened(source)


@lru_cache(maxsize=4)
def _opened(source: Source) -> Cutouts:
    return Cutouts(source)


def _picked(pixels: np.ndarray, bands: list[int]) -> np.ndarray:
    return pixels if bands == list(range(pixels.shape[1])) else pixels[:, bands]


def _padded(values: np.ndarray, size: int, fill: float) -> np.ndarray:
    if len(values) == size:
        return np.ascontiguousarray(values)
    whole = np.full((size, *values.shape[1:]), fill, values.dtype)
    whole[: len(values)] = values
    return whole
