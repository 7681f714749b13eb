"""The same object night after night: found again by ID or position, updated, never doubled.

The cumulative table has one row an object, under a name that it keeps from its first night. It is
a fold over the accepted nights in the order of their dates, so it does not depend on the order in
which nights were run, nor on how often.

Positions are matched to where an object was first seen, so that no chain of sightings wanders off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray
from scipy.spatial import KDTree

from equilens.catalogs.crossmatch import ARCSEC, separation_arcsec, unit_vectors
from equilens.catalogs.export import nulls_for_nan
from equilens.catalogs.naming import candidate_names
from equilens.catalogs.schema import with_schema

SIGHTING_COLUMNS = ("name", "id", "ra", "dec", "score", "probability", "flags")
_LATEST = ("id", "survey", "probability", "probability_prior", "flags", "out_of_domain",
           "lenscat_name", "lenscat_separation_arcsec", "lenscat_grading", "lenscat_type",
           "model_sha256")  # fmt: skip
# a name is given once: a second object within its cell has a letter behind it
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Matching:
    """Rules by which two sightings are one object."""

    radius_arcsec: float
    by_id: bool
    unit: str


@dataclass(frozen=True)
class Folded:
    """A night joined to the history.

    Attributes
    ----------
    catalogue : the night's objects, under lasting names, with ``first_night`` and ``n_nights``
    cumulative : one row an object, of all nights up to this one
    n_updated, n_new : objects of the night seen before, or for the first time
    n_id_conflicts : objects whose ID an earlier night has given to another place on the sky
    """

    catalogue: pa.Table
    cumulative: pa.Table
    n_updated: int
    n_new: int
    n_id_conflicts: int


def fold_night(before: pa.Table | None, objects: pa.Table, night: date, rules: Matching) -> Folded:
    """Join a night to what is known of the nights before it.

    Parameters
    ----------
    before : cumulative table, None for the first night
    objects : of the night, by rank
    """
    earlier = _empty() if before is None else before
    home, n_conflicts = match_objects(earlier, objects, rules)
    names = _names(earlier, objects, home)
    cumulative = _updated(earlier, objects, home, names, night, rules)
    first, nights = (
        dict(zip(cumulative["name"].to_pylist(), cumulative[column].to_pylist(), strict=True))
        for column in ("first_night", "n_nights")
    )
    catalogue = objects.set_column(
        objects.column_names.index("name"), "name", pa.array(names, pa.string())
    )
    catalogue = catalogue.append_column("first_night", pa.array([first[name] for name in names]))
    catalogue = catalogue.append_column(
        "n_nights", pa.array([nights[name] for name in names], pa.int64())
    )
    n_updated = int((home >= 0).sum())
    return Folded(with_schema(catalogue), cumulative, n_updated, len(home) - n_updated, n_conflicts)


def sightings(catalogue: pa.Table) -> pa.Table:
    """The night's part of the history: who was seen, and how they scored.

    The night itself is in the name of the folder, as readers of partitioned tables expect it.
    """
    return catalogue.select([name for name in SIGHTING_COLUMNS if name in catalogue.column_names])


def match_objects(
    earlier: pa.Table, objects: pa.Table, rules: Matching
) -> tuple[NDArray[np.int64], int]:
    """Row of the earlier object that each object is, -1 for a new one; and conflicts of IDs.

    An ID decides, unless both positions are known and further apart than the radius. Then, of all
    pairs within the radius that are left, the closest is joined first; an object has one partner.
    """
    home = np.full(objects.num_rows, -1, dtype=np.int64)
    old, new = (unit_vectors(_floats(t, "ra"), _floats(t, "dec")) for t in (earlier, objects))
    n_conflicts = 0
    if rules.by_id:
        row_of = {name: row for row, name in enumerate(earlier["id"].to_pylist())}
        for k, name in enumerate(objects["id"].to_pylist()):
            row = row_of.get(name, -1)
            if row < 0:
                continue
            apart = separation_arcsec(old[row], new[k])
            if np.isnan(apart) or apart <= rules.radius_arcsec:
                home[k] = row
            else:
                n_conflicts += 1
    _match_positions(home, old, new, rules.radius_arcsec)
    return home, n_conflicts


def _match_positions(home: NDArray, old: NDArray, new: NDArray, radius_arcsec: float) -> None:
    """Fill `home` for what has no partner yet, closest pairs first."""
    taken = np.zeros(len(old), dtype=bool)
    taken[home[home >= 0]] = True
    theirs = np.flatnonzero(~taken & np.isfinite(old[:, 0]))
    ours = np.flatnonzero((home < 0) & np.isfinite(new[:, 0]))
    if not len(theirs) or not len(ours):
        return
    chord = 2 * np.sin(radius_arcsec * ARCSEC / 2) * (1 + 1e-9)
    near = KDTree(old[theirs]).query_ball_point(new[ours], chord)
    pairs = [(ours[k], theirs[j]) for k, found in enumerate(near) for j in found]
    if not pairs:
        return
    k, j = np.array(pairs).T
    apart = separation_arcsec(new[k], old[j])
    for pair in np.lexsort((j, k, apart)):
        if apart[pair] <= radius_arcsec and home[k[pair]] < 0 and not taken[j[pair]]:
            home[k[pair]], taken[j[pair]] = j[pair], True


def _names(earlier: pa.Table, objects: pa.Table, home: NDArray) -> list[str]:
    """Lasting names: the earlier one, or that of the position where an object is first seen."""
    known = earlier["name"].to_pylist()
    given = set(known)
    survey = objects["survey"][0].as_py() if objects.num_rows else ""
    fresh = candidate_names(
        _floats(objects, "ra"), _floats(objects, "dec"), objects["id"].to_pylist(), survey
    )
    names = [known[row] if row >= 0 else "" for row in home]
    ids = objects["id"].to_pylist()
    for k in sorted(np.flatnonzero(home < 0).tolist(), key=ids.__getitem__):
        names[k] = _free(fresh[k], given)
        given.add(names[k])
    return names


def _free(name: str, given: set[str]) -> str:
    if name not in given:
        return name
    letters = (name + letter for letter in _LETTERS)
    numbers = (f"{name}-{k}" for k in count(1))
    return next(n for part in (letters, numbers) for n in part if n not in given)


def _updated(
    earlier: pa.Table,
    objects: pa.Table,
    home: NDArray,
    names: Sequence[str],
    night: date,
    rules: Matching,
) -> pa.Table:
    """The cumulative table with this night in it."""
    n_old, fresh = earlier.num_rows, np.flatnonzero(home < 0)
    place = home.copy()
    place[fresh] = n_old + np.arange(len(fresh))
    source = np.full(n_old + len(fresh), -1, dtype=np.int64)
    source[place] = np.arange(len(place))
    seen = source >= 0
    taken = objects.take(pa.array(source, mask=~seen))
    old = pa.concat_tables(
        [earlier, _blank(earlier.schema, len(fresh))], promote_options="permissive"
    )
    both = dict.fromkeys(_LATEST, (old, taken))
    columns: dict[str, pa.Array] = {
        name: _pick(seen, new, before, name) for name, (before, new) in both.items()
    }
    is_new = np.arange(len(source)) >= n_old
    for name in ("ra", "dec"):
        columns[name] = _pick(is_new, taken, old, name)
    lasting = np.array(old["name"].to_pylist(), dtype=object)
    lasting[place] = list(names)
    columns["name"] = pa.array(lasting, pa.string())
    today = np.full(len(source), night.isoformat(), dtype=object)
    columns["first_night"] = _text(np.where(is_new, today, _object(old, "first_night")))
    columns["last_night"] = _text(np.where(seen, today, _object(old, "last_night")))
    columns["n_nights"] = pa.array((_floats(old, "n_nights", 0) + seen).astype(np.int64))
    columns |= _score_columns(old, taken, seen, rules.unit)
    return _by_score(pa.table(columns), objects)


def _score_columns(old: pa.Table, taken: pa.Table, seen: NDArray, unit: str) -> dict[str, pa.Array]:
    """Scores of all nights of the same network; another network's start them anew."""
    same = _object(old, "model_sha256") == _object(taken, "model_sha256")
    score = _floats(taken, "score")
    n, mean, squares = (_floats(old, name, 0) for name in ("n_scores", "mean_score", "_squares"))
    best = _floats(old, "best_score", -np.inf)
    restart = seen & ~same
    n, mean, squares = (np.where(restart, 0.0, values) for values in (n, mean, squares))
    best = np.where(restart, -np.inf, best)
    # Welford 1962: mean and sum of squares, one score at a time
    n_now = n + seen
    step = np.where(seen, score - mean, 0.0)
    mean = mean + step / np.maximum(n_now, 1)
    squares = squares + np.where(seen, step * (score - mean), 0.0)
    best = np.where(seen, np.fmax(best, score), best)
    last = np.where(seen, score, _floats(old, "last_score"))
    with np.errstate(invalid="ignore", divide="ignore"):
        scatter = np.where(n_now > 1, np.sqrt(squares / (n_now - 1)), np.nan)
    # overlapping coadds share pixels: the latest, and deepest, stands for all
    independent = n_now if unit == "visit" else np.minimum(n_now, 1)
    return {
        "score": pa.array(mean if unit == "visit" else last),
        "last_score": pa.array(last),
        "best_score": pa.array(best),
        "mean_score": pa.array(mean),
        "score_scatter": pa.array(scatter, from_pandas=True),
        "n_scores": pa.array(n_now.astype(np.int64)),
        "n_independent_scores": pa.array(independent.astype(np.int64)),
        "_squares": pa.array(squares),
    }


def _by_score(table: pa.Table, objects: pa.Table) -> pa.Table:
    """Ranked; what only another network has scored comes after everything else."""
    current = objects["model_sha256"][0].as_py() if objects.num_rows else ""
    other = _object(table, "model_sha256") != current
    names = _object(table, "name").astype(str)
    order = np.lexsort((names, -_floats(table, "score"), other))
    table = table.take(pa.array(order))
    rank = pa.array(np.arange(1, table.num_rows + 1))
    table = table.add_column(0, "rank", rank).select(["rank", *_ORDER])
    return nulls_for_nan(with_schema(table)).combine_chunks()


_ORDER = ("name", "id", "ra", "dec", "score", "last_score", "best_score", "mean_score",
          "score_scatter", "n_scores", "n_independent_scores", "n_nights", "first_night",
          "last_night", *_LATEST[1:], "_squares")  # fmt: skip
_WHOLE = ("rank", "n_scores", "n_independent_scores", "n_nights")
_REAL = ("ra", "dec", "score", "last_score", "best_score", "mean_score", "score_scatter",
         "probability", "probability_prior", "lenscat_separation_arcsec", "_squares")  # fmt: skip


def _empty() -> pa.Table:
    types = dict.fromkeys(("rank", *_ORDER), pa.string())
    types |= dict.fromkeys(_WHOLE, pa.int64()) | dict.fromkeys(_REAL, pa.float64())
    return pa.schema(list(types.items())).empty_table()


def _blank(schema: pa.Schema, n: int) -> pa.Table:
    return pa.table([pa.nulls(n, entry.type) for entry in schema], schema=schema)


def _pick(where: NDArray, new: pa.Table, old: pa.Table, name: str) -> pa.Array:
    """Values of `new` where `where` holds, of `old` elsewhere; a column may be in one alone."""
    n = len(where)
    kinds = [t.schema.field(name).type for t in (old, new) if name in t.column_names]
    kind = next(k for k in kinds if not pa.types.is_null(k)) if kinds else pa.string()
    parts = [
        (t[name].combine_chunks().cast(kind) if name in t.column_names else pa.nulls(n, kind))
        for t in (new, old)
    ]
    return pa.compute.if_else(pa.array(where), *parts)


def _object(table: pa.Table, name: str) -> NDArray[np.object_]:
    return np.array(table[name].to_pylist(), dtype=object)


def _text(values: NDArray) -> pa.Array:
    return pa.array(values.tolist(), pa.string())


def _floats(table: pa.Table, name: str, fill: float = np.nan) -> NDArray[np.float64]:
    """A column as float64, `fill` where it is null."""
    values = np.array(table[name].to_numpy(zero_copy_only=False), dtype=np.float64)
    return np.where(np.isnan(values), fill, values)
