"""Write a ScoreStore: claim its path, begin it or go on with it, and finish it.

Whatever wrote into a path before is told apart by ``_identity.json``: scores of another network,
of other cutouts or settings are never mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from google_crc32c import value as crc32c
from zarr.codecs import Crc32cCodec, ZstdCodec

from equilens.pipeline.errors import ScoringError, StoreError
from equilens.pipeline.provenance import fingerprint, provenance, write_atomic, write_json_atomic
from equilens.pipeline.quarantine import QuarantineRow, read_quarantine, write_quarantine
from equilens.pipeline.removal import remove_store, sweep_partial, sweep_removed
from equilens.pipeline.scores import (
    AGAIN,
    FACTS,
    IDENTITY,
    KIND,
    MERGED,
    block_checksum,
    block_file,
    open_array,
    read_scores,
)
from equilens.pipeline.stores import MANIFEST, CutoutStore, facts_checksum
from equilens.pipeline.zarr_faults import damage_named, read_json

if TYPE_CHECKING:
    from equilens.pipeline.guard import GuardReport
    from equilens.pipeline.networks import NetworkRef

QUARANTINE = "quarantine.csv"
BATCH_TIMING = "batch_timing"
CRC_BYTES = 4
_BLOCKS_AT_ONCE = 32

# per-object values of a range of rows, by name
Facts = Callable[[slice], dict[str, np.ndarray]]


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
        begun = read_json(path / "zarr.json", AGAIN).get("attributes", {})
        if (path / MANIFEST).exists() or begun.get("kind") != KIND:
            raise StoreError(f"{path} is a store of another kind: choose another --out")
        remove_store(path)  # begun, and stopped before anything was scored
        return
    differing = differences(begun_identity(path), identity)
    if differing and not replace:
        raise ScoringError(
            f"{path} holds scores of another run ({'; '.join(differing)}): "
            "add --replace, or choose another --out"
        )
    if differing:
        remove_store(path)


def begun_identity(path: Path) -> dict[str, Any]:
    """What scores at `path` depend on, finished or not; {} where that cannot be read."""
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


def open_scores(
    path: Path,
    identity: dict[str, Any],
    n_objects: int,
    facts: Facts,
    block_rows: int,
    members: int = 1,
    batch_timing: dict[str, Any] | None = None,
) -> zarr.Group:
    """A group to write scores into: the one begun with this identity, or a new one.

    Parameters
    ----------
    facts : ``ids``, ``flags`` and ``outside`` of a range of rows
    block_rows : of a new one; one begun before keeps its own
    members : of the network; more than 1 for a committee
    batch_timing : how the batch size was found, kept for the manifest
    """
    if (path / IDENTITY).exists() and (path / "zarr.json").exists():
        return zarr.open_group(path, mode="r+")
    attributes: dict[str, Any] = {"kind": KIND}
    if batch_timing is not None:
        attributes[BATCH_TIMING] = batch_timing
    group = zarr.open_group(path, mode="w", zarr_format=3, attributes=attributes)
    group.create_array(
        "scores",
        shape=(n_objects, members),
        dtype="f8",
        chunks=(block_rows, members),
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        fill_value=np.nan,
        dimension_names=["object", "member"],
        attributes={"unit": "", "quantity": "uncalibrated logit"},
        config={"write_empty_chunks": True},
    )
    for name, dtype in FACTS.items():
        group.create_array(
            name,
            shape=(n_objects,),
            dtype=dtype,
            chunks=(block_rows,),
            dimension_names=["object"],
        )
    for rows in _steps(n_objects, block_rows):
        for name, values in facts(rows).items():
            open_array(group, name)[rows] = values
    # after the arrays: a group without its identity is begun anew
    write_json_atomic(path / IDENTITY, identity)
    return group


def _restore_facts(group: zarr.Group, n_objects: int, facts: Facts) -> None:
    """Write the per-object arrays again where they are not what they should be."""
    for rows in _steps(n_objects, open_array(group, "scores").chunks[0]):
        for name, expected in facts(rows).items():
            array = open_array(group, name)
            try:
                with damage_named(Path(name), AGAIN):
                    sound = np.array_equal(np.asarray(array[rows]).astype(expected.dtype), expected)
            except StoreError:
                sound = False
            if not sound:
                array[rows] = expected


def _steps(n_objects: int, block_rows: int) -> Iterator[slice]:
    """Rows of some blocks at a time: IDs of all objects need not fit into memory."""
    size = _BLOCKS_AT_ONCE * block_rows
    return (slice(start, min(start + size, n_objects)) for start in range(0, n_objects, size))


def block_is_sound(path: Path, block: int) -> bool:
    """True where a block was written and still matches its CRC, the last bytes of its file."""
    try:
        data = block_file(path, block).read_bytes()
    except FileNotFoundError:
        return False
    known = data[-CRC_BYTES:]
    checksum = crc32c(data[:-CRC_BYTES])
    return len(data) > CRC_BYTES and checksum.to_bytes(CRC_BYTES, "little") == known


def finish_scores(
    path: Path,
    store: CutoutStore,
    network: NetworkRef,
    report: GuardReport,
    identity: dict[str, Any],
    facts: Facts,
) -> None:
    """Quarantine what has no score, and write the manifest: the scores are complete."""
    sweep_partial(path)
    group = zarr.open_group(path, mode="r+")
    _restore_facts(group, store.n_objects, facts)
    array, lost, blocks = open_array(group, "scores"), [], []
    ids, size = open_array(group, "ids"), array.chunks[0]
    for block, start in enumerate(range(0, store.n_objects, size)):
        # a lost file would read as objects without a score
        if not block_is_sound(path, block):
            raise ScoringError(f"{path}: block {block} was lost or damaged since: {AGAIN}")
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
        "facts_files": {name: facts_checksum(path, name) for name in FACTS},
        "network": network.summary(),
        "trained_on": trained_on(network.card),
        "guard": report.to_dict(),
        BATCH_TIMING: group.attrs.get(BATCH_TIMING),
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
