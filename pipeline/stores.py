"""CutoutStore: cutouts of one survey on disk, one Zarr v3 group.

``images`` and ``mask`` are cut into shards of 2,048 objects, and a shard into chunks of 16, so
that one object costs one small read and one worker owns whole files. Every other array has one
value (or one a band) an object. The manifest is written last: a store without it is unfinished.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import zarr
from zarr.codecs import BloscCodec

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.errors import StoreError
from equilens.pipeline.lock import lock_store
from equilens.pipeline.provenance import (
    fingerprint,
    provenance,
    sha256_file,
    write_json_atomic,
)
from equilens.pipeline.shards import ShardFile

MANIFEST = "_manifest.json"
SHARD_SIZE = 2048
CHUNK_SIZE = 16

_TEXT = ("ids", "noise_method", "wcs_header", "source_file", "source_checksum")
_NUMBERS = {"ra": "f8", "dec": "f8", "pixel_scale_arcsec": "f4", "flags": "u4"}
_PER_BAND = {"noise_njy": "f4", "psf_fwhm_arcsec": "f4", "band_present": "bool"}
_PIXELS = ("images", "mask")


def read_manifest(path: Path | str, kind: str) -> dict[str, Any]:
    """Manifest of the store at `path`.

    Raises
    ------
    StoreError
        No store, one that was never finished, or one of another kind.
    """
    path = Path(path)
    if not path.is_dir():
        raise StoreError(f"no store at {path}: give the path of a {kind} store")
    file = path / MANIFEST
    if not file.exists():
        raise StoreError(
            f"{path} has no {MANIFEST}: it was never finished; make it again with --replace"
        )
    manifest = json.loads(file.read_text())
    if manifest.get("kind") != kind:
        raise StoreError(f"{path} is a {manifest.get('kind')!r} store, need {kind!r}")
    return manifest


def prepare_path(path: Path | str, replace: bool) -> Path:
    """Free `path` for a new store; sweep an unfinished one, refuse a finished one."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file: choose another --out")
    if not path.exists() or not any(path.iterdir()):
        return path
    if not (path / "zarr.json").exists():
        raise StoreError(f"{path} holds something that is not a store: choose another --out")
    if (path / MANIFEST).exists() and not replace:
        raise StoreError(f"{path} exists and is complete: add --replace, or choose another --out")
    shutil.rmtree(path)
    return path


class CutoutStore:
    """A finished store, read shard by shard.

    Parameters
    ----------
    path : path of a store that has its manifest
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(path, "cutouts")
        self._group = zarr.open_group(self.path, mode="r")

    @property
    def survey_name(self) -> str:
        return self.manifest["survey"]

    @property
    def band_names(self) -> tuple[str, ...]:
        return tuple(self.manifest["bands"])

    @property
    def shape(self) -> tuple[int, int]:
        """Pixels of one cutout, (ny, nx)."""
        ny, nx = self.manifest["shape"]
        return ny, nx

    @property
    def n_objects(self) -> int:
        return self.manifest["n_objects"]

    @property
    def shard_size(self) -> int:
        return self.manifest["shard_size"]

    @property
    def n_shards(self) -> int:
        return len(self.manifest["shards"])

    @property
    def fingerprint(self) -> str:
        """Hash of the pixels and of every per-object value."""
        return self.manifest["fingerprint"]

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(self.manifest["columns"])

    def __repr__(self) -> str:
        return (
            f"CutoutStore({str(self.path)!r}: {self.n_objects} objects, {self.survey_name}, "
            f"bands {' '.join(self.band_names)}, {self.shape[0]}x{self.shape[1]} pixels)"
        )

    def rows(self, shard: int) -> slice:
        """Object indices of a shard."""
        if not 0 <= shard < self.n_shards:
            raise StoreError(f"shard must be in 0..{self.n_shards - 1}, got {shard}")
        start = shard * self.shard_size
        return slice(start, min(start + self.shard_size, self.n_objects))

    def read_shard(self, shard: int) -> CutoutBatch:
        """All objects of one shard."""
        return self.read(self.rows(shard))

    def read(self, rows: slice) -> CutoutBatch:
        """Objects of a contiguous range."""
        pixels = {name: self.read_pixels(name, rows) for name in _PIXELS}
        facts = {name: self._facts(name, rows) for name in (*_TEXT, *_NUMBERS, *_PER_BAND)}
        columns = {name: self._facts(f"columns/{name}", rows) for name in self.column_names}
        return CutoutBatch(**pixels, **facts, columns=columns)

    def read_pixels(self, name: str, rows: slice) -> np.ndarray:
        """`images` (float32) or `mask` (bool) of a contiguous range, (n, band, y, x)."""
        values = np.asarray(self._group[name][rows])
        if name == "mask":
            return np.unpackbits(values, axis=-1, count=self.shape[1]).view(bool)
        return values

    def shards(self) -> Iterator[CutoutBatch]:
        """Every shard in order."""
        return (self.read_shard(k) for k in range(self.n_shards))

    def find(self, object_id: str) -> int:
        """Index of an object by its ID."""
        hits = np.flatnonzero(self._facts("ids", slice(None)) == object_id)
        if not hits.size:
            raise StoreError(f"no object {object_id!r} in {self.path}")
        return int(hits[0])

    def table(self) -> pa.Table:
        """Every per-object value but the pixels; per-band values as ``<name>_<band>``."""
        every = slice(None)
        data = {("id" if n == "ids" else n): self._facts(n, every) for n in (*_TEXT, *_NUMBERS)}
        for name in _PER_BAND:
            values = self._facts(name, every)
            data |= {f"{name}_{band}": values[:, b] for b, band in enumerate(self.band_names)}
        data |= {name: self._facts(f"columns/{name}", every) for name in self.column_names}
        return pa.table(data)

    def verify(self) -> list[int]:
        """Shards whose files no longer match the manifest's checksums."""
        return [
            k
            for k, shard in enumerate(self.manifest["shards"])
            if _shard_checksums(self.path, k) != shard["sha256"]
        ]

    def _facts(self, name: str, rows: slice) -> np.ndarray:
        values = np.asarray(self._group[name][rows])
        # zarr reads text as StringDType; the rest of the scientific stack still wants objects
        return values.astype(object) if values.dtype.kind == "T" else values


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
        # objects that wait for their chunk to be full
        self._partial = {
            name: np.zeros((CHUNK_SIZE, *array.shape[1:]), dtype=array.dtype)
            for name, array in self._pixels.items()
        }
        self._n_partial = 0
        self._open: dict[str, ShardFile] = {}
        self._n_open = 0
        self._shards: list[dict[str, Any]] = []
        self._facts: list[CutoutBatch] = []

    @property
    def n_objects(self) -> int:
        """Objects appended so far."""
        return sum(shard["rows"] for shard in self._shards) + self._n_open + self._n_partial

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
        self._add_pixels({"images": batch.images, "mask": np.packbits(batch.mask, axis=-1)})
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
        self._flush()
        self._resize(len(keep))
        first, n_shards = int(np.min(rows)) // SHARD_SIZE, len(self._shards)
        del self._shards[first:]
        for k in range(first, n_shards):
            # what is written never overtakes what is read: objects only move forward
            span = slice(k * SHARD_SIZE, min((k + 1) * SHARD_SIZE, len(keep)))
            self._add_pixels({n: np.asarray(a[span])[keep[span]] for n, a in self._pixels.items()})
        for k in range(len(self._shards), n_shards):
            for name in _PIXELS:
                _shard_file(self.path, name, k).unlink(missing_ok=True)

    def record(self, **config: Any) -> None:
        """Add to the configuration in the manifest what is known only at the end."""
        self._header["config"].update(config)

    def close(self) -> CutoutStore:
        """Write what is left, the per-object arrays, and last of all the manifest."""
        try:
            n_objects = self.n_objects
            self._flush()
            self._resize(n_objects)
            facts_sha256 = self._write_facts()
            content = {**self._header, "n_objects": n_objects, "shards": self._shards}
            content["columns"] = list(self._facts[0].columns) if self._facts else []
            content["facts_sha256"] = facts_sha256
            manifest = {**content, "fingerprint": fingerprint(content), "provenance": provenance()}
            write_json_atomic(self.path / MANIFEST, manifest)
        finally:
            self._release()
        return CutoutStore(self.path)

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
        for file in self._open.values():
            file.abandon()
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

    def _add_pixels(self, values: dict[str, np.ndarray]) -> None:
        done, n = 0, len(values["images"])
        while done < n:
            room = min(CHUNK_SIZE - self._n_partial, n - done)
            if room == CHUNK_SIZE:
                self._add_chunk({name: v[done : done + room] for name, v in values.items()}, room)
            else:
                span = slice(self._n_partial, self._n_partial + room)
                for name, waiting in self._partial.items():
                    waiting[span] = values[name][done : done + room]
                self._n_partial += room
                if self._n_partial == CHUNK_SIZE:
                    self._n_partial = 0
                    self._add_chunk(self._partial, CHUNK_SIZE)
            done += room

    def _add_chunk(self, chunk: dict[str, np.ndarray], rows: int) -> None:
        if self._shards and self._shards[-1]["rows"] < SHARD_SIZE:
            raise StoreError(f"{self.path}: only the last shard may be short; append before close")
        for name, values in chunk.items():
            if name not in self._open:
                file = _shard_file(self.path, name, len(self._shards))
                self._open[name] = ShardFile(file, SHARD_SIZE // CHUNK_SIZE)
            self._open[name].add(values)
        self._n_open += rows
        if self._n_open == SHARD_SIZE:
            self._finish_shard()

    def _finish_shard(self) -> None:
        checksums = {name: file.finish() for name, file in self._open.items()}
        self._shards.append({"rows": self._n_open, "sha256": checksums})
        self._open, self._n_open = {}, 0

    def _flush(self) -> None:
        """Write all that waits, as the last and perhaps short shard."""
        if self._n_partial:
            rows, self._n_partial = self._n_partial, 0
            for waiting in self._partial.values():
                waiting[rows:] = 0
            self._add_chunk(self._partial, rows)
        if self._n_open:
            self._finish_shard()

    def _resize(self, n_objects: int) -> None:
        for name, array in self._pixels.items():
            array.resize((n_objects, *array.shape[1:]))
            self._pixels[name] = self._group[name]

    def _write_facts(self) -> str:
        if not self._facts:
            raise StoreError(f"no object to write into {self.path}: every input was rejected")
        facts = CutoutBatch.concatenate(self._facts)
        arrays = {name: getattr(facts, name) for name in (*_TEXT, *_NUMBERS, *_PER_BAND)}
        arrays |= {f"columns/{name}": values for name, values in facts.columns.items()}
        types = {**dict.fromkeys(_TEXT, "string"), **_NUMBERS, **_PER_BAND}
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


def _digest(values: np.ndarray) -> str:
    if values.dtype.kind in "OUT":
        return fingerprint([str(value) for value in values])
    return hashlib.sha256(values.dtype.str.encode() + values.tobytes()).hexdigest()


def _shard_checksums(path: Path, index: int) -> dict[str, str]:
    """sha256 of the shard's files; a shard of zeros only has no file and an empty checksum."""
    files = {name: _shard_file(path, name, index) for name in _PIXELS}
    return {name: sha256_file(file) if file.exists() else "" for name, file in files.items()}


def _shard_file(path: Path, name: str, index: int) -> Path:
    return path / name / "c" / str(index) / "0" / "0" / "0"
