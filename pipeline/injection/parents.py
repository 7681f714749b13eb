"""Which real cutouts may carry an injected source, and which real frame each was cut from.

Nothing here reads a pixel. Cutouts of one frame share its sky, its noise and its depth, so the
frame is the parent that decides every split: a parent whose cutouts were trained on never enters
a ranking of real lenses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from equilens.catalogs.crossmatch import match_nearest
from equilens.catalogs.errors import CatalogError
from equilens.catalogs.lenscat import RADIUS_ARCSEC, match_lenscat
from equilens.catalogs.reading import floats, read_columns
from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.quarantine import QuarantineRow, Rule
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.stores import CutoutStore

PARENT_COLUMNS = ("parent_id", "parent", "frame")
PARENTS_FILE = "parents.csv"
KNOWN_LENS = Rule("known-lens", "a known lens, or sky around one, can not stand for an empty field")
# apart from the salt of the split into training and validation: a share of the parents that are
# trained on is still left to validate by
_SALT = "held out of injection: "


@dataclass(frozen=True)
class ParentSplit:
    """Which parents are kept for what nobody trains on.

    Attributes
    ----------
    side : ``training`` or ``held-out``, whose parents are taken
    hold_out : share of all parents that is held out, chosen by a hash of their name alone
    hold_out_parents : names that are held out in any case
    """

    side: str = "training"
    hold_out: float = 0.0
    hold_out_parents: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.side not in ("training", "held-out"):
            raise SimulationError(f"parents come from training or held-out, got {self.side!r}")
        if not 0 <= self.hold_out <= 1:
            raise SimulationError(f"hold_out must lie in [0, 1], got {self.hold_out}")

    def is_held_out(self, parent: str) -> bool:
        """Whether a parent is held out; the same in every store and on every machine."""
        digest = hashlib.blake2b(f"{_SALT}{parent}".encode(), digest_size=8).digest()
        share = int.from_bytes(digest, "big") / 2**64
        return share < self.hold_out or parent in self.hold_out_parents

    def takes(self, parents: NDArray) -> NDArray[np.bool_]:
        """Which parents are on the chosen side, (N,)."""
        names = {name: self.is_held_out(name) for name in set(parents.tolist())}
        held_out = np.array([names[name] for name in parents], dtype=bool)
        return held_out if self.side == "held-out" else ~held_out


def parent_frames(store: CutoutStore) -> NDArray[np.object_]:
    """The frame that each object was cut from, by name, (N,); its own ID where none is known.

    A column of `PARENT_COLUMNS` says so; else the file, where several objects with a position share
    it: a tile. Cubes without positions hold cutouts of many places, and are no frames.
    """
    ids = store.facts("ids")
    for name in PARENT_COLUMNS:
        if name in store.column_names:
            named = store.facts(f"columns/{name}").astype(str).astype(object)
            return np.where(np.isin(named.astype(str), ("", "nan", "None")), ids, named)
    files, has_position = store.facts("source_file"), np.isfinite(store.facts("ra"))
    has_position &= (store.facts("flags") & np.uint32(CutoutFlag.NO_POSITION)) == 0
    _, code, count = np.unique(files.astype(str), return_inverse=True, return_counts=True)
    shared = has_position & (count[code] > 1) & (files != "")
    return np.where(shared, files, ids)


def known_lens_rows(
    store: CutoutStore, tables: Iterable[Path | str] = ()
) -> dict[int, QuarantineRow]:
    """Objects that are known lenses, or whose sky holds one, by row.

    Lenses are those that the store's own column ``is_lens`` does not call 0, those of `tables`
    (columns ``id``, or ``ra`` and ``dec``; where there is ``is_lens``, its ones only), and
    lenscat's. A lens counts within the cutout's half diagonal.
    """
    labels = _labels(store)
    lens_ids, lens_ra, lens_dec = _listed_lenses(tables)
    ids, ra, dec = (store.facts(name) for name in ("ids", "ra", "dec"))
    own = ~np.isin(labels, (0.0,)) & ~np.isnan(labels)
    reach = _half_diagonal_arcsec(store)
    lens_ra, lens_dec = np.append(lens_ra, ra[own]), np.append(lens_dec, dec[own])
    near = match_nearest(ra, dec, lens_ra, lens_dec, reach)
    wide = {kind: max(reach, radius) for kind, radius in RADIUS_ARCSEC.items()}
    listed = match_lenscat(ra, dec, wide["galaxy"], wide["group"], wide["cluster"])
    names = listed["lenscat_name"].to_pylist()
    why: dict[int, str] = {}
    for row, name in enumerate(ids):
        if own[row]:
            why[row] = f"is_lens is {labels[row]:g} in the store"
        elif name in lens_ids:
            why[row] = "its ID is in the table of lenses"
        elif near.matched[row]:
            why[row] = f"a lens {near.separation_arcsec[row]:.1f} arcsec from its centre"
        elif names[row] is not None:
            why[row] = f"lenscat knows {names[row]} there"
    files = store.facts("source_file")
    return {
        row: QuarantineRow.of(str(ids[row]), KNOWN_LENS.broken(text, files[row]))
        for row, text in why.items()
    }


def lens_checks(store: CutoutStore, tables: Iterable[Path | str] = ()) -> dict[str, object]:
    """What is known against backgrounds being lenses: labels, positions, tables of lenses."""
    return {
        "labelled": "is_lens" in store.column_names,
        "n_with_position": int(np.isfinite(store.facts("ra")).sum()),
        "tables": [Path(path).name for path in tables],
    }


def write_parents(
    path: Path, store: CutoutStore, rows: NDArray, counts: Mapping[str, NDArray]
) -> None:
    """Write the backgrounds used, one a line: frame, ID, position, file's checksum, uses."""
    facts = {
        "parent_id": parent_frames(store)[rows].astype(str),
        "background_id": store.facts("ids")[rows].astype(str),
        "ra": store.facts("ra")[rows],
        "dec": store.facts("dec")[rows],
        "source_checksum": store.facts("source_checksum")[rows].astype(str),
    }
    pyarrow.csv.write_csv(pa.table({**facts, **counts}), path)


def used_parents(injected: Path | str) -> pa.Table:
    """The backgrounds of an injected store, as `write_parents` left them.

    Raises
    ------
    SimulationError
        If the store was not made by injection.
    """
    path = CutoutStore(injected).path / PARENTS_FILE
    if not path.exists():
        raise SimulationError(f"{injected} has no {PARENTS_FILE}: it was not made by injection")
    text = pyarrow.csv.ConvertOptions(
        column_types={n: pa.string() for n in ("parent_id", "background_id", "source_checksum")}
        | {"ra": pa.float64(), "dec": pa.float64()}
    )
    return pyarrow.csv.read_csv(path, convert_options=text)


def shares_parents(store: CutoutStore, injected: Iterable[Path | str]) -> NDArray[np.bool_]:
    """Which objects of a store share a frame or sky with backgrounds of injected stores, (N,).

    By the frame's name, by ID, and by position: nearer than a cutout's diagonal, two cutouts can
    show the same pixels whatever they are called.
    """
    ids, ra, dec = (store.facts(name) for name in ("ids", "ra", "dec"))
    frames = parent_frames(store)
    shared = np.zeros(store.n_objects, dtype=bool)
    for path in injected:
        used = used_parents(path)
        names = {*used["parent_id"].to_pylist(), *used["background_id"].to_pylist()}
        shared |= np.isin(frames.astype(str), list(names)) | np.isin(ids.astype(str), list(names))
        there_ra, there_dec = (used[name].to_numpy() for name in ("ra", "dec"))
        diagonal = 2 * _half_diagonal_arcsec(store)
        shared |= match_nearest(ra, dec, there_ra, there_dec, diagonal).matched
    return shared


def refuse_shared_parents(store: CutoutStore, injected: Iterable[Path | str]) -> None:
    """Refuse to rank objects whose frames a finder was trained on.

    Raises
    ------
    SimulationError
        Naming how many, and one of them.
    """
    shared = np.flatnonzero(shares_parents(store, injected))
    if len(shared):
        raise SimulationError(
            f"{len(shared)} of {store.n_objects} objects of {store.path} lie in frames that the "
            f"finder was trained on, such as {store.facts('ids')[shared[0]]!r}: leave them out, or "
            "hold their parents out when injecting"
        )


def _labels(store: CutoutStore) -> NDArray[np.float64]:
    if "is_lens" not in store.column_names:
        return np.full(store.n_objects, np.nan)
    values = store.facts("columns/is_lens")
    return floats(values, f"{store.path}, column is_lens", CatalogError)


def _listed_lenses(tables: Iterable[Path | str]) -> tuple[set[str], NDArray, NDArray]:
    ids: set[str] = set()
    ra, dec = [np.empty(0)], [np.empty(0)]
    for path in tables:
        columns = {k.lower(): v for k, v in read_columns(Path(path), CatalogError).items()}
        if "id" not in columns and not {"ra", "dec"} <= columns.keys():
            raise SimulationError(f"{path} must have a column id, or ra and dec in ICRS degrees")
        n = len(next(iter(columns.values())))
        label = columns.get("is_lens", np.ones(n))
        chosen = floats(label, f"{path}, column is_lens", CatalogError) != 0
        if "id" in columns:
            ids |= {str(name) for name in columns["id"][chosen]}
        if {"ra", "dec"} <= columns.keys():
            ra.append(floats(columns["ra"][chosen], f"{path}, column ra", CatalogError))
            dec.append(floats(columns["dec"][chosen], f"{path}, column dec", CatalogError))
    return ids, np.concatenate(ra), np.concatenate(dec)


def _half_diagonal_arcsec(store: CutoutStore) -> float:
    scale = float(np.max(store.facts("pixel_scale_arcsec")))
    return 0.5 * scale * float(np.hypot(*store.shape))
