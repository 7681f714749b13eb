"""The products of a lens-finding challenge: a submission, and its figures if the key is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from equilens.catalogs.submission import lowest_scores, score_submission, write_submission
from equilens.pipeline.provenance import provenance, write_json_atomic
from equilens.pipeline.quarantine import QuarantineRow, read_quarantine, write_quarantine
from equilens.pipeline.scores import ScoreStore

SURVEYS = {"space": "bologna-space", "ground": "bologna-ground"}
SUBMISSION, QUARANTINE, SUMMARY = "submission.csv", "quarantine.csv", "summary.json"


def quarantine_of(cutouts: Path | str, scores: Path | str | None = None) -> list[QuarantineRow]:
    """Rows of an ingest, and of the scoring after it, each once."""
    files = [Path(store) / QUARANTINE for store in (cutouts, scores) if store is not None]
    rows = [row for file in files if file.exists() for row in read_quarantine(file)]
    return list(dict.fromkeys(rows))


def submission_scores(
    scores: ScoreStore, quarantine: Sequence[QuarantineRow]
) -> tuple[np.ndarray, np.ndarray]:
    """Every ID with a finite score; objects without one are strictly below all others.

    A rejected duplicate is no object of its own: the first of its ID has the score.
    """
    known = scores.ids()
    stored = set(known)
    lost = list(dict.fromkeys(row.id for row in quarantine if row.id not in stored))
    values = np.concatenate([scores.combined(), np.full(len(lost), np.nan)])
    return np.concatenate([known, np.array(lost, dtype=object)]), lowest_scores(values)


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
    ids, values = submission_scores(store, rejected)
    out.mkdir(parents=True, exist_ok=True)
    write_quarantine(out / QUARANTINE, rejected)
    write_submission(ids.tolist(), values, out / SUBMISSION)
    summary: dict[str, Any] = {
        "submission": str(out / SUBMISSION),
        "quarantine": str(out / QUARANTINE),
        "n_submitted": len(ids),
        "n_lowest": len(ids) - int(np.isfinite(store.combined()).sum()),
        "n_quarantined": len(rejected),
        "network": store.manifest["network"],
        "provenance": provenance(),
    }
    if truth is not None:
        summary |= score_submission(out / SUBMISSION, truth, missing_as_lowest=missing_as_lowest)
    write_json_atomic(out / SUMMARY, summary)
    return summary
