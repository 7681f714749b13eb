"""Submissions: one score an object, joined to a truth key and measured.

A submission is ``ID score`` or ``ID,score`` text (the lens-finding challenge's format), with or
without a header line and ``#`` comments, or any table whose two columns are named.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equilens.catalogs.errors import SubmissionError
from equilens.catalogs.evaluation import evaluate_scores
from equilens.catalogs.intervals import DEFAULT_LEVEL
from equilens.catalogs.operating_points import CHALLENGE_BETA_SQUARED
from equilens.catalogs.reading import (
    ABSENT,
    columns_of_text,
    find_column,
    floats,
    is_number,
    is_text,
    read_binary_columns,
    read_text_rows,
    text_ids,
)
from equilens.catalogs.truth import ID_COLUMNS, Truth, read_truth

SCORE_COLUMNS = ("score", "logit", "probability", "prob", "probs", "prediction", "is_lens_score")


@dataclass(frozen=True)
class Submission:
    """Scores of N objects.

    Attributes
    ----------
    ids : (N,) array of str, unique
    scores : (N,) array of float64; NaN where the file says so
    """

    ids: NDArray[np.object_]
    scores: NDArray[np.float64]


@dataclass(frozen=True)
class JoinedScores:
    """Scores in the order of the truth key, and what did not match.

    ``scores`` is -inf where the submission has no score, or NaN, for an object of the key.
    """

    scores: NDArray[np.float64]
    n_missing: int
    n_unknown: int
    n_not_a_number: int


def read_submission(
    path: str | Path, id_column: str | None = None, score_column: str | None = None
) -> Submission:
    """Read a submission.

    Parameters
    ----------
    id_column, score_column : names, needed where a header does not make them plain

    Raises
    ------
    SubmissionError
        If columns can not be told, a line is ragged, an ID is empty or repeated, or a score is not
        a number.
    """
    path = Path(path)
    if not path.is_file():
        raise SubmissionError(f"submission {path} does not exist; give the path of a file")
    if is_text(path):
        ids, scores = _text_columns(path, id_column, score_column)
    else:
        columns = read_binary_columns(path, SubmissionError)
        ids, scores = _named_columns(columns, path, id_column, score_column)
    return Submission(
        text_ids(ids, f"submission {path}", SubmissionError),
        floats(scores, f"scores of submission {path}", SubmissionError),
    )


def _text_columns(path: Path, id_column: str | None, score_column: str | None):
    rows = read_text_rows(path, SubmissionError)
    rows.check_width(path, SubmissionError)
    first = rows.fields[0]
    if len(first) < 2:
        raise SubmissionError(
            f"{path}: a submission needs an ID and a score on each line, got {first[0]!r}"
        )
    named = id_column is not None or score_column is not None
    if named or not any(is_number(text) or text.lower() in ABSENT for text in first[1:]):
        columns = columns_of_text(rows, path, SubmissionError)
        return _named_columns(columns, path, id_column, score_column)
    if len(first) > 2:
        raise SubmissionError(
            f"{path} has {len(first)} columns and no header; add a header line, "
            "or keep the ID and the score only"
        )
    return [row[0] for row in rows.fields], [row[1] for row in rows.fields]


def _named_columns(
    columns: dict[str, np.ndarray], path: Path, id_column: str | None, score_column: str | None
):
    names = list(columns)
    found_id = id_column or find_column(names, ID_COLUMNS)
    found_score = score_column or find_column(names, SCORE_COLUMNS)
    if len(names) == 2:
        found_id = found_id or next(name for name in names if name != found_score)
        found_score = found_score or next(name for name in names if name != found_id)
    return (
        _present(columns, found_id, "ID", "id_column", path),
        _present(columns, found_score, "score", "score_column", path),
    )


def _present(
    columns: dict[str, np.ndarray], name: str | None, what: str, option: str, path: Path
) -> np.ndarray:
    if name is not None and name in columns:
        return columns[name]
    wanted = f"column {name!r}" if name else f"column that is plainly the {what}"
    raise SubmissionError(
        f"{path} has no {wanted}, got columns {list(columns)}; name it with {option}"
    )


def join_scores(
    key_ids: Sequence[str] | np.ndarray,
    ids: Sequence[str] | np.ndarray,
    scores: ArrayLike,
    *,
    missing_as_lowest: bool = False,
) -> JoinedScores:
    """Put scores in the order of a key; objects without one stay, as missed (score -inf).

    Raises
    ------
    SubmissionError
        If objects of the key lack a score, or have NaN, and ``missing_as_lowest`` is not set; or
        if no ID is in the key at all.
    """
    by_id = dict(zip(ids, np.asarray(scores, dtype=np.float64).tolist(), strict=True))
    joined = np.array([by_id.get(name, np.nan) for name in key_ids], dtype=np.float64)
    absent = [name for name in key_ids if name not in by_id]
    n_unknown = len(by_id) - (len(key_ids) - len(absent))
    if len(absent) == len(key_ids):
        raise SubmissionError(
            f"no ID of the submission is in the truth key: it has {next(iter(by_id), 'none')!r}, "
            f"the key has {key_ids[0]!r}; IDs are compared as text, exactly"
        )
    n_nan = int(np.isnan(joined).sum()) - len(absent)
    if (absent or n_nan) and not missing_as_lowest:
        example = f", such as {absent[0]!r}" if absent else ""
        raise SubmissionError(
            f"every object of the truth key needs a score, got {len(absent)} of {len(key_ids)} "
            f"without{example}, and {n_nan} NaN; add them, or count them as missed with "
            "missing_as_lowest (--missing-as-lowest)"
        )
    lowest = np.where(np.isnan(joined), -np.inf, joined)
    return JoinedScores(lowest, len(absent), n_unknown, n_nan)


def score_submission(
    submission_path: str | Path,
    truth_path: str | Path,
    *,
    id_column: str | None = None,
    score_column: str | None = None,
    truth_id_column: str | None = None,
    label_column: str | None = None,
    missing_as_lowest: bool = False,
    threshold: float | None = None,
    prevalence: float | None = None,
    beta_squared: float = CHALLENGE_BETA_SQUARED,
    level: float = DEFAULT_LEVEL,
) -> dict:
    """Exact metrics of a submission against a truth key.

    Returns
    -------
    dict : `equilens.catalogs.evaluation.evaluate_scores`'s, with n_missing (of the key, not in the
        submission), n_unknown (the reverse, ignored), n_not_a_number and label_rule
    """
    truth = read_truth(truth_path, truth_id_column, label_column)
    submission = read_submission(submission_path, id_column, score_column)
    joined = join_scores(
        truth.ids, submission.ids, submission.scores, missing_as_lowest=missing_as_lowest
    )
    return measure_joined(
        truth,
        joined,
        level=level,
        beta_squared=beta_squared,
        threshold=threshold,
        prevalence=prevalence,
    )


def measure_joined(truth: Truth, joined: JoinedScores, **options: Any) -> dict:
    """As `score_submission`, of scores that are joined to their key already.

    Parameters
    ----------
    options : of `equilens.catalogs.evaluation.evaluate_scores`
    """
    return evaluate_scores(truth.is_lens, joined.scores, **options) | {
        "n_missing": joined.n_missing,
        "n_unknown": joined.n_unknown,
        "n_not_a_number": joined.n_not_a_number,
        "label_rule": truth.rule,
    }


def write_submission(
    ids: Sequence[str], scores: ArrayLike, path: str | Path, delimiter: str = " "
) -> None:
    """Write ``ID score`` lines without header, atomically; float64 survives to the last bit.

    Raises
    ------
    SubmissionError
        On a NaN or infinite score (give quarantined objects the lowest finite one), a repeated ID,
        or an ID that holds the delimiter.
    """
    path = Path(path)
    names = text_ids(ids, f"submission {path}", SubmissionError)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != names.shape or not np.all(np.isfinite(values)):
        raise SubmissionError(
            f"a submission needs one finite score an ID, got {len(names)} IDs and "
            f"{int(np.isfinite(values).sum())} finite scores of {values.size}; "
            "give quarantined objects a score below all others"
        )
    awkward = [name for name in names if delimiter in name or name.startswith("#")]
    if awkward:
        raise SubmissionError(
            f"ID {awkward[0]!r} holds the delimiter {delimiter!r} or starts a comment; "
            "write with another delimiter, such as ','"
        )
    text = "".join(
        f"{name}{delimiter}{value!r}\n" for name, value in zip(names, values.tolist(), strict=True)
    )
    _write_text_atomic(text, path)


def lowest_scores(scores: ArrayLike) -> NDArray[np.float64]:
    """Replace NaN and -inf by a finite score below all others, as a submission file needs."""
    values = np.asarray(scores, dtype=np.float64)
    lost = ~(values > -np.inf)
    known = values[~lost]
    floor = np.nextafter(known.min() - 1.0, -np.inf) if len(known) else 0.0
    return np.where(lost, floor, values)


def _write_text_atomic(text: str, path: Path) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as stream:
        try:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise
    os.chmod(stream.name, 0o644)
    os.replace(stream.name, path)
