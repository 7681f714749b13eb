"""Shard files of Zarr v3, read as `shards` writes them.

zarr-python decodes the chunks of a shard through its asynchronous pipeline at three times the cost
of the codec itself. Here a chunk is decoded straight into the rows that were asked for.
"""

from __future__ import annotations

import os
from io import FileIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs.blosc import Blosc

from equilens.pipeline.shards import EMPTY, crc32c, shard_file

CRC_BYTES = 4
# Blosc 1: version, codec's version, flags, item size, then bytes, block bytes, compressed bytes
_HEADER = np.dtype([("about", "u1", 4), ("n_bytes", "<u4"), ("block", "<u4"), ("n_coded", "<u4")])
_MOST_INDICES = 64


class ShardedArray:
    """Rows of one array of pixels.

    Errors are those of damaged bytes, for `damage_named` to put into words.

    Parameters
    ----------
    path : of the store
    name : of the array
    array : as zarr knows it

    Raises
    ------
    ValueError
        It is not laid out as `shards` does.
    """

    def __init__(self, path: Path, name: str, array: zarr.Array[Any]) -> None:
        self._shard_size, self._chunk_size = _layout(array)
        self.path, self.name = path, name
        self._n_rows, self._row_shape = array.shape[0], array.shape[1:]
        self._dtype = np.dtype(array.dtype).newbyteorder("<")
        self._chunk_bytes = self._chunk_size * prod(self._row_shape) * self._dtype.itemsize
        self._codec = Blosc()
        self._indices: dict[tuple[int, ...], np.ndarray] = {}

    def read(self, rows: slice) -> np.ndarray:
        """Values of a contiguous range; rows of a shard that has no file are 0."""
        start, stop, _ = rows.indices(self._n_rows)
        found = np.empty((max(0, stop - start), *self._row_shape), self._dtype)
        for shard in range(start // self._shard_size, -(-stop // self._shard_size)):
            before = shard * self._shard_size
            first, last = max(start, before), min(stop, before + self._shard_size)
            self._fill(found[first - start : last - start], shard, first - before)
        return found

    def _fill(self, found: np.ndarray, shard: int, first: int) -> None:
        """Decode rows of one shard, from its row `first` on."""
        path = shard_file(self.path, self.name, shard)
        if not path.exists():
            found[:] = 0
            return
        size, last = self._chunk_size, first + len(found)
        with FileIO(path) as file:
            index = self._index(file)
            for chunk in range(first // size, -(-last // size)):
                begin, end = max(first, chunk * size), min(last, (chunk + 1) * size)
                target = found[begin - first : end - first]
                offset, n_coded = (int(number) for number in index[chunk])
                if offset == EMPTY == n_coded:
                    target[:] = 0
                elif len(target) == size:
                    self._decode(file, offset, n_coded, target)
                else:
                    whole = np.empty((size, *self._row_shape), self._dtype)
                    self._decode(file, offset, n_coded, whole)
                    target[:] = whole[begin - chunk * size : end - chunk * size]

    def _index(self, file: FileIO) -> np.ndarray:
        """(chunks, 2) uint64: place and length of each; kept as long as the file is the same."""
        state = os.fstat(file.fileno())
        key = state.st_ino, state.st_size, state.st_mtime_ns
        index = self._indices.get(key)
        if index is None:
            n_bytes = 16 * (self._shard_size // self._chunk_size)
            start = state.st_size - n_bytes - CRC_BYTES
            data = os.pread(file.fileno(), n_bytes + CRC_BYTES, start) if start >= 0 else b""
            coded, checksum = data[:n_bytes], data[n_bytes:]
            if start < 0 or crc32c(coded).to_bytes(CRC_BYTES, "little") != checksum:
                raise ValueError(f"the index of {file.name} does not match its checksum")
            if len(self._indices) >= _MOST_INDICES:
                self._indices.clear()
            # another thread may clear what is kept before this one returns
            self._indices[key] = index = np.frombuffer(coded, "<u8").reshape(-1, 2)
        return index

    def _decode(self, file: FileIO, offset: int, n_coded: int, target: np.ndarray) -> None:
        """One chunk; what it claims is checked before the codec, which trusts it, sees it."""
        # what does not compress takes little more than its own bytes
        if not _HEADER.itemsize <= n_coded <= 2 * self._chunk_bytes + _HEADER.itemsize:
            raise ValueError(f"a chunk of {n_coded} bytes in {file.name}")
        data = os.pread(file.fileno(), n_coded, offset)
        header = np.frombuffer(data, _HEADER, count=1)[0]
        if len(data) != n_coded or header["n_coded"] != n_coded:
            raise ValueError(f"a chunk of {file.name} is cut short")
        if header["n_bytes"] != self._chunk_bytes:
            raise ValueError(f"a chunk of {header['n_bytes']} bytes, not {self._chunk_bytes}")
        self._codec.decode(data, out=target)


def _layout(array: zarr.Array[Any]) -> tuple[int, int]:
    """Rows of a shard and of a chunk, if the file of a shard is what `shards` describes."""
    codecs: list[Any] = [codec.to_dict() for codec in array.metadata.codecs]  # type: ignore[union-attr]
    sharding = codecs[0].get("configuration", {})
    inner = [codec["name"] for codec in sharding.get("codecs", ())]
    index = [codec["name"] for codec in sharding.get("index_codecs", ())]
    rows = array.shards
    if (
        len(codecs) != 1
        or rows is None
        or (inner, index) != (["bytes", "blosc"], ["bytes", "crc32c"])
        or str(sharding["index_location"]).rpartition(".")[2] != "end"
        or (array.chunks[1:], rows[1:]) != (array.shape[1:], array.shape[1:])
        or rows[0] % array.chunks[0]
    ):
        raise ValueError("its shards are laid out in another way")
    return rows[0], array.chunks[0]
