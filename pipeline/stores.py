"""CutoutStore: cutouts of one survey on disk, one Zarr v3 group.

``images`` and ``mask`` are cut into shards of 2,048 objects, and a shard into chunks of 16, so
that one object costs one small read and one worker owns whole files. Every other array has one
value (or one a band) an object. The manifest is written last: a store without it is unfinished.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import zarr

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.errors import StoreError
from equilens.pipeline.provenance import sha256_file
from equilens.pipeline.removal import remove_store, sweep_partial, sweep_removed
from equilens.pipeline.shard_reader import ShardedArray
from equilens.pipeline.shards import shard_file
from equilens.pipeline.zarr_faults import bounded_array, damage_named, read_json

MANIFEST = "_manifest.json"
REMAKE = "make the store again with --replace"
SHARD_SIZE = 2048
CHUNK_SIZE = 16

TEXT_FACTS = ("ids", "noise_method", "wcs_header", "source_file", "source_checksum")
NUMBER_FACTS = {"ra": "f8", "dec": "f8", "pixel_scale_arcsec": "f4", "flags": "u4"}
PER_BAND_FACTS = {"noise_njy": "f4", "psf_fwhm_arcsec": "f4", "band_present": "bool"}
PIXEL_ARRAYS = ("images", "mask")


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
            f"{path} has no {MANIFEST}: it was never finished; run the command that makes it again"
        )
    manifest = read_json(file, REMAKE)
    if manifest.get("kind") != kind:
        raise StoreError(f"{path} is a {manifest.get('kind')!r} store, need {kind!r}")
    return manifest


def prepare_path(path: Path | str, replace: bool) -> Path:
    """Free `path` for a new store; sweep an unfinished one, refuse a finished one."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file: choose another --out")
    sweep_removed(path)
    if not (path / MANIFEST).exists():
        sweep_partial(path)
    if not path.exists() or not any(path.iterdir()):
        return path
    if not (path / "zarr.json").exists():
        raise StoreError(f"{path} holds something that is not a store: choose another --out")
    if (path / MANIFEST).exists() and not replace:
        raise StoreError(f"{path} exists and is complete: add --replace, or choose another --out")
    remove_store(path)
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
        with damage_named(self.path, REMAKE):
            _check_manifest(self.manifest)
            self._group = zarr.open_group(self.path, mode="r")
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._pixels: dict[str, ShardedArray] = {}

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
        pixels = {name: self.read_pixels(name, rows) for name in PIXEL_ARRAYS}
        names = (*TEXT_FACTS, *NUMBER_FACTS, *PER_BAND_FACTS)
        facts = {name: self.facts(name, rows) for name in names}
        columns = {name: self.facts(f"columns/{name}", rows) for name in self.column_names}
        return CutoutBatch(**pixels, **facts, columns=columns)

    def read_pixels(self, name: str, rows: slice) -> np.ndarray:
        """`images` (float32) or `mask` (bool) of a contiguous range, (n, band, y, x)."""
        self._check_files(name, rows)
        with damage_named(self.path, REMAKE):
            if name not in self._pixels:
                self._pixels[name] = ShardedArray(self.path, name, self._array(name))
            values = self._pixels[name].read(rows)
        if name == "mask":
            return np.unpackbits(values, axis=-1, count=self.shape[1]).view(bool)
        return values

    def shards(self) -> Iterator[CutoutBatch]:
        """Every shard in order."""
        return (self.read_shard(k) for k in range(self.n_shards))

    def find(self, object_id: str) -> int:
        """Index of an object by its ID."""
        hits = np.flatnonzero(self.facts("ids") == object_id)
        if not hits.size:
            raise StoreError(f"no object {object_id!r} in {self.path}")
        return int(hits[0])

    def table(self) -> pa.Table:
        """Every per-object value but the pixels; per-band values as ``<name>_<band>``."""
        every = slice(None)
        names = (*TEXT_FACTS, *NUMBER_FACTS)
        data = {("id" if name == "ids" else name): self.facts(name, every) for name in names}
        for name in PER_BAND_FACTS:
            values = self.facts(name, every)
            data |= {f"{name}_{band}": values[:, b] for b, band in enumerate(self.band_names)}
        data |= {name: self.facts(f"columns/{name}", every) for name in self.column_names}
        return pa.table(data)

    def verify(self) -> list[int]:
        """Shards whose files no longer match the manifest's checksums."""
        return [
            k
            for k, shard in enumerate(self.manifest["shards"])
            if shard_checksums(self.path, k) != shard["sha256"]
        ]

    def facts(self, name: str, rows: slice = slice(None)) -> np.ndarray:
        """A per-object array by name; the user's own and truth are ``columns/<name>``.

        Raises
        ------
        StoreError
            Its files are not the ones that were written.
        """
        with damage_named(self.path, REMAKE):
            values = np.asarray(self._array(name)[rows])
        # zarr reads text as StringDType; the rest of the scientific stack still wants objects
        return values.astype(object) if values.dtype.kind == "T" else values

    def _array(self, name: str) -> zarr.Array[Any]:
        """An array, looked over when it is first asked for."""
        if name not in self._arrays:
            check_facts(self.path, self.manifest, name, REMAKE)
            shape: tuple[int, ...] = (self.n_objects,)
            if name in PER_BAND_FACTS or name in PIXEL_ARRAYS:
                shape += (len(self.band_names),)
            if name in PIXEL_ARRAYS:
                width = self.shape[1] if name == "images" else -(-self.shape[1] // 8)
                shape += (self.shape[0], width)
            self._arrays[name] = bounded_array(self._group, name, shape, REMAKE)
        return self._arrays[name]

    def _check_files(self, name: str, rows: slice) -> None:
        # zarr reads a lost file as zeros, which would pass for an empty sky
        start, stop, _ = rows.indices(self.n_objects)
        for shard in range(start // self.shard_size, -(-stop // self.shard_size)):
            known = self.manifest["shards"][shard]["sha256"][name]
            if known and not shard_file(self.path, name, shard).exists():
                raise StoreError(f"{self.path} lost shard {shard} of {name}: {REMAKE}")


def _check_manifest(manifest: dict[str, Any]) -> None:
    """What reading relies on; anything else in a manifest is for people."""
    sides, rows = manifest["shape"], [shard["rows"] for shard in manifest["shards"]]
    numbers = (*sides, *rows, manifest["n_objects"], manifest["shard_size"])
    if len(sides) != 2 or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError("shape, n_objects, shard_size and rows must be whole numbers")
    full = manifest["shard_size"]
    if full < 1 or any(n != full for n in rows[:-1]) or sum(rows) != manifest["n_objects"]:
        raise ValueError(f"shards of {full} rows do not add up to {manifest['n_objects']} objects")
    names = (manifest["survey"], manifest["fingerprint"], *manifest["bands"], *manifest["columns"])
    if not all(isinstance(name, str) for name in names):
        raise ValueError("survey, fingerprint, bands and columns must be text")
    for shard in manifest["shards"]:
        if not all(isinstance(shard["sha256"][name], str) for name in PIXEL_ARRAYS):
            raise ValueError("each shard needs the checksums of its files")


def facts_checksum(path: Path, name: str) -> str:
    """sha256 over the files of the per-object array `name`, one after another, with their names."""
    digest = hashlib.sha256()
    for file in sorted((path / name).rglob("*")):
        if file.is_file():
            digest.update(f"{file.relative_to(path)} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def check_facts(path: Path, manifest: dict[str, Any], name: str, remedy: str) -> None:
    """Refuse a per-object array that is damaged: zarr reads a lost file as zeros or empty text.

    Stores of before checksums were kept pass.
    """
    known = manifest.get("facts_files", {}).get(name)
    if known is not None and facts_checksum(path, name) != known:
        raise StoreError(f"{path}: the array {name} does not match its checksum: {remedy}")


def shard_checksums(path: Path, index: int) -> dict[str, str]:
    """sha256 of the shard's files; a shard of zeros only has no file and an empty checksum."""
    files = {name: shard_file(path, name, index) for name in PIXEL_ARRAYS}
    return {name: sha256_file(file) if file.exists() else "" for name, file in files.items()}
