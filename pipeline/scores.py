"""ScoreStore: the logits of one network, or of a committee's members, for one CutoutStore.

A Zarr v3 group with ``scores`` (object, member), float64, and what a reader needs of each object.
Workers write ``scores`` in blocks of rows: one block is one chunk and so one file, which appears
whole or not at all and carries a CRC-32C. ``_identity.json`` is written first and says what the
scores depend on; ``_manifest.json`` is written last, with a checksum for each block.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from equilens.pipeline.errors import ScoringError, StoreError
from equilens.pipeline.provenance import (
    fingerprint,
    provenance,
    sha256_file,
    write_atomic,
    write_json_atomic,
)
from equilens.pipeline.quarantine import QuarantineRow, read_quarantine, write_quarantine
from equilens.pipeline.removal import remove_store, sweep_partial, sweep_removed
from equilens.pipeline.stores import (
    MANIFEST,
    CutoutStore,
    check_facts,
    facts_checksum,
    read_manifest,
)
from equilens.pipeline.zarr_faults import bounded_array, damage_named, read_json

if TYPE_CHECKING:
    # reading scores takes no torch
    from equilens.pipeline.guard import GuardReport
    from equilens.pipeline.networks import NetworkRef

IDENTITY = "_identity.json"
KIND = "scores"
QUARANTINE = "quarantine.csv"
MERGED = "merged.csv"

AGAIN = "run the same score command again, it redoes what is damaged"
_FACTS = {"ids": "string", "flags": "u4", "outside": "u8"}


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
        return all(facts_checksum(self.path, name) == known.get(name) for name in _FACTS)

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


def read_scores(group: zarr.Group, path: Path, rows: slice) -> np.ndarray:
    """Scores of a range; a damaged block is an error that names the remedy."""
    with damage_named(path / "scores", AGAIN):
        return np.asarray(open_array(group, "scores")[rows])


def open_scores(
    path: Path,
    identity: dict[str, Any],
    facts: dict[str, np.ndarray],
    block_rows: int,
    members: int = 1,
) -> zarr.Group:
    """A group to write scores into: the one begun with this identity, or a new one.

    Parameters
    ----------
    facts : ``ids``, ``flags`` and ``outside`` of every object
    block_rows : of a new one; one begun before keeps its own
    members : of the network; more than 1 for a committee
    """
    if (path / IDENTITY).exists() and (path / "zarr.json").exists():
        group = zarr.open_group(path, mode="r+")
        _restore_facts(group, facts)
        return group
    group = zarr.open_group(path, mode="w", zarr_format=3, attributes={"kind": KIND})
    n = len(facts["ids"])
    group.create_array(
        "scores",
        shape=(n, members),
        dtype="f8",
        chunks=(block_rows, members),
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        fill_value=np.nan,
        dimension_names=["object", "member"],
        attributes={"unit": "", "quantity": "uncalibrated logit"},
        config={"write_empty_chunks": True},
    )
    for name, dtype in _FACTS.items():
        array = group.create_array(
            name, shape=(n,), dtype=dtype, chunks=(block_rows,), dimension_names=["object"]
        )
        array[:] = facts[name]
    # after the arrays: a group without its identity is begun anew
    write_json_atomic(path / IDENTITY, identity)
    return group


def _restore_facts(group: zarr.Group, facts: dict[str, np.ndarray]) -> None:
    """Write the per-object arrays again where they are not what they should be."""
    for name, expected in facts.items():
        array = open_array(group, name)
        try:
            with damage_named(Path(name), AGAIN):
                sound = np.array_equal(np.asarray(array[:]).astype(expected.dtype), expected)
        except StoreError:
            sound = False
        if not sound:
            array[:] = expected


def finish_scores(
    path: Path,
    store: CutoutStore,
    network: NetworkRef,
    report: GuardReport,
    identity: dict[str, Any],
) -> None:
    """Quarantine what has no score, and write the manifest: the scores are complete."""
    sweep_partial(path)
    group = zarr.open_group(path, mode="r")
    array, lost, blocks = open_array(group, "scores"), [], []
    ids, size = open_array(group, "ids"), array.chunks[0]
    for block, start in enumerate(range(0, store.n_objects, size)):
        rows = slice(start, min(start + size, store.n_objects))
        missing = ~np.isfinite(read_scores(group, path, rows)).all(axis=1)
        if missing.any():
            lost += [_not_finite(str(name), network) for name in np.asarray(ids[rows])[missing]]
        checksum = block_checksum(path, block)
        blocks.append({"start": start, "rows": rows.stop - start, "sha256": checksum})
    before = rejected_before(store)
    write_quarantine(path / QUARANTINE, [*before, *lost])
    if (store.path / MERGED).exists():
        write_atomic(path / MERGED, (store.path / MERGED).read_bytes())
    content = {
        "kind": KIND,
        "format": 1,
        "identity": identity,
        "n_objects": store.n_objects,
        "block_rows": size,
        "blocks": blocks,
    }
    about = {
        "fingerprint": fingerprint(content),
        "configuration_sha256": fingerprint(identity),
        "cutouts": str(store.path.resolve()),
        "survey": store.survey_name,
        "facts_files": {name: facts_checksum(path, name) for name in _FACTS},
        "network": network.summary(),
        "trained_on": trained_on(network.card),
        "guard": report.to_dict(),
        "n_quarantined": len(lost),
        "n_rejected_before": len(before),
        "provenance": provenance(),
    }
    write_json_atomic(path / MANIFEST, {**content, **about})


def trained_on(card: Mapping[str, Any]) -> list[str]:
    """Fingerprints of the stores that a network was trained on, by its card; [] if it is silent.

    Fine-tuned weights have seen what their base has seen.
    """
    stated = [card.get("data"), card.get("inherited", {}).get("data")]
    return [str(entry) for part in stated if isinstance(part, list) for entry in part]


def rejected_before(store: CutoutStore) -> list[QuarantineRow]:
    """Objects that ingest rejected: without a cutout they have no score either."""
    file = store.path / QUARANTINE
    return read_quarantine(file) if file.exists() else []


def _not_finite(object_id: str, network: NetworkRef) -> QuarantineRow:
    return QuarantineRow(
        object_id,
        "",
        "score-not-finite",
        f"network {network.name} gave no finite score",
        "look at its pixels and noise (equilens show); report it if both are sound",
    )


def open_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """An array of a group, by name."""
    found = group[name]
    assert isinstance(found, zarr.Array)
    return found


def claim_path(path: Path, identity: dict[str, Any], replace: bool) -> None:
    """Make sure that `path` is free, or holds scores of this identity.

    Raises
    ------
    ScoringError
        Other scores are there and `replace` is not set; the message says what differs.
    StoreError
        Something that is not a store is there.
    """
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} is a file: choose another --out")
    sweep_removed(path)
    if not (path / MANIFEST).exists():
        sweep_partial(path)
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / "zarr.json").exists():
        raise StoreError(f"{path} holds something that is not a store: choose another --out")
    if not (path / IDENTITY).exists():
        if (path / MANIFEST).exists():
            raise StoreError(f"{path} is a store of another kind: choose another --out")
        remove_store(path)  # begun, and stopped before anything was scored
        return
    differing = differences(_found_identity(path), identity)
    if differing and not replace:
        raise ScoringError(
            f"{path} holds scores of another run ({'; '.join(differing)}): "
            "add --replace, or choose another --out"
        )
    if differing:
        remove_store(path)


def _found_identity(path: Path) -> dict[str, Any]:
    try:
        return read_json(path / IDENTITY, AGAIN)
    except StoreError:
        return {}  # differs in everything from what is asked


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """What tells two identities apart, in words."""
    wanted = json.loads(json.dumps(wanted))
    texts = []
    for key in wanted:
        there, asked = found.get(key), wanted[key]
        if there != asked:
            texts.append(f"{key}: {_brief(there)} there, {_brief(asked)} asked")
    return texts


def _brief(value: Any) -> str:
    text = str(value)
    is_hash = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:12] if is_hash else text


def block_file(path: Path, block: int) -> Path:
    """The file of one block."""
    return path / "scores" / "c" / str(block) / "0"


def block_checksum(path: Path, block: int) -> str:
    """sha256 of a block's file; "" where there is none."""
    file = block_file(path, block)
    return sha256_file(file) if file.exists() else ""


def block_is_sound(group: zarr.Group, path: Path, block: int, block_rows: int) -> bool:
    """True where a block was written and still matches its CRC."""
    if not block_file(path, block).exists():
        return False
    try:
        read_scores(group, path, slice(block * block_rows, (block + 1) * block_rows))
    except StoreError:
        return False
    return True
