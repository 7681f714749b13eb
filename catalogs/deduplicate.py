"""One row an object, where overlapping tiles saw it more than once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from equilens.catalogs.crossmatch import ARCSEC, separation_arcsec, unit_vectors
from equilens.catalogs.errors import PositionError


@dataclass(frozen=True)
class MergedObjects:
    """Which rows stay, and what became of the others.

    Attributes
    ----------
    keep : (N,) array of bool
    kept_row : (N,) array of int64, the row that stands for each row (itself where kept)
    separation_arcsec : (N,) array of float64, from the row that stands for it; 0 where kept
    """

    keep: NDArray[np.bool_]
    kept_row: NDArray[np.int64]
    separation_arcsec: NDArray[np.float64]

    @property
    def n_merged(self) -> int:
        return int((~self.keep).sum())

    def merged_rows(self) -> NDArray[np.int64]:
        """(M, 2) rows: the one merged away and the one that stands for it."""
        gone = np.flatnonzero(~self.keep)
        return np.stack([gone, self.kept_row[gone]], axis=-1)


def merge_by_position(
    ra: ArrayLike,
    dec: ArrayLike,
    radius_arcsec: float,
    priority: ArrayLike | None = None,
    tile: ArrayLike | None = None,
) -> MergedObjects:
    """Merge rows that lie within a radius of a better one.

    Rows are visited from the highest priority down; each that still stands takes in every row
    within the radius that stands as well. So a merged row is always within the radius of the row
    that replaces it: there are no chains, as friends of friends would make in a crowded field.

    Parameters
    ----------
    ra, dec : (N,) degrees; rows with an unknown position (NaN) always stay
    radius_arcsec : largest separation of two sightings of one object
    priority : (N,) larger is kept, for example the distance to the tile's edge; NaN is last, and
        equal priorities (or none given) keep the earlier row
    tile : (N,) labels; two rows of one tile are two objects, never merged. Of several in another
        tile only the nearest is taken.
    """
    if not radius_arcsec > 0:
        raise PositionError(f"a merging radius must be positive, got {radius_arcsec} arcsec")
    vectors = unit_vectors(ra, dec)
    n = len(vectors)
    order = _by_priority(priority, n)
    tiles = None if tile is None else np.unique(np.asarray(tile), return_inverse=True)[1]
    neighbours = _neighbours(vectors, radius_arcsec)
    kept_row, apart = np.arange(n), np.zeros(n)
    settled = np.zeros(n, dtype=bool)
    for row in order:
        if settled[row]:
            continue
        settled[row] = True
        for angle, other in _takes(row, neighbours.get(row, ()), settled, tiles):
            settled[other] = True
            kept_row[other], apart[other] = row, angle
    return MergedObjects(kept_row == np.arange(n), kept_row, apart)


def _by_priority(priority: ArrayLike | None, n: int) -> NDArray[np.int64]:
    if priority is None:
        return np.arange(n)
    values = np.asarray(priority, dtype=np.float64)
    if values.shape != (n,):
        raise PositionError(f"priority must have one value a row, got {values.shape} for {n} rows")
    return np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")


def _neighbours(vectors: np.ndarray, radius_arcsec: float) -> dict[int, list[tuple[float, int]]]:
    """Rows within the radius of each row that has any: (separation, row), nearest first."""
    known = np.flatnonzero(np.isfinite(vectors[:, 0]))
    if not len(known):
        return {}
    chord = 2 * np.sin(min(radius_arcsec * ARCSEC, np.pi) / 2) * (1 + 1e-9)
    pairs = known[KDTree(vectors[known]).query_pairs(chord, output_type="ndarray")]
    angles = separation_arcsec(vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    found: dict[int, list[tuple[float, int]]] = {}
    for (a, b), angle in zip(pairs.tolist(), angles.tolist(), strict=True):
        if angle <= radius_arcsec:
            found.setdefault(a, []).append((angle, b))
            found.setdefault(b, []).append((angle, a))
    return {row: sorted(others) for row, others in found.items()}


def _takes(row: int, others, settled: np.ndarray, tiles: np.ndarray | None):
    """Neighbours that the row takes in: all that stand, or the nearest of each other tile."""
    seen = set() if tiles is None else {int(tiles[row])}
    for angle, other in others:
        if settled[other] or (tiles is not None and int(tiles[other]) in seen):
            continue
        if tiles is not None:
            seen.add(int(tiles[other]))
        yield angle, other
