"""The products of a lens-finding challenge: a submission, and its figures if the key is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equilens.catalogs.submission import (
    join_scores,
    lowest_scores,
    read_submission,
    write_submission,
)
from equilens.catalogs.truth import read_truth
from equilens.pipeline.challenge_key import match_key, write_unmatched
from equilens.pipeline.challenge_report import challenge_report
from equilens.pipeline.provenance import fingerprint, provenance, write_json_atomic
from equilens.pipeline.quarantine import QuarantineRow, read_quarantine, write_quarantine
from equilens.pipeline.scores import ScoreStore

SURVEYS = {
    "space": "bologna-space",
    "ground": "bologna-ground",
    "2.0": "bologna2",
    "2.0-vis": "bologna2-vis",
    "2.0-nir": "bologna2-nir",
}
UNTRIED_SETS = ("2.0", "2.0-vis", "2.0-nir")
UNTRIED = (
    "challenge 2.0 is read by its documented layout and was never tried on its real files: zero "
    "points, noise levels and the common centre of its two pixel grids are assumptions; look at "
    "stored cutouts (equilens show) before a figure is believed"
)
SUBMISSION, QUARANTINE, SUMMARY = "submission.csv", "quarantine.csv", "summary.json"
SOURCE, UNMATCHED, METRICS = "source.json", "unmatched.csv", "metrics.json"


def quarantine_of(cutouts: Path | str, scores: Path | str | None = None) -> list[QuarantineRow]:
    """Rows of an ingest, and of the scoring after it, each once."""
    files = [Path(store) / QUARANTINE for store in (cutouts, scores) if store is not None]
    rows = [row for file in files if file.exists() for row in read_quarantine(file)]
    return list(dict.fromkeys(rows))


def folder_state(folder: Path | str) -> dict[str, Any]:
    """Which FITS files lie below a folder, by name, size and time: another state is another run."""
    root = Path(folder).resolve()
    files = [(path, path.stat()) for path in sorted(root.rglob("*.fits*")) if path.is_file()]
    listing = [
        (str(path.relative_to(root)), facts.st_size, facts.st_mtime_ns) for path, facts in files
    ]
    return {"folder": str(root), "n_files": len(files), "files": fingerprint({"files": listing})}


def same_run(out: Path | str, state: dict[str, Any]) -> bool:
    """Whether the run in `out` is of what `state` says: see `folder_state`."""
    noted = Path(out) / SOURCE
    return noted.exists() and json.loads(noted.read_text("utf-8")) == state


def submission_scores(
    scores: ScoreStore, quarantine: Sequence[QuarantineRow]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Every ID with a finite score; objects without one are strictly below all others.

    A rejected duplicate is no object of its own: the first of its ID has the score. A sighting
    that was merged into another one has that one's score.
    """
    known, values = scores.ids(), scores.combined()
    row = {name: k for k, name in enumerate(known)}
    merged = {gone: row[kept] for gone, kept in scores.stand_ins().items() if gone not in row}
    known = np.concatenate([known, np.array(list(merged), dtype=object)])
    values = np.concatenate([values, values[list(merged.values())]])
    stored = set(known)
    lost = list(dict.fromkeys(row.id for row in quarantine if row.id not in stored))
    values = np.concatenate([values, np.full(len(lost), np.nan)])
    ids = np.concatenate([known, np.array(lost, dtype=object)])
    return ids, lowest_scores(values), int((~np.isfinite(values)).sum())


def images_found(cutouts: Path | str, scores: ScoreStore) -> list[str]:
    """IDs of all images that were found: scored, merged into another sighting, or rejected."""
    rejected = [row.id for row in quarantine_of(cutouts)]
    return [*scores.ids(), *scores.stand_ins(), *rejected]


def write_challenge_products(
    cutouts: Path | str,
    scores: Path | str,
    out: Path | str,
    truth: Path | str | None = None,
    *,
    image_set: str | None = None,
    missing_as_lowest: bool = False,
) -> dict[str, Any]:
    """Write submission, quarantine and ``summary.json`` into a folder.

    With a key also ``unmatched.csv``, and the tables and plots of
    `equilens.pipeline.challenge_report.challenge_report`.

    Parameters
    ----------
    cutouts, scores : finished stores
    truth : key of the challenge; with it the summary holds the submission's figures. An object of
        the key without an image is a row of the quarantine
    image_set : a key of `SURVEYS`; the published ranking is that of ``space`` or ``ground``
    missing_as_lowest : count objects of the key that were not in the folder as missed

    Returns
    -------
    dict : what ``summary.json`` holds
    """
    out, store = Path(out), ScoreStore(scores)
    key = None if truth is None else read_truth(truth)
    match = None if key is None else match_key(key.ids, images_found(cutouts, store))
    rejected = quarantine_of(cutouts, scores)
    ids, values, n_lowest = submission_scores(store, rejected)
    missing = [] if match is None else match.quarantine_rows()
    out.mkdir(parents=True, exist_ok=True)
    write_quarantine(out / QUARANTINE, [*rejected, *missing])
    # challenge 2.0 asks for commas, 1.0 for blanks
    delimiter = "," if image_set in UNTRIED_SETS else " "
    write_submission(ids.tolist(), values, out / SUBMISSION, delimiter)
    summary: dict[str, Any] = {
        "submission": str(out / SUBMISSION),
        "quarantine": str(out / QUARANTINE),
        "n_submitted": len(ids),
        "n_lowest": n_lowest,
        "n_quarantined": len(rejected) + len(missing),
        "untried": UNTRIED if image_set in UNTRIED_SETS else None,
        "network": store.manifest["network"],
        "seen_in_training": store.seen_in_training,
        "provenance": provenance(),
    }
    if key is not None and match is not None:
        write_unmatched(out / UNMATCHED, match)
        joined = join_scores(key.ids, ids, values, missing_as_lowest=missing_as_lowest)
        name = str(store.manifest["network"]["name"])
        summary["key"] = {**match.to_json(), "unmatched": str(out / UNMATCHED)}
        summary |= challenge_report(key, joined, image_set, name, out)
    write_json_atomic(out / SUMMARY, summary)
    return summary


def measure_submission(
    submission: Path | str,
    truth: Path | str,
    out: Path | str | None = None,
    *,
    image_set: str | None = None,
    columns: dict[str, str | None] | None = None,
    missing_as_lowest: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Figures, curves and ranking of a submission file that anybody made.

    Parameters
    ----------
    out : folder for ``metrics.json``, ``unmatched.csv`` and the report's tables and plots
    columns : id_column, score_column, truth_id_column and label_column, where they have to be named
    options : of `equilens.catalogs.evaluation.evaluate_scores`
    """
    names = dict(columns or {})
    key = read_truth(truth, names.get("truth_id_column"), names.get("label_column"))
    table = read_submission(submission, names.get("id_column"), names.get("score_column"))
    match = match_key(key.ids, table.ids)
    if out is not None:
        write_unmatched(Path(out) / UNMATCHED, match)
    joined = join_scores(key.ids, table.ids, table.scores, missing_as_lowest=missing_as_lowest)
    report = challenge_report(key, joined, image_set, Path(submission).stem, out, **options)
    report["key"] = match.to_json()
    if out is not None:
        write_json_atomic(Path(out) / METRICS, {**report, "provenance": provenance()})
    return report
