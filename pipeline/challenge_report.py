"""What a scored submission is told: figures, curves and its place, as tables and plots."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from equilens.catalogs.challenge_curves import MinimumCurve, challenge_curves, curve_rows
from equilens.catalogs.ranking import (
    METRICS,
    TYPES,
    RankedRow,
    place_among_published,
    ranking_caveat,
    ranking_table,
)
from equilens.catalogs.submission import JoinedScores, measure_joined
from equilens.catalogs.truth import Truth
from equilens.pipeline.provenance import write_atomic

CURVES, RANKING, RANKING_PLOT = "curves.csv", "ranking.csv", "ranking.png"


def challenge_report(
    truth: Truth,
    joined: JoinedScores,
    image_set: str | None,
    name: str,
    out: Path | str | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Figures with intervals, curves, and the place among the published entries.

    Parameters
    ----------
    image_set : ``space`` or ``ground`` of challenge 1.0; of others no ranking is known
    name : of the submission, in the ranking
    out : folder for ``curves.csv``, a ``curve-<quantity>.png`` for each quantity that the key
        gives and, where the published ranking applies, ``ranking.csv`` and ``ranking.png``
    options : of `equilens.catalogs.evaluation.evaluate_scores`
    """
    report = measure_joined(truth, joined, **options)
    curves = challenge_curves(truth, joined.scores, report["level"])
    ranking = ranking_table(image_set, report, name) if image_set in TYPES else ()
    report["curves"] = [curve.to_json() for curve in curves]
    if image_set in TYPES:
        places = place_among_published(image_set, report)
        report["ranking"] = {
            "image_set": image_set,
            "caveat": ranking_caveat(image_set, report["n_lenses"], report["n_nonlenses"]),
            "places": {metric: place.place for metric, place in places.items()},
            "n_published": len(ranking) - 1,
            "rows": [asdict(row) for row in ranking],
        }
    if out is not None:
        _write_files(Path(out), curves, ranking)
    return report


def _write_files(
    folder: Path, curves: Sequence[MinimumCurve], ranking: Sequence[RankedRow]
) -> None:
    # matplotlib costs half a second, and most commands draw nothing
    from equilens.pipeline.challenge_figures import curve_png, ranking_png

    _write_table(folder / CURVES, curve_rows(curves))
    for curve in curves:
        write_atomic(folder / curve_file(curve), curve_png(curve))
    if ranking:
        _write_table(folder / RANKING, map(_ranking_row, ranking))
        write_atomic(folder / RANKING_PLOT, ranking_png(ranking))


def curve_file(curve: MinimumCurve) -> str:
    """Name of a curve's plot."""
    return f"curve-{curve.quantity.name}.png"


def _ranking_row(row: RankedRow) -> dict[str, Any]:
    flat: dict[str, Any] = {"name": row.name, "method": row.method, "is_ours": int(row.is_ours)}
    for metric in METRICS:
        low, high = row.intervals.get(metric, (None, None))
        flat |= {metric: getattr(row, metric), f"{metric}_low": low, f"{metric}_high": high}
    return flat | {"n_objects": row.n_objects, "n_nonlenses": row.n_nonlenses}


def _write_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """CSV under the first row's names; numbers to the last bit, nothing for None."""
    text, listed = io.StringIO(newline=""), list(rows)
    if listed:
        writer = csv.DictWriter(text, list(listed[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)
    write_atomic(path, text.getvalue().encode())
