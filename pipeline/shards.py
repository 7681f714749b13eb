"""Shard files of Zarr v3, written chunk after chunk as objects arrive.

zarr-python encodes a shard through its asynchronous pipeline at twice the cost of the codec
itself; what it would write is simple enough to write directly. The bytes are the same.
Format: Zarr v3 sharding codec, "sharding_indexed": the encoded chunks one after another, then the
index of (offset, size) as little-endian uint64, then the CRC-32C of the index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.blosc import Blosc

from equilens.pipeline.errors import StoreError

# marks a chunk that holds fill values only and is not stored
EMPTY = 2**64 - 1


class ShardFile:
    """One shard, written chunk after chunk: lz4 behind a bit shuffle.

    Parameters
    ----------
    path : of the file; its folders are made
    n_chunks : chunks in a full shard
    """

    def __init__(self, path: Path, n_chunks: int) -> None:
        self.path = path
        self._index = np.full((n_chunks, 2), EMPTY, dtype="<u8")
        self._codec = Blosc(cname="lz4", clevel=1, shuffle=Blosc.BITSHUFFLE)
        self._digest, self._offset, self._n_added = hashlib.sha256(), 0, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - closed by `finish`

    def add(self, chunk: np.ndarray) -> None:
        """Encode and write the next chunk; one of zeros only takes no space."""
        # a few pixels decide almost always
        if chunk.reshape(-1)[::997].any() or chunk.any():
            encoded = self._codec.encode(np.ascontiguousarray(chunk))
            self._index[self._n_added] = self._offset, len(encoded)
            self._write(encoded)
        self._n_added += 1

    def finish(self) -> str:
        """Write the index; return the file's sha256, or "" where all is zero and no file stays."""
        if self._offset:
            index = self._index.tobytes()
            self._write(index + crc32c(index).to_bytes(4, "little"))
        self._file.close()
        if not self._offset:
            self.path.unlink()
            return ""
        return self._digest.hexdigest()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._offset += len(data)


class PixelShards:
    """Several arrays that grow together object by object, cut into chunks and shards.

    Parameters
    ----------
    path : of the store that holds the arrays
    layout : for each array its dtype and the shape of one object's values
    chunk_size, shard_size : objects in each; a whole number of chunks makes a shard

    Attributes
    ----------
    shards : of each finished shard its number of rows, and the sha256 of each array's file
    """

    def __init__(
        self,
        path: Path,
        layout: Mapping[str, tuple[Any, tuple[int, ...]]],
        chunk_size: int,
        shard_size: int,
    ) -> None:
        self.path, self.chunk_size, self.shard_size = path, chunk_size, shard_size
        self.shards: list[dict[str, Any]] = []
        # objects that wait for their chunk to be full
        self._waiting = {
            name: np.zeros((chunk_size, *shape), dtype) for name, (dtype, shape) in layout.items()
        }
        self._n_waiting = 0
        self._open: dict[str, ShardFile] = {}
        self._n_open = 0

    @property
    def n_objects(self) -> int:
        """Objects added so far."""
        return sum(shard["rows"] for shard in self.shards) + self._n_open + self._n_waiting

    @property
    def n_started(self) -> int:
        """Shards whose files are finished or open."""
        return len(self.shards) + bool(self._open)

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Add objects; `values` are written or copied, never kept."""
        done, n = 0, len(next(iter(values.values())))
        while done < n:
            room = min(self.chunk_size - self._n_waiting, n - done)
            part = {name: array[done : done + room] for name, array in values.items()}
            done += room
            if room == self.chunk_size:
                self._write_chunk(part, room)
                continue
            span = slice(self._n_waiting, self._n_waiting + room)
            for name, waiting in self._waiting.items():
                waiting[span] = part[name]
            self._n_waiting += room
            if self._n_waiting == self.chunk_size:
                self._n_waiting = 0
                self._write_chunk(self._waiting, self.chunk_size)

    def flush(self) -> None:
        """Write all that waits, as the last and perhaps short shard."""
        if self._n_waiting:
            rows, self._n_waiting = self._n_waiting, 0
            for waiting in self._waiting.values():
                waiting[rows:] = 0
            self._write_chunk(self._waiting, rows)
        if self._n_open:
            self._finish_shard()

    def rewind(self, n_shards: int) -> None:
        """Forget all but the first shards; their files stay until they are written again."""
        del self.shards[n_shards:]

    def abandon(self) -> None:
        """Close every file as it is."""
        for file in self._open.values():
            file.abandon()

    def _write_chunk(self, chunk: Mapping[str, np.ndarray], rows: int) -> None:
        if self.shards and self.shards[-1]["rows"] < self.shard_size:
            raise StoreError(f"{self.path}: only the last shard may be short; add before flushing")
        for name, values in chunk.items():
            if name not in self._open:
                file = shard_file(self.path, name, len(self.shards))
                self._open[name] = ShardFile(file, self.shard_size // self.chunk_size)
            self._open[name].add(values)
        self._n_open += rows
        if self._n_open == self.shard_size:
            self._finish_shard()

    def _finish_shard(self) -> None:
        checksums = {name: file.finish() for name, file in self._open.items()}
        self.shards.append({"rows": self._n_open, "sha256": checksums})
        self._open, self._n_open = {}, 0


def shard_file(path: Path, name: str, index: int) -> Path:
    """Where a shard of the array `name`, (object, band, y, x), is stored."""
    return path / name / "c" / str(index) / "0" / "0" / "0"


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, RFC 3720 appendix B.4) of a short message."""
    table, value = _crc_table(), 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    def entry(value: int) -> int:
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        return value

    return tuple(entry(byte) for byte in range(256))
