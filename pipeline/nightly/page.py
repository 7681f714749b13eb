"""The night's report: the page of its samples, with what the night says of itself on top."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from equilens.catalogs.calibration_result import read_calibration
from equilens.pipeline.nightly.folders import CATALOGUE
from equilens.pipeline.nightly.products import Products
from equilens.pipeline.nightly.summary import drift_text, expected_text
from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.report import ReportContent, Sample, write_report
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.stores import CutoutStore

REPORT = "report.html"


def write_page(products: Products, summary: Mapping[str, Any]) -> Path:
    """Write the page beside the catalogue."""
    table = pq.read_table(products.path / CATALOGUE)
    listed = table.filter(table["inspect"])
    rejected = read_quarantine(products.path / "quarantine.csv")
    samples: list[Sample] = []
    place = products.folder.path
    # the latest first: an object whose files changed is shown as it is now
    for part in reversed(summary["instalments"]):
        if part["cutouts"] is None:
            continue
        store = CutoutStore(place / part["cutouts"])
        title = f"{summary['survey']}, {summary['night']}, instalment {part['number'] + 1}"
        # the night has one quarantine table: it stands with the first sample
        here = () if samples else rejected
        samples.append(Sample(title, store, ScoreStore(place / part["scores"]), here))
    calibration = products.config.calibration
    content = ReportContent(
        title=f"equilens: {summary['survey']}, night {summary['night']}",
        remarks=tuple(remarks(summary)),
        samples=samples,
        candidates=listed if listed.num_rows else None,
        calibration=read_calibration(calibration) if calibration else None,
        provenance=_provenance(summary),
    )
    return write_report(products.path / REPORT, content)


def remarks(summary: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on whether to trust the night, what is left after each cut, and its list."""
    if summary["accepted"]:
        yield "The night is accepted."
    else:
        yield f"The night is NOT accepted: {'; '.join(summary['reasons'])}."
    steps = ", ".join(f"{step['n']:,} {step['step']}" for step in summary["funnel"])
    yield f"Objects: {steps}."
    yield f"On the list: {expected_text(summary)}."
    match = summary["crossmatch"]
    yield (
        f"{match['n_updated']:,} objects were seen on earlier nights, {match['n_new']:,} were not; "
        f"{match['n_cumulative']:,} are known by now. Here, {match['repeats']}."
    )
    yield f"Against earlier nights: {drift_text(summary)}."
    for kind in ("sentinels", "injections"):
        if "absent" in summary[kind]:
            yield f"There are no {kind}: {summary[kind]['absent']}."


def _provenance(summary: Mapping[str, Any]) -> dict[str, str]:
    run, network = summary["provenance"], summary["network"]
    facts = {
        "command": run["command"],
        "written": run["created_utc"],
        "commit": run["commit"] or "installed package",
        "versions": ", ".join(f"{name} {v}" for name, v in run["versions"].items()),
        "network": f"{network['name']}, {network['architecture']}, sha256 {network['sha256']}",
        "night": summary["identity"],
    }
    return facts | {name: f"sha256 {entry['sha256']}" for name, entry in summary["files"].items()}
