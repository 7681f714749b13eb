"""Shard files of Zarr v3, written in one go.

zarr-python encodes a shard through its asynchronous pipeline at twice the cost of the codec
itself; what it would write is simple enough to write directly. The bytes are the same.
Format: Zarr v3 sharding codec, "sharding_indexed": the encoded chunks one after another, then the
index of (offset, size) as little-endian uint64, then the CRC-32C of the index.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np
from numcodecs.blosc import Blosc

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
        if chunk.any():
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
