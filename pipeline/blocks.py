"""Score one block of rows: what a worker does, wherever it runs.

Batches lie at fixed rows of the store and always have the same size, the last one filled up, so
that a score depends on its cutout alone and not on how the work was cut into blocks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import zarr

from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import ScoringError
from equilens.pipeline.networks import Network, by_member, ready_network
from equilens.pipeline.prefetch import prefetch
from equilens.pipeline.provenance import fingerprint
from equilens.pipeline.scores import AGAIN, IDENTITY
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.zarr_faults import read_json

Inputs = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class BlockTask:
    """Everything but the rows; small enough to send with each task.

    Attributes
    ----------
    cutouts : path of the CutoutStore
    fingerprint : that it must have
    weights, sha256 : path of the network and the hash that it must have
    out : path of the ScoreStore
    identity : fingerprint of what its scores depend on
    band_index : for each band of the network, its place in the store
    batch_size : cutouts the network takes at once
    device : where it runs
    threads : of torch
    """

    cutouts: str
    fingerprint: str
    weights: str
    sha256: str
    out: str
    identity: str
    band_index: tuple[int, ...]
    batch_size: int
    device: str = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class BlockStats:
    """What became of a block: its rows, objects without a finite score, seconds of work."""

    start: int
    stop: int
    n_not_finite: int
    seconds: float


def score_block(task: BlockTask, start: int, stop: int) -> BlockStats:
    """Score rows ``start`` to ``stop`` and write them; only this task writes this block."""
    began = time.monotonic()
    if torch.get_num_threads() != task.threads:
        torch.set_num_threads(task.threads)
    store = _open_store(task.cutouts, task.fingerprint)
    network = by_member(ready_network(task.weights, task.sha256, task.device))
    logits = block_logits(store, network, task, start, stop)
    # an object without a finite score is quarantined; NaN never passes for a rank
    finite = np.isfinite(logits)
    scores = np.where(finite, logits, np.nan)
    _write_block(task, start, stop, scores)
    n_not_finite = int((~finite.all(axis=1)).sum())
    return BlockStats(start, stop, n_not_finite, time.monotonic() - began)


# a block of quarantined objects alone is a result too, not a block still to do
_WRITE = {"write_empty_chunks": True}


def _write_block(task: BlockTask, start: int, stop: int, scores: np.ndarray) -> None:
    out = Path(task.out)
    with disk_faults(out):
        array = zarr.open_array(out / "scores", mode="r+", config=_WRITE)
        rows = array.chunks[0]
        if start % rows or (stop - start != rows and stop != array.shape[0]):
            raise ScoringError(f"rows {start} to {stop} are no block of {rows} rows: not written")
        # a driver that was killed left this task running; another network may own the store by now
        if fingerprint(read_json(out / IDENTITY, AGAIN)) != task.identity:
            raise ScoringError(f"{out} is scored by another run now: not written")
        array[start:stop] = scores


def block_logits(
    store: CutoutStore, network: Network, task: BlockTask, start: int, stop: int
) -> np.ndarray:
    """(stop - start, members) float64 logits; reading runs ahead of the network."""
    parts = []
    with torch.inference_mode():
        for inputs in prefetch(read_batches(store, task, start, stop)):
            moved = (values.to(task.device, non_blocking=True) for values in inputs)
            logits = network(*moved).double().cpu().numpy()
            parts.append(logits.reshape(task.batch_size, -1))
    return np.concatenate(parts)[: stop - start]


def read_batches(store: CutoutStore, task: BlockTask, start: int, stop: int) -> Iterator[Inputs]:
    """Batches of exactly ``batch_size``, padded by empty sky at the end."""
    every = slice(start, stop)
    bands = list(task.band_index)
    noise = store.facts("noise_njy", every)[:, bands]
    present = store.facts("band_present", every)[:, bands]
    for first in range(start, stop, task.batch_size):
        rows = slice(first, min(first + task.batch_size, stop))
        local = slice(rows.start - start, rows.stop - start)
        arrays = (
            _picked(store.read_pixels("images", rows), bands),
            noise[local],
            _picked(store.read_pixels("mask", rows), bands),
            present[local],
        )
        yield tuple(
            torch.from_numpy(_padded(values, task.batch_size, fill))
            for values, fill in zip(arrays, (0, 1, False, True), strict=True)
        )


def _picked(pixels: np.ndarray, bands: list[int]) -> np.ndarray:
    return pixels if bands == list(range(pixels.shape[1])) else pixels[:, bands]


def _padded(values: np.ndarray, size: int, fill: float) -> np.ndarray:
    if len(values) == size:
        return np.ascontiguousarray(values)
    whole = np.full((size, *values.shape[1:]), fill, values.dtype)
    whole[: len(values)] = values
    return whole


@lru_cache(maxsize=4)
def _open_store(path: str, fingerprint: str) -> CutoutStore:
    store = CutoutStore(path)
    if store.fingerprint != fingerprint:
        raise ScoringError(f"{path} changed while it was scored: score it again")
    return store
