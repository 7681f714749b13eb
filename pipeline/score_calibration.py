"""Scores to probabilities: a calibration fitted to scored objects of known truth, as a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from equilens.catalogs.calibration_purity import GradedCheck, LensDensity, check_purity
from equilens.catalogs.calibration_result import CalibrationResult, calibrate
from equilens.catalogs.resampling import parents_of
from equilens.catalogs.truth import read_truth
from equilens.pipeline.errors import EvaluationError
from equilens.pipeline.evaluation import scored_truth
from equilens.pipeline.provenance import provenance, write_json_atomic
from equilens.pipeline.scores import ScoreStore


def calibrate_scores(
    scores: ScoreStore | Path | str,
    truth: Path | str | None,
    out: Path | str,
    density: LensDensity,
    *,
    family: str | None = None,
    training_prior: float | None = None,
    graded: tuple[Path | str, Path | str] | None = None,
    missing_as_lowest: bool = False,
    seed: int = 0,
) -> CalibrationResult:
    """Fit a calibration and write it, with all that was checked of it, as JSON.

    Parameters
    ----------
    scores : a finished ScoreStore of objects that the network was not trained on
    truth : key with IDs and ``is_lens``; None takes the truth that a simulated store carries
    out : file
    density : of lenses on the sky
    family, training_prior : as for `equilens.catalogs.calibration_result.calibrate`
    graded : a ScoreStore of real objects, and a key of those of them that people graded
    missing_as_lowest : count objects of the key that are neither scored nor quarantined as missed

    Raises
    ------
    EvaluationError, CalibrationError
        If scores and truth do not fit, or no calibration does.
    """
    store, joined = scored_truth(scores, truth, missing_as_lowest=missing_as_lowest)
    key = joined.truth
    result = calibrate(
        key.is_lens,
        joined.scores,
        density,
        model_sha256=store.manifest["network"]["sha256"],
        data_fingerprint=store.identity["cutouts"],
        family=family,
        parents=parents_of(key.columns, key.ids),
        training_prior=training_prior,
        seed=seed,
    )
    result = replace(result, notes=joined.notes)
    if graded is not None:
        result = replace(result, graded=(_graded_check(result, *graded),))
    write_json_atomic(out, {**result.to_dict(), "provenance": provenance()})
    return result


def _graded_check(result: CalibrationResult, scores: Path | str, key: Path | str) -> GradedCheck:
    store, grades = ScoreStore(scores), read_truth(key)
    if store.seen_in_training:
        raise EvaluationError(
            f"{store.path} has scores of cutouts that the network was trained on, which verify no "
            "purity: give graded objects that it never saw"
        )
    known = dict(zip(store.ids(), store.combined(), strict=True))
    absent = [name for name in grades.ids if name not in known]
    if absent:
        raise EvaluationError(
            f"{len(absent)} of {len(grades.ids)} graded objects have no score in {store.path}, "
            f"such as {absent[0]!r}: give the scores of the graded objects"
        )
    return check_purity(
        result.calibration,
        result.density,
        grades.is_lens,
        [known[name] for name in grades.ids],
        model_sha256=store.manifest["network"]["sha256"],
        level=result.level,
    )
