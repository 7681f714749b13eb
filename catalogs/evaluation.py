"""All figures of one set of scores in one JSON-ready dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from equilens.catalogs.binned import binned_completeness
from equilens.catalogs.intervals import DEFAULT_LEVEL, finite_or_none
from equilens.catalogs.metrics import auroc_of_split, split_scores, tpr_of_split
from equilens.catalogs.operating_points import (
    CHALLENGE_BETA_SQUARED,
    f_beta,
    max_f_beta,
    operating_point,
    purity,
)


def evaluate_scores(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    level: float = DEFAULT_LEVEL,
    beta_squared: float = CHALLENGE_BETA_SQUARED,
    threshold: float | None = None,
    prevalence: float | None = None,
    nan_as_lowest: bool = False,
) -> dict:
    """Every metric with its N and interval.

    Parameters
    ----------
    labels, scores : (N,) arrays, as in `equilens.catalogs.metrics`
    threshold : a cut chosen beforehand; adds ``at_threshold``
    prevalence : share of lenses on the sky; with a threshold, adds its purity there
    nan_as_lowest : count NaN scores as missed instead of refusing them

    Returns
    -------
    dict with

    - auroc, tpr0, tpr10, f_beta, f_beta_threshold, n_lenses, n_nonlenses, level, beta_squared
    - intervals : name → [low, high] of those figures
    - details : name → the whole estimate, with N and method

    A figure that the sample is too small for (TPR10 with fewer than ten non-lenses) is ``None``.
    """
    split = split_scores(labels, scores, nan_as_lowest=nan_as_lowest)
    best, best_threshold = max_f_beta(
        labels, scores, beta_squared, level, nan_as_lowest=nan_as_lowest
    )
    details: dict = {"auroc": auroc_of_split(split, level).to_json(), "f_beta": best.to_json()}
    details["f_beta"]["threshold"] = finite_or_none(best_threshold)
    for name, fewer_than in (("tpr0", 1), ("tpr10", 10)):
        enough = len(split.nonlenses) >= fewer_than
        figure = tpr_of_split(split, fewer_than, level).to_json() if enough else None
        details[name] = figure and {**figure.pop("tpr"), **figure}
    names = ("auroc", "tpr0", "tpr10", "f_beta")
    report = {name: details[name] and details[name]["value"] for name in names}
    report |= {
        "f_beta_threshold": finite_or_none(best_threshold),
        "n_lenses": len(split.lenses),
        "n_nonlenses": len(split.nonlenses),
        "level": level,
        "beta_squared": beta_squared,
        "intervals": {n: details[n] and [details[n]["low"], details[n]["high"]] for n in names},
        "details": details,
    }
    if threshold is not None:
        options: dict[str, Any] = {"level": level, "nan_as_lowest": nan_as_lowest}
        report["at_threshold"] = _at_threshold(
            labels, scores, threshold, beta_squared, prevalence, options
        )
    return report


def _at_threshold(labels, scores, threshold, beta_squared, prevalence, options) -> dict:
    cut = operating_point(labels, scores, threshold, **options).to_json()
    cut["f_beta"] = f_beta(labels, scores, threshold, beta_squared, **options).to_json()
    if prevalence is not None:
        at_sky = purity(labels, scores, threshold, prevalence, **options)
        cut["purity"] = {**at_sky.to_json(), "prevalence": prevalence}
    return cut


def evaluate_bins(
    labels: ArrayLike,
    scores: ArrayLike,
    truth_columns: Mapping[str, ArrayLike],
    edges: Mapping[str, Sequence[float]],
    threshold: float,
    level: float = DEFAULT_LEVEL,
) -> dict[str, dict]:
    """Completeness at ``threshold`` in bins of each truth column that ``edges`` names.

    Columns that the truth lacks are left out.
    """
    return {
        column: binned_completeness(
            labels,
            scores,
            np.asarray(truth_columns[column]),
            column_edges,
            threshold,
            column,
            level,
        ).to_json()
        for column, column_edges in edges.items()
        if column in truth_columns
    }
