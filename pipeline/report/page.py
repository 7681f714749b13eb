"""Put a report's content into its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from jinja2 import Environment, PackageLoader, StrictUndefined

from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.quarantine import count_by_rule
from equilens.pipeline.report.calibration_section import calibration_section
from equilens.pipeline.report.content import EvaluatedSample, ReportContent, Sample
from equilens.pipeline.report.mass_section import mass_section
from equilens.pipeline.report.plots import (
    completeness_figure,
    roc_figure,
    score_figure,
    sky_figure,
)
from equilens.pipeline.report.selection_section import selection_section
from equilens.pipeline.report.theme import FigurePair
from equilens.pipeline.report.tiles import (
    Tile,
    candidate_tiles,
    make_tile,
    mistake_tiles,
    shared_flags,
)

MOST_CANDIDATES = 24
MOST_MISTAKES = 12
MOST_UNSCORED = 6
MOST_QUARANTINE_ROWS = 200

_FIGURE_NAMES = {
    "auroc": ("AUROC", "area under the ROC curve"),
    "tpr0": ("TPR0", "completeness before the first false positive"),
    "tpr10": ("TPR10", "completeness with fewer than ten false positives"),
    "f_beta": ("F_β", "largest over all thresholds, chosen on these objects; β² = 0.001"),
}


def write_report(path: Path | str, content: ReportContent) -> Path:
    """Write the page, atomically."""
    path = Path(path)
    write_atomic(path, render_report(content).encode())
    return path


def render_report(content: ReportContent) -> str:
    """The page as HTML, with every picture inside."""
    environment = Environment(
        loader=PackageLoader("equilens.pipeline", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        title=content.title,
        remarks=content.remarks,
        written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0"),
        funnels=[_funnel(sample) for sample in content.samples],
        candidates=_candidates(content),
        labelled=_labelled(content),
        unscored=[_unscored(sample) for sample in content.samples if sample.scores is None],
        sky=_sky(content),
        evaluation=content.evaluated and _evaluation(content.evaluated),
        calibration=content.calibration and calibration_section(content.calibration),
        selection=content.selection
        and selection_section(content.selection.function, content.selection.bins),
        mapped=content.mapped and mass_section(content.mapped),
        quarantine=_quarantine(content.samples),
        provenance=content.provenance,
    )


def _funnel(sample: Sample) -> dict[str, Any]:
    steps = [("found", sample.n_found), ("usable", sample.store.n_objects)]
    if sample.scores is not None:
        steps.append(("scored", sample.n_scored))
        if sample.n_candidates is not None:
            steps.append(("candidates", sample.n_candidates))
    largest = max(sample.n_found, 1)
    return {
        "title": sample.title,
        "survey": sample.store.survey_name,
        "bands": " ".join(sample.store.band_names),
        "note": sample.note,
        "steps": [(name, n, max(100 * n / largest, 0.6)) for name, n in steps],
        "n_quarantined": len(sample.quarantine),
    }


def _candidates(content: ReportContent) -> dict[str, Any] | None:
    if content.candidates is None:
        return None
    table = content.candidates
    tiles = candidate_tiles(table, content.samples, content.labels, MOST_CANDIDATES)
    return {
        "tiles": tiles,
        "n_shown": len(tiles),
        "n_all": table.num_rows,
        "shared_flags": [flag.replace("_", " ") for flag in shared_flags(table)],
        **_bands_shown(tiles),
    }


def _bands_shown(tiles: Sequence[Tile]) -> dict[str, Any]:
    shown = {tile.bands for tile in tiles}
    words = [
        f"{b[2]} in red, {b[1]} in green, {b[0]} in blue" if len(b) == 3 else f"{b[0]} in grey"
        for b in sorted(shown)
    ]
    return {"bands": "; ".join(words)}


def _labelled(content: ReportContent) -> dict[str, Any] | None:
    if content.candidates is None or not content.labels:
        return None
    rows = [row for row in content.candidates.to_pylist() if row["id"] in content.labels]
    lenses = [row["rank"] for row in rows if content.labels[row["id"]]]
    return {
        "ranks": lenses,
        "n_lenses": sum(content.labels.values()),
        "n_others": len(content.labels) - sum(content.labels.values()),
        "n_ranked": content.candidates.num_rows,
        "among": _among_simulated(content.ranks, {row["id"]: row["name"] for row in rows}),
    }


def _among_simulated(ranks: pa.Table | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    """Share of the simulated non-lenses that reach the score of each known lens."""
    lenses = [] if ranks is None else [row for row in ranks.to_pylist() if row["is_lens"] == 1]
    if not lenses:
        return None
    shares = (
        f"{names[row['id']].removeprefix('EQL ')} {row['share']:.2g} "
        f"[{row['share_low']:.2g}, {row['share_high']:.2g}]"
        for row in lenses
        if row["id"] in names
    )
    return {"n": lenses[0]["n_nonlenses"], "shares": "; ".join(shares)}


def _unscored(sample: Sample) -> dict[str, Any]:
    ids = sample.store.table()["id"].to_pylist()[:MOST_UNSCORED]
    tiles = [make_tile(sample.store, name, name, ()) for name in ids]
    return {
        "title": sample.title,
        "note": sample.note,
        "tiles": tiles,
        "n": sample.store.n_objects,
        **_bands_shown(tiles),
    }


def _sky(content: ReportContent) -> FigurePair | None:
    if content.candidates is None:
        return None
    return sky_figure(content.candidates, content.sky_map, content.map_name)


def _evaluation(sample: EvaluatedSample) -> dict[str, Any]:
    figures = [
        roc_figure(sample),
        score_figure(sample),
        completeness_figure(sample, "einstein_radius_arcsec", "Einstein radius (arcsec)"),
        completeness_figure(sample, "arc_snr", "arc signal-to-noise ratio", log=True),
    ]
    return {
        "title": sample.title,
        "n_lenses": sample.truth.n_lenses,
        "n_nonlenses": sample.truth.n_nonlenses,
        "rule": sample.truth.rule,
        "metrics": _metric_rows(sample.metrics),
        "figures": [figure for figure in figures if figure is not None],
        "false_alarms": mistake_tiles(sample, False, MOST_MISTAKES),
        "missed": mistake_tiles(sample, True, MOST_MISTAKES),
    }


def _metric_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for key, (name, meaning) in _FIGURE_NAMES.items():
        detail = metrics["details"].get(key)
        if detail is None:
            rows.append({"name": name, "meaning": meaning, "value": "too few objects"})
            continue
        rows.append(
            {
                "name": name,
                "meaning": meaning,
                "value": f"{detail['value']:.4f}",
                "interval": f"{detail['low']:.4f} to {detail['high']:.4f}",
                "n": detail["n"],
                "method": detail["method"],
            }
        )
    return rows


def _quarantine(samples: Sequence[Sample]) -> dict[str, Any]:
    rows = [(sample.title, row) for sample in samples for row in sample.quarantine]
    return {
        "rows": rows[:MOST_QUARANTINE_ROWS],
        "n": len(rows),
        "n_found": sum(sample.n_found for sample in samples),
        "by_rule": count_by_rule(row for _, row in rows),
    }
