"""ScoreStore: the logits of one network, or of a committee's members, for one CutoutStore.

A Zarr v3 group with ``scores`` (object, member), float64, and what a reader needs of each object.
Workers write ``scores`` in blocks of rows: one block is one chunk and so one file, which appears
whole or not at all and carries a CRC-32C. ``_identity.json`` is written first and says what the
scores depend on; ``_manifest.json`` is written last, with a checksum for each block.
`score_writer` writes it.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from equilens.pipeline.provenance import sha256_file
from equilens.pipeline.stores import check_facts, facts_checksum, read_manifest
from equilens.pipeline.zarr_faults import bounded_array, damage_named

IDENTITY = "_identity.json"
KIND = "scores"
MERGED = "merged.csv"
# the largest batch; a block of rows is a whole number of these, or ends with the store
SMALL_BLOCK = 256

AGAIN = "run the same score command again, it redoes what is damaged"
# per-object arrays, with their types
FACTS = {"ids": "string", "flags": "u4", "outside": "u8"}


class ScoreStore:
    """Finished scores.

    Parameters
    ----------
    path : path of a store that has its manifest
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(path, KIND)
        with damage_named(self.path, AGAIN):
            _check_manifest(self.manifest)
            self._group = zarr.open_group(self.path, mode="r")

    @property
    def n_objects(self) -> int:
        return self.manifest["n_objects"]

    @property
    def identity(self) -> dict[str, Any]:
        """What the scores depend on: data, network, settings."""
        return self.manifest["identity"]

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]

    @property
    def seen_in_training(self) -> bool:
        """Whether the network was trained on the cutouts that it scored.

        Told by fingerprint, so only of a whole store; False where the network's card does not say
        what it was trained on.
        """
        return self.identity["cutouts"] in self.manifest.get("trained_on", ())

    @property
    def cutouts_path(self) -> Path:
        """Where the scored CutoutStore was."""
        return Path(self.manifest["cutouts"])

    def __repr__(self) -> str:
        network = self.manifest["network"]["name"]
        return f"ScoreStore({str(self.path)!r}: {self.n_objects} objects, network {network})"

    def ids(self) -> np.ndarray:
        """(N,) object array of str."""
        return self._fact("ids").astype(object)

    def scores(self, rows: slice = slice(None)) -> np.ndarray:
        """(n, members) float64 logits; NaN for an object that the network could not score.

        Raises
        ------
        StoreError
            A block does not match its checksum.
        """
        bounded_array(self._group, "scores", (self.n_objects, None), AGAIN)
        return read_scores(self._group, self.path, rows)

    def combined(self, rows: slice = slice(None)) -> np.ndarray:
        """(n,) float64: the mean logit of the members."""
        return self.scores(rows).mean(axis=1)

    def flags(self) -> np.ndarray:
        """(N,) uint32, see `CutoutFlag`; with OUT_OF_DOMAIN where the guard set it."""
        return self._fact("flags")

    def outside(self) -> np.ndarray:
        """(N,) uint64, the guard's failed checks, bit by bit."""
        return self._fact("outside")

    def stand_ins(self) -> dict[str, str]:
        """Sightings that ingest merged away → the object that was scored in their place."""
        file = self.path / MERGED
        if not file.exists():
            return {}
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
            return {row["id"]: row["kept_id"] for row in csv.DictReader(stream)}

    def verify(self) -> list[int]:
        """First rows of blocks whose files no longer match the manifest."""
        return [
            block["start"]
            for block in self.manifest["blocks"]
            if block_checksum(self.path, block["start"] // self.manifest["block_rows"])
            != block["sha256"]
        ]

    def facts_are_sound(self) -> bool:
        """Whether ids, flags and the guard's bits still match their checksums."""
        known = self.manifest.get("facts_files", {})
        return all(facts_checksum(self.path, name) == known.get(name) for name in FACTS)

    def _fact(self, name: str) -> np.ndarray:
        check_facts(self.path, self.manifest, name, AGAIN)
        array = bounded_array(self._group, name, (self.n_objects,), AGAIN)
        with damage_named(self.path, AGAIN):
            return np.asarray(array[:])


def _check_manifest(manifest: dict[str, Any]) -> None:
    n, size, blocks = manifest["n_objects"], manifest["block_rows"], manifest["blocks"]
    if type(n) is not int or type(size) is not int or size < 1:
        raise ValueError("n_objects and block_rows must be whole numbers")
    expected = [(start, min(size, n - start)) for start in range(0, n, size)][: len(blocks) + 1]
    if [(block["start"], block["rows"]) for block in blocks] != expected:
        raise ValueError(f"blocks of {size} rows do not add up to {n} objects")
    texts = (manifest["cutouts"], manifest["fingerprint"], *(block["sha256"] for block in blocks))
    if not all(isinstance(text, str) for text in (*texts, manifest["identity"]["cutouts"])):
        raise ValueError("paths, fingerprints and checksums must be text")


def block_rows(n_shards: int, shard_size: int, workers: int) -> int:
    """Objects of a block: a shard, or less where shards are too few for all workers."""
    return SMALL_BLOCK if n_shards < 2 * workers else shard_size


def read_scores(group: zarr.Group, path: Path, rows: slice) -> np.ndarray:
    """Scores of a range; a damaged block is an error that names the remedy."""
    with damage_named(path / "scores", AGAIN):
        return np.asarray(open_array(group, "scores")[rows])


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a group, by name."""
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found


def block_file(path: Path, block: int) -> Path:
    """The file of one block."""
    return path / "scores" / "c" / str(block) / "0"


def block_checksum(path: Path, block: int) -> str:
    """sha256 of a block's file; "" where there is none."""
    file = block_file(path, block)
    return sha256_file(file) if file.exists() else ""
