"""Write a CutoutStore: shard after shard, per-object values at the end, the manifest last."""

from __future__ import annotations

import hashlib
import weakref
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from equilens.pipeline.columns import column_values
from equilens.pipeline.cutouts import CutoutBatch, CutoutFlag
from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import StoreError
from equilens.pipeline.lock import lock_store
from equilens.pipeline.provenance import fingerprint, provenance, write_json_atomic
from equilens.pipeline.shards import PixelShards, shard_file
from equilens.pipeline.stores import (
    CHUNK_SIZE,
    MANIFEST,
    NUMBER_FACTS,
    PER_BAND_FACTS,
    PIXEL_ARRAYS,
    SHARD_SIZE,
    TEXT_FACTS,
    CutoutStore,
    facts_checksum,
    prepare_path,
)

UNFINISHED = "what it held is kept, unfinished: the same command begins it anew"


class CutoutWriter:
    """Write a CutoutStore, shard after shard; a context manager that finishes on a clean exit.

    Parameters
    ----------
    path : where the store goes; an unfinished store there is swept
    survey : name of the survey
    bands : band names in order
    shape : (ny, nx)
    config : anything that made these cutouts what they are; hashed into the fingerprint
    replace : overwrite a finished store
    """

    def __init__(
        self,
        path: Path | str,
        *,
        survey: str,
        bands: tuple[str, ...],
        shape: tuple[int, int],
        config: dict[str, Any] | None = None,
        replace: bool = False,
    ) -> None:
        # two writers of one store lose rows without a word
        self._release = weakref.finalize(self, lock_store(path))
        try:
            with disk_faults(path):
                self.path = prepare_path(path, replace)
                self._group = zarr.open_group(
                    self.path,
                    mode="w",
                    zarr_format=3,
                    attributes={"survey": survey, "bands": list(bands)},
                )
        except BaseException:
            self._release()
            raise
        self._header: dict[str, Any] = {
            "kind": "cutouts",
            "format": 1,
            "survey": survey,
            "bands": list(bands),
            "shape": list(shape),
            "shard_size": SHARD_SIZE,
            "config": dict(config or {}),
        }
        self._pixels = self._create_pixels(len(bands), shape)
        layout = {name: (array.dtype, array.shape[1:]) for name, array in self._pixels.items()}
        self._shards = PixelShards(self.path, layout, CHUNK_SIZE, SHARD_SIZE)
        self._facts: list[CutoutBatch] = []

    @property
    def n_objects(self) -> int:
        """Objects appended so far."""
        return self._shards.n_objects

    def append(self, batch: CutoutBatch) -> None:
        """Add objects; whole shards go to disk as soon as they are full.

        The pixels are copied: the batch's arrays may be used again.
        """
        expected = (len(self._header["bands"]), *self._header["shape"])
        if batch.images.shape[1:] != expected:
            raise StoreError(f"cutouts must be {expected}, got {batch.images.shape[1:]}")
        if self._facts and batch.columns.keys() != self._facts[0].columns.keys():
            raise StoreError(
                f"every batch must carry the columns {sorted(self._facts[0].columns)}, "
                f"got {sorted(batch.columns)}"
            )
        with disk_faults(self.path, UNFINISHED):
            self._shards.add({"images": batch.images, "mask": _packed(batch.mask)})
        empty = np.empty((len(batch), expected[0], 0, 0))
        self._facts.append(CutoutBatch(**{**vars(batch), "images": empty, "mask": empty}))

    def drop(self, rows: np.ndarray) -> None:
        """Take objects out again; shards from the first one concerned on are written anew.

        Parameters
        ----------
        rows : indices of objects, in the order they were appended
        """
        if not len(rows):
            return
        keep = np.ones(self.n_objects, dtype=bool)
        keep[rows] = False
        self._facts = [CutoutBatch.concatenate(self._facts).take(keep)]
        self._shards.flush()
        self._resize(len(keep))
        first, n_shards = int(np.min(rows)) // SHARD_SIZE, len(self._shards.shards)
        self._shards.rewind(first)
        for k in range(first, n_shards):
            # what is written never overtakes what is read: objects only move forward
            span = slice(k * SHARD_SIZE, min((k + 1) * SHARD_SIZE, len(keep)))
            self._shards.add({n: np.asarray(a[span])[keep[span]] for n, a in self._pixels.items()})
        for k in range(self._shards.n_started, n_shards):
            for name in PIXEL_ARRAYS:
                shard_file(self.path, name, k).unlink(missing_ok=True)

    def add_flag(self, rows: np.ndarray, flag: CutoutFlag) -> None:
        """Set a flag of objects that were appended before."""
        if not len(rows):
            return
        self._facts = [CutoutBatch.concatenate(self._facts)]
        self._facts[0].flags[rows] |= np.uint32(flag)

    def record(self, **config: Any) -> None:
        """Add to the configuration in the manifest what is known only at the end."""
        self._header["config"].update(config)

    def close(self) -> CutoutStore:
        """Write what is left, the per-object arrays, and last of all the manifest."""
        try:
            with disk_faults(self.path, UNFINISHED):
                self._finish()
        finally:
            self._release()
        return CutoutStore(self.path)

    def _finish(self) -> None:
        n_objects = self.n_objects
        self._shards.flush()
        self._resize(n_objects)
        facts_sha256 = self._write_facts()
        columns = list(self._facts[0].columns) if self._facts else []
        content = {**self._header, "n_objects": n_objects, "shards": self._shards.shards}
        content |= {"columns": columns, "facts_sha256": facts_sha256}
        names = (*TEXT_FACTS, *NUMBER_FACTS, *PER_BAND_FACTS, *(f"columns/{c}" for c in columns))
        about = {
            "fingerprint": fingerprint(content),
            "facts_files": {name: facts_checksum(self.path, name) for name in names},
            "provenance": provenance(),
        }
        write_json_atomic(self.path / MANIFEST, {**content, **about})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self._release.alive:
            self.close()
        self._shards.abandon()
        self._release()

    def _create_pixels(self, n_bands: int, shape: tuple[int, int]) -> dict[str, zarr.Array]:
        codec = BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")
        layout = {"images": ("f4", shape), "mask": ("u1", (shape[0], -(-shape[1] // 8)))}
        return {
            name: self._group.create_array(
                name,
                shape=(0, n_bands, *pixels),
                dtype=dtype,
                chunks=(CHUNK_SIZE, n_bands, *pixels),
                shards=(SHARD_SIZE, n_bands, *pixels),
                compressors=[codec],
                dimension_names=["object", "band", "y", "x" if name == "images" else "packed_x"],
                attributes={"unit": "nJy"} if name == "images" else {"packed": "bits along x"},
            )
            for name, (dtype, pixels) in layout.items()
        }

    def _resize(self, n_objects: int) -> None:
        for name, array in self._pixels.items():
            array.resize((n_objects, *array.shape[1:]))
            self._pixels[name] = cast(zarr.Array, self._group[name])

    def _write_facts(self) -> str:
        if not self._facts:
            raise StoreError(f"no object to write into {self.path}: every input was rejected")
        facts = CutoutBatch.concatenate(self._facts)
        arrays = {
            name: getattr(facts, name) for name in (*TEXT_FACTS, *NUMBER_FACTS, *PER_BAND_FACTS)
        }
        columns = {
            name: column_values(values.tolist()) if values.dtype == object else values
            for name, values in facts.columns.items()
        }
        arrays |= {f"columns/{name}": values for name, values in columns.items()}
        types = {**dict.fromkeys(TEXT_FACTS, "string"), **NUMBER_FACTS, **PER_BAND_FACTS}
        self._group.require_group("columns")
        for name, values in arrays.items():
            dtype = types.get(name) or ("string" if values.dtype.kind in "OUT" else values.dtype)
            array = self._group.create_array(
                name,
                shape=values.shape,
                dtype=dtype,
                chunks=(SHARD_SIZE, *values.shape[1:]),
                dimension_names=["object", "band"][: values.ndim],
            )
            array[:] = values
        return fingerprint({name: _digest(values) for name, values in arrays.items()})


def _packed(mask: np.ndarray) -> np.ndarray:
    """Eight pixels a byte along x; most masks are empty, and need no packing."""
    if mask.any():
        return np.packbits(mask, axis=-1)
    return np.zeros((*mask.shape[:-1], -(-mask.shape[-1] // 8)), dtype=np.uint8)


def _digest(values: np.ndarray) -> str:
    if values.dtype.kind in "OUT":
        return fingerprint([str(value) for value in values])
    return hashlib.sha256(values.dtype.str.encode() + values.tobytes()).hexdigest()
