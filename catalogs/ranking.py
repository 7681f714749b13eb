"""The published ranking of the lens-finding challenge 1.0, and where a result falls in it.

Numbers: Metcalf et al. 2019, A&A 625, A119 (arXiv:1802.03609). The entries were ranked on the
challenge's own 100,000 test objects; a result on other objects is placed beside them, not among
them, and TPR0 falls as the number of non-lenses grows.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from operator import attrgetter
from typing import Any

from equilens.catalogs.errors import CatalogError

METRICS = ("auroc", "tpr0", "tpr10")
TYPES = {"space": "Space-Based", "ground": "Ground-Based"}
TEST_SET_SIZE = 100_000
TEST_SET_NONLENSES = {"space": 60_000, "ground": 50_000}
"""About: the published entries were ranked on this many non-lenses."""


@dataclass(frozen=True)
class PublishedEntry:
    """One official entry of the challenge."""

    entry: int
    team: str
    image_set: str
    auroc: float
    tpr0: float
    tpr10: float
    method: str
    author: str


@dataclass(frozen=True)
class Place:
    """Where a value falls among the published ones: 1 is best, ties share the better place."""

    metric: str
    value: float
    place: int
    n_published: int
    best: PublishedEntry


def published_ranking(image_set: str) -> tuple[PublishedEntry, ...]:
    """Entries of the ``space`` or ``ground`` set, by AUROC, best first."""
    if image_set not in TYPES:
        raise CatalogError(f"image set must be 'space' or 'ground', got {image_set!r}")
    text = files("equilens.catalogs").joinpath("data/published_ranking.csv").read_text("utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    entries = [
        PublishedEntry(
            int(row["entry"]),
            row["team"],
            image_set,
            float(row["AUROC"]),
            float(row["TPR0"]),
            float(row["TPR10"]),
            row["method"],
            row["author1"],
        )
        for row in rows
        if row["type"] == TYPES[image_set]
    ]
    return tuple(sorted(entries, key=lambda entry: -entry.auroc))


def place_among_published(image_set: str, result: Mapping[str, float | None]) -> dict[str, Place]:
    """Place each of auroc, tpr0 and tpr10 that ``result`` has among the published entries."""
    entries = published_ranking(image_set)
    places = {}
    for metric in METRICS:
        value = result.get(metric)
        if value is None or math.isnan(value):
            continue
        better = sum(getattr(entry, metric) > value for entry in entries)
        best = max(entries, key=attrgetter(metric))
        places[metric] = Place(metric, float(value), better + 1, len(entries), best)
    return places


@dataclass(frozen=True)
class RankedRow:
    """One line of the comparison: a published entry, or the result that is compared.

    Attributes
    ----------
    name, method : of the entry
    is_ours : whether this is the result, which was measured on its own objects
    auroc, tpr0, tpr10 : None where too few objects were scored
    intervals : by figure, (low, high); empty for published entries, which state none
    n_objects, n_nonlenses : that were scored; non-lenses of the published test sets are given to
        the nearest ten thousand
    """

    name: str
    method: str
    is_ours: bool
    auroc: float | None
    tpr0: float | None
    tpr10: float | None
    intervals: Mapping[str, tuple[float, float]]
    n_objects: int
    n_nonlenses: int


def ranking_table(
    image_set: str, report: Mapping[str, Any], name: str = "this submission"
) -> tuple[RankedRow, ...]:
    """The published entries and one result beside them, by AUROC, best first.

    Parameters
    ----------
    report : with auroc, tpr0, tpr10, intervals, n_lenses and n_nonlenses, as
        `equilens.catalogs.evaluation.evaluate_scores` gives it
    """
    known = {key: pair for key, pair in report["intervals"].items() if pair is not None}
    intervals = {key: (pair[0], pair[1]) for key, pair in known.items() if key in METRICS}
    figures = {metric: report[metric] for metric in METRICS}
    n_nonlenses = report["n_nonlenses"]
    n_objects = report["n_lenses"] + n_nonlenses
    ours = RankedRow(
        name,
        "this result",
        True,
        **figures,
        intervals=intervals,
        n_objects=n_objects,
        n_nonlenses=n_nonlenses,
    )
    rows = [_published_row(entry) for entry in published_ranking(image_set)]
    return tuple(sorted((ours, *rows), key=lambda row: -(row.auroc or 0.0)))


def _published_row(entry: PublishedEntry) -> RankedRow:
    return RankedRow(
        entry.team,
        entry.method,
        False,
        entry.auroc,
        entry.tpr0,
        entry.tpr10,
        {},
        TEST_SET_SIZE,
        TEST_SET_NONLENSES[entry.image_set],
    )


def ranking_caveat(image_set: str, n_lenses: int, n_nonlenses: int) -> str:
    """What must stand beside every comparison with the published figures."""
    theirs = TEST_SET_NONLENSES[image_set]
    ratio = n_nonlenses / theirs
    direction = "higher" if ratio < 0.9 else "lower" if ratio > 1.1 else "about the same"
    return (
        f"Published figures: the challenge's own {TEST_SET_SIZE:,} test objects (about "
        f"{theirs:,} non-lenses). This submission: {n_lenses:,} lenses and {n_nonlenses:,} "
        "non-lenses of the key that was given. TPR0 and TPR10 are cut at the highest and the "
        "tenth-highest score of a non-lens, so they depend on N: other things equal, they come "
        f"out {direction} here than among {theirs:,} non-lenses. A place counts only on the "
        "challenge's own test objects."
    )
