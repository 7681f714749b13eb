"""Where objects rank among non-lenses of another sample, such as simulated ones.

An object with score s stands at rank k + 1 among N non-lenses if k of them have a score of s or
more: a tie counts against the object. The share of *all* such non-lenses that reach s is k/N, with
Clopper and Pearson's interval; it says how far down a ranked survey one would have to look to meet
the object, as far as the survey's non-lenses are like those of the sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.candidates import rank_order
from equilens.catalogs.errors import ScoreError
from equilens.catalogs.intervals import DEFAULT_LEVEL, clopper_pearson

TOP_SHARE = 0.01
"""Share of the non-lenses that `n_within_top` counts by."""

UNKNOWN = -1

_COLUMNS = {
    "id": (pa.string(), "Identifier in the survey's files"),
    "is_lens": (pa.int8(), "1 for a lens, 0 for a field object, by the key"),
    "score": (pa.float64(), "Logit of the network, uncalibrated"),
    "rank_in_nonlenses": (pa.int64(), "1 + the number of non-lenses with this score or more"),
    "n_nonlenses": (pa.int64(), "Non-lenses in all"),
    "share": (pa.float64(), "Share of the non-lenses with this score or more"),
    "share_low": (pa.float64(), "Its Clopper-Pearson limit"),
    "share_high": (pa.float64(), "Its Clopper-Pearson limit"),
    "rank_in_field": (pa.int64(), "Rank among the real field objects"),
    "n_field": (pa.int64(), "Real field objects, this one left out"),
    "out_of_domain": (pa.string(), "Conditions that the network was not trained for"),
}
_FIELDS = tuple(
    pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in _COLUMNS.items()
)


@dataclass(frozen=True)
class SharesAbove:
    """How many of N non-lenses have an object's score or more, (n,) arrays.

    Attributes
    ----------
    count : non-lenses with score >= the object's
    share, low, high : of all such non-lenses, with the limits of its interval
    n_nonlenses : N
    """

    count: NDArray[np.int64]
    share: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_nonlenses: int


def shares_above(
    scores: ArrayLike, nonlenses: ArrayLike, level: float = DEFAULT_LEVEL
) -> SharesAbove:
    """Share of non-lenses at or above each score.

    Parameters
    ----------
    scores : (n,) of the objects; -inf means missed
    nonlenses : (N,) scores of the non-lenses
    level : confidence of the interval, which holds for each object by itself

    Raises
    ------
    ScoreError
        On NaN scores, or without non-lenses.
    """
    values, others = (np.asarray(x, dtype=np.float64).ravel() for x in (scores, nonlenses))
    if not len(others):
        raise ScoreError("ranks need at least one non-lens with a score to be among, got none")
    for name, given in (("scores", values), ("scores of non-lenses", others)):
        if np.isnan(given).any():
            raise ScoreError(
                f"{name} must not be NaN, got {int(np.isnan(given).sum())} of {len(given)}: leave "
                "objects without a score out, and state how many"
            )
    count = len(others) - np.searchsorted(np.sort(others), values, side="left")
    low, high = clopper_pearson(count, len(others), level)
    return SharesAbove(count.astype(np.int64), count / len(others), low, high, len(others))


def field_ranks(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray, NDArray]:
    """Rank of each object among the field objects of its own sample, and their number.

    A field object ranks among the others, not among itself; a tie counts against the object.

    Parameters
    ----------
    scores : (n,) without NaN
    labels : (n,) 1 for a lens, 0 for a field object, `UNKNOWN` for an object that has no label
    """
    values, marks = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    is_field = marks == 0
    field = np.sort(values[is_field])
    above = len(field) - np.searchsorted(field, values, side="left")
    return above - is_field + 1, len(field) - is_field.astype(np.int64)


def rank_table(
    ids: Sequence[str],
    scores: ArrayLike,
    nonlenses: ArrayLike,
    *,
    labels: ArrayLike | None = None,
    out_of_domain: Sequence[str] | None = None,
    level: float = DEFAULT_LEVEL,
) -> pa.Table:
    """One row an object, the highest score first; ties by ID.

    Parameters
    ----------
    ids, scores : (n,) of the objects
    nonlenses : (N,) scores
    labels : as for `field_ranks`; without them there is no field to rank in
    out_of_domain : (n,) conditions of each object that the network was not trained for, in words
    """
    values = np.asarray(scores, dtype=np.float64)
    found = shares_above(values, nonlenses, level)
    marks = np.full(len(values), UNKNOWN) if labels is None else np.asarray(labels)
    if len(marks) != len(values) or len(ids) != len(values):
        raise ScoreError(
            f"each object needs an ID, a score and a label, got {len(ids)}, {len(values)} and "
            f"{len(marks)}"
        )
    ranks, n_field = field_ranks(values, marks)
    columns = {
        "id": np.asarray(ids, dtype=object),
        "is_lens": marks,
        "score": values,
        "rank_in_nonlenses": found.count + 1,
        "n_nonlenses": np.full(len(values), found.n_nonlenses),
        "share": found.share,
        "share_low": found.low,
        "share_high": found.high,
        "rank_in_field": ranks,
        "n_field": n_field,
        "out_of_domain": np.asarray(out_of_domain or [""] * len(values), dtype=object),
    }
    hidden = {"is_lens": marks == UNKNOWN, "rank_in_field": n_field == 0}
    order = rank_order(ids, values)
    arrays = [
        pa.array(columns[field.name][order], field.type, mask=_picked(hidden, field.name, order))
        for field in _FIELDS
    ]
    return pa.table(arrays, schema=pa.schema(_FIELDS))


def _picked(hidden: dict[str, NDArray], name: str, order: NDArray) -> NDArray | None:
    return hidden[name][order] if name in hidden else None


def n_within_top(table: pa.Table, label: int, share: float = TOP_SHARE) -> tuple[int, int, int]:
    """Objects of a label, those ranked within a share of the non-lenses, and those surely so.

    Surely: the upper limit of the share lies within as well.
    """
    rows = [row for row in table.to_pylist() if row["is_lens"] == label]
    within = sum(row["share"] <= share for row in rows)
    return len(rows), within, sum(row["share_high"] <= share for row in rows)


def field_statement(n_field: int, level: float = DEFAULT_LEVEL) -> str:
    """What ranks among so few real field objects can show at the very best, in words."""
    if not n_field:
        return "no real field objects were named, so nothing is ranked among them"
    best = float(clopper_pearson(0, n_field, level)[1])
    text = (
        f"{n_field:,} real field objects: even one above them all could have {best:.2g} of such "
        f"objects above it ({level:.0%} limit)"
    )
    return text if best <= TOP_SHARE else f"{text}; so few measure nothing, ranks alone are told"
