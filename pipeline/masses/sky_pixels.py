"""Chosen pixels of a stored sky, read chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import zarr

from equilens.pipeline.skymaps.store import SkyMapStore


class PixelReader:
    """Columns of a store at any pixels; the chunks used last stay in memory.

    Parameters
    ----------
    store : finished map
    columns : of it, in order
    kept_chunks : of each column that stay in memory
    """

    def __init__(self, store: SkyMapStore, columns: Sequence[str], kept_chunks: int = 48) -> None:
        group = zarr.open_group(store.path, mode="r")
        self.store, self.columns = store, tuple(columns)
        self._arrays = [
            cast(zarr.Array, group[f"values/{store.column(name).array}"]) for name in columns
        ]
        self._chunk = self._arrays[0].chunks[0]
        self._kept_chunks = kept_chunks
        self._kept: dict[int, np.ndarray] = {}

    def read(self, pixels: np.ndarray) -> np.ndarray:
        """Values at NESTED pixels, (columns, P) float32; NaN where masked.

        Runs of pixels in one chunk are read together.
        """
        chunk = pixels // self._chunk
        edges = [0, *(np.flatnonzero(np.diff(chunk)) + 1), len(pixels)]
        found = np.empty((len(self.columns), len(pixels)), np.float32)
        for start, stop in pairwise(edges):
            number = int(chunk[start])
            found[:, start:stop] = self._load(number)[:, pixels[start:stop] - number * self._chunk]
        return found

    def _load(self, number: int) -> np.ndarray:
        chunk = self._kept.pop(number, None)
        if chunk is None:
            while len(self._kept) >= self._kept_chunks:
                del self._kept[next(iter(self._kept))]
            rows = slice(number * self._chunk, (number + 1) * self._chunk)
            chunk = np.stack([np.asarray(array[rows], np.float32) for array in self._arrays])
        # the last one stays longest
        self._kept[number] = chunk
        return chunk
