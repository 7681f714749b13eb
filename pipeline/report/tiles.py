"""Tiles of the report's mosaics: a picture, and what is known of the object."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from equilens.pipeline.errors import StoreError
from equilens.pipeline.report.content import EvaluatedSample, Sample
from equilens.pipeline.report.mosaics import png_uri, store_picture
from equilens.pipeline.stores import CutoutStore

SCALE_BARS_ARCSEC = (1.0, 2.0, 5.0, 10.0, 30.0)
SHORTEST_BAR = 0.08


@dataclass(frozen=True)
class Tile:
    """One object of a mosaic.

    Attributes
    ----------
    picture : address of the PNG
    heading : beside the rank: name or ID
    lines : facts, one a line
    badges : (kind, text) pairs; the kind is a class of the style sheet
    bar_arcsec, bar_percent : length of the scale bar, and its share of the width
    bands : shown, from blue to red
    """

    picture: str
    heading: str
    lines: tuple[str, ...]
    badges: tuple[tuple[str, str], ...]
    bar_arcsec: float
    bar_percent: float
    bands: tuple[str, ...]


def make_tile(
    store: CutoutStore,
    object_id: str,
    heading: str,
    lines: Sequence[str],
    badges: Sequence[tuple[str, str]] = (),
) -> Tile:
    """The tile of one object of a store."""
    row = store.find(object_id)
    rgb, bands = store_picture(store, row)
    scale = float(store.facts("pixel_scale_arcsec", slice(row, row + 1))[0])
    width_arcsec = scale * store.shape[1]
    bar = next((b for b in SCALE_BARS_ARCSEC if b >= SHORTEST_BAR * width_arcsec), 60.0)
    return Tile(
        png_uri(rgb), heading, tuple(lines), tuple(badges), bar, 100 * bar / width_arcsec, bands
    )


def candidate_tiles(
    candidates: pa.Table, samples: Sequence[Sample], labels: Mapping[str, int], n: int
) -> list[Tile]:
    """The first n rows of the catalogue."""
    tiles, common = [], shared_flags(candidates)
    for row in candidates.slice(0, n).to_pylist():
        store = _store_of(row["id"], row["survey"], samples)
        lines = [f"score {row['score']:.2f}"]
        if row.get("ra") is not None:
            lines.append(f"{row['ra']:.5f} {row['dec']:+.5f}")
        heading = f"{row['rank']}. {row['name'].removeprefix('EQL ')}"
        tiles.append(make_tile(store, row["id"], heading, lines, _badges(row, labels, common)))
    return tiles


def shared_flags(candidates: pa.Table) -> list[str]:
    """Flags that every candidate has: they tell nothing of a single one."""
    rows = [set((text or "").split(",")) for text in candidates["flags"].to_pylist()]
    return sorted(set.intersection(*rows) - {""}) if rows else []


def _badges(
    row: Mapping[str, Any], labels: Mapping[str, int], common: Sequence[str]
) -> list[tuple[str, str]]:
    badges = []
    if row["id"] in labels:
        is_lens = bool(labels[row["id"]])
        badges.append(("lens" if is_lens else "plain", "known lens" if is_lens else "field"))
    if row.get("lenscat_name"):
        grade = row.get("lenscat_grading") or ""
        apart = row.get("lenscat_separation_arcsec")
        badges.append(("match", f'lenscat {grade}, {apart:.1f}"'))
    flags = [flag for flag in (row.get("flags") or "").split(",") if flag and flag not in common]
    return badges + [("flag", flag.replace("_", " ")) for flag in flags]


def _store_of(object_id: str, survey: str, samples: Sequence[Sample]) -> CutoutStore:
    for sample in samples:
        if sample.store.survey_name == survey and not sample.simulated:
            try:
                sample.store.find(object_id)
            except StoreError:
                continue
            return sample.store
    raise StoreError(f"object {object_id!r} of {survey!r} is in the catalogue and in no store")


def mistake_tiles(sample: EvaluatedSample, lenses: bool, n: int) -> list[Tile]:
    """The lowest-scored lenses, or the highest-scored others.

    Lenses without a score are no network's mistake and are left out.
    """
    chosen = np.flatnonzero((sample.truth.is_lens == int(lenses)) & np.isfinite(sample.scores))
    order = np.argsort(sample.scores[chosen] if lenses else -sample.scores[chosen], kind="stable")
    tiles = []
    for row in chosen[order[:n]]:
        object_id = str(sample.truth.ids[row])
        facts = {name: values[row] for name, values in sample.truth.columns.items()}
        lines = [f"score {sample.scores[row]:.2f}", *_truth_lines(facts, lenses)]
        tiles.append(make_tile(sample.store, object_id, object_id, lines))
    return tiles


def _truth_lines(facts: Mapping[str, Any], lens: bool) -> list[str]:
    if not lens:
        return [str(facts["object_class"]).replace("_", " ")] if "object_class" in facts else []
    known = {name: _number(facts.get(name)) for name in ("einstein_radius_arcsec", "arc_snr")}
    lines = []
    if math.isfinite(known["einstein_radius_arcsec"]):
        lines.append(f'θ_E {known["einstein_radius_arcsec"]:.2f}"')
    if math.isfinite(known["arc_snr"]):
        lines.append(f"arc S/N {known['arc_snr']:.0f}")
    return lines


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float, np.number)) else math.nan
