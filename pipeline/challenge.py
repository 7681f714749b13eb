"""The products of a lens-finding challenge: a submission, and its figures if the key is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equilens.catalogs.submission import lowest_scores, score_submission, write_submission
from equilens.pipeline.provenance import fingerprint, provenance, write_json_atomic
from equilens.pipeline.quarantine import QuarantineRow, read_quarantine, write_quarantine
from equilens.pipeline.scores import ScoreStore

SURVEYS = {"space": "bologna-space", "ground": "bologna-ground"}
SUBMISSION, QUARANTINE, SUMMARY = "submission.csv", "quarantine.csv", "summary.json"
SOURCE = "source.json"


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


def same_folder(out: Path | str, folder: Path | str) -> bool:
    """Whether the run in `out` is of the files that lie below `folder` now."""
    noted = Path(out) / SOURCE
    return noted.exists() and json.loads(noted.read_text("utf-8")) == folder_state(folder)


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


def write_challenge_products(
    cutouts: Path | str,
    scores: Path | str,
    out: Path | str,
    truth: Path | str | None = None,
    *,
    missing_as_lowest: bool = False,
) -> dict[str, Any]:
    """Write submission, quarantine and ``summary.json`` into a folder.

    Parameters
    ----------
    cutouts, scores : finished stores
    truth : key of the challenge; with it the summary holds the submission's figures
    missing_as_lowest : count objects of the key that were not in the folder as missed

    Returns
    -------
    dict : what ``summary.json`` holds
    """
    out, store = Path(out), ScoreStore(scores)
    rejected = quarantine_of(cutouts, scores)
    ids, values, n_lowest = submission_scores(store, rejected)
    out.mkdir(parents=True, exist_ok=True)
    write_quarantine(out / QUARANTINE, rejected)
    write_submission(ids.tolist(), values, out / SUBMISSION)
    summary: dict[str, Any] = {
        "submission": str(out / SUBMISSION),
        "quarantine": str(out / QUARANTINE),
        "n_submitted": len(ids),
        "n_lowest": n_lowest,
        "n_quarantined": len(rejected),
        "network": store.manifest["network"],
        "provenance": provenance(),
    }
    if truth is not None:
        summary |= score_submission(out / SUBMISSION, truth, missing_as_lowest=missing_as_lowest)
    write_json_atomic(out / SUMMARY, summary)
    return summary
