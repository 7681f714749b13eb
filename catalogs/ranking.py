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

from equilens.catalogs.errors import CatalogError

METRICS = ("auroc", "tpr0", "tpr10")
TYPES = {"space": "Space-Based", "ground": "Ground-Based"}


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
