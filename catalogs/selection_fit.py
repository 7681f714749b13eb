"""Fit a selection function to lenses that a cut found or missed.

The penalty on roughness and the products of columns are chosen by log-loss on held-out parents. The
covariance of the coefficients has two parts: what another sample of parents would give (bootstrap),
and what the penalty may have smoothed away, H⁻¹PH⁻¹ (Nychka 1988; Marra & Wood 2012): without the
second, places where every lens was found would look certain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import block_diag
from scipy.special import expit
from scipy.stats import chi2

from equilens.catalogs.errors import SelectionError
from equilens.catalogs.intervals import DEFAULT_LEVEL, proportion
from equilens.catalogs.logistic import LogisticFit, fit_logistic, log_loss
from equilens.catalogs.resampling import bootstrap_weights, group_codes, grouped_folds
from equilens.catalogs.selection import (
    Denominator,
    HeldOutBin,
    HeldOutCheck,
    ScoreCut,
    SelectionFunction,
)
from equilens.catalogs.selection_basis import (
    Axis,
    Table,
    Term,
    column,
    design_matrix,
    make_axes,
    pair_term,
    single_term,
)
from equilens.catalogs.selection_support import pair_supports

FloatArray = NDArray[np.float64]
PENALTIES = tuple(10.0**power for power in (-1, 0, 1, 2, 3, 4))
FEWEST_LENSES = 100
DEFAULT_FOLDS = 5
DEFAULT_BOOTSTRAP = 200
CHECK_BINS = 10
# keeps what the roughness leaves free (constants, slopes) finite: a prior width of 10 in log-odds
_RIDGE = 0.01


@dataclass(frozen=True)
class _Sample:
    """Lenses with all properties known: found or not, (n,), and the parent of each."""

    found: FloatArray
    codes: NDArray[np.int64]
    folds: NDArray[np.int64]
    n_folds: int


@dataclass(frozen=True)
class _Candidate:
    """A set of terms with its best penalty, and the held-out log-odds that it gave."""

    terms: tuple[Term, ...]
    design: FloatArray
    penalty: float
    log_odds: FloatArray


def fit_selection(
    table: Table,
    scores: ArrayLike,
    cut: ScoreCut,
    scales: Mapping[str, str],
    *,
    interactions: Sequence[tuple[str, str]] = (),
    parents: ArrayLike | None = None,
    arc_snr_from: float | None = None,
    n_folds: int = DEFAULT_FOLDS,
    n_bootstrap: int = DEFAULT_BOOTSTRAP,
    seed: int = 0,
    model_sha256: str = "",
    data_fingerprint: str = "",
) -> SelectionFunction:
    """Fit completeness as a smooth function of columns of a table of injected lenses.

    Parameters
    ----------
    table : N injected lenses
    scores : (N,); -inf or NaN for a lens that was not scored: missed
    cut : found means score >= its threshold
    scales : column → ``linear`` or ``log10``: what completeness may depend on
    interactions : pairs of columns whose product is tried; it stays if it lowers the log-loss of
        held-out parents
    parents : (N,), what each lens was made from; by default each from its own
    arc_snr_from : count lenses from this column ``arc_snr`` on; by default all
    n_folds, n_bootstrap, seed : of the resampling by parent

    Raises
    ------
    SelectionError
        If there are too few lenses, a column does not vary, or all fared alike.
    """
    scores = np.asarray(scores, dtype=np.float64)
    parents = np.arange(len(scores)) if parents is None else np.asarray(parents)
    counted = visible(table, len(scores), arc_snr_from)
    known = counted & np.all([_usable(table, *entry) for entry in scales.items()], axis=0)
    found = scores >= cut.threshold
    inside = {name: column(table, name)[known] for name in scales}
    codes = group_codes(parents[known], int(known.sum()))
    _check_sample(found[known], codes, n_folds)
    sample = _Sample(
        found[known].astype(np.float64), codes, grouped_folds(codes, n_folds, seed), n_folds
    )
    axes = make_axes(inside, scales)
    chosen = _with_interactions(axes, inside, sample, interactions)
    fit, penalty = _final_fit(chosen, sample)
    covariance = _covariance(fit, penalty, chosen.design, sample, n_bootstrap, seed)
    return SelectionFunction(
        axes=axes,
        terms=chosen.terms,
        coefficients=tuple(fit.coefficients.tolist()),
        # nine digits: a file half as long, and nothing lost that a bootstrap knows
        covariance=tuple(
            float(f"{entry:.9g}") for entry in covariance[np.triu_indices(len(covariance))]
        ),
        supports=pair_supports(axes, inside),
        cut=cut,
        denominator=Denominator(
            arc_snr_from,
            len(scores),
            int(counted.sum()),
            int(found[counted].sum()),
            int((counted & ~known).sum()),
            int(codes.max()) + 1,
        ),
        penalty=chosen.penalty,
        n_bootstrap=n_bootstrap,
        check=held_out_check(sample.found, chosen.log_odds, sample.codes, n_folds),
        model_sha256=model_sha256,
        data_fingerprint=data_fingerprint,
    )


def _usable(table: Table, name: str, scale: str) -> NDArray[np.bool_]:
    values = column(table, name)
    return np.isfinite(values) & ((values > 0) | (scale != "log10"))


def visible(table: Table, n: int, arc_snr_from: float | None) -> NDArray[np.bool_]:
    """Which lenses count, (N,); one of unknown signal-to-noise ratio is not visible."""
    if arc_snr_from is None:
        return np.ones(n, dtype=bool)
    return column(table, "arc_snr") >= arc_snr_from


def _check_sample(found: NDArray[np.bool_], codes: NDArray[np.int64], n_folds: int) -> None:
    if len(found) < FEWEST_LENSES:
        raise SelectionError(
            f"a smooth model needs at least {FEWEST_LENSES} lenses with every property known, got "
            f"{len(found)}; inject more, or name fewer columns"
        )
    n_parents = int(codes.max()) + 1
    if n_parents < 2 * n_folds:
        raise SelectionError(
            f"{n_folds} folds need at least {2 * n_folds} parents, got {n_parents}: inject into "
            "more objects"
        )
    if found.all() or not found.any():
        raise SelectionError(
            f"the cut {'finds' if found.all() else 'misses'} all {len(found)} lenses, so nothing "
            "tells which ones: choose another threshold"
        )


def _with_interactions(
    axes: Sequence[Axis],
    table: Table,
    sample: _Sample,
    interactions: Sequence[tuple[str, str]],
) -> _Candidate:
    by_name = {axis.column: axis for axis in axes}
    best = _tuned(axes, tuple(single_term(axis) for axis in axes), table, sample)
    for first, second in interactions:
        if not {first, second} <= by_name.keys():
            raise SelectionError(
                f"the pair {first!r}, {second!r} must be of the columns {list(by_name)}"
            )
        extra = pair_term(by_name[first], by_name[second])
        trial = _tuned(axes, (*best.terms, extra), table, sample)
        # a stricter rule, by a standard error, left true products out and the intervals too narrow
        if _loss(trial, sample) < _loss(best, sample):
            best = trial
    return best


def _loss(candidate: _Candidate, sample: _Sample) -> float:
    return float(log_loss(sample.found, candidate.log_odds).sum())


def _tuned(
    axes: Sequence[Axis], terms: tuple[Term, ...], table: Table, sample: _Sample
) -> _Candidate:
    """The terms with the penalty that predicts held-out parents best."""
    design = design_matrix(axes, terms, table)
    held_out = [_held_out_log_odds(design, terms, strength, sample) for strength in PENALTIES]
    losses = [log_loss(sample.found, log_odds).sum() for log_odds in held_out]
    best = int(np.argmin(losses))
    return _Candidate(terms, design, PENALTIES[best], held_out[best])


def _held_out_log_odds(
    design: FloatArray, terms: Sequence[Term], strength: float, sample: _Sample
) -> FloatArray:
    log_odds, penalty = np.empty(len(design)), penalty_matrix(terms, strength)
    for fold in range(sample.n_folds):
        inside = sample.folds != fold
        fit = fit_logistic(design[inside], sample.found[inside], penalty=penalty)
        log_odds[~inside] = design[~inside] @ fit.coefficients
    return log_odds


def penalty_matrix(terms: Sequence[Term], strength: float) -> FloatArray:
    """Roughness of every term times the strength, and a small ridge; none on the constant."""
    blocks = [strength * t.roughness() + _RIDGE * np.eye(t.n_coefficients) for t in terms]
    return block_diag(np.zeros((1, 1)), *blocks)


def _final_fit(chosen: _Candidate, sample: _Sample) -> tuple[LogisticFit, FloatArray]:
    penalty = penalty_matrix(chosen.terms, chosen.penalty)
    return fit_logistic(chosen.design, sample.found, penalty=penalty), penalty


def _covariance(
    fit: LogisticFit,
    penalty: FloatArray,
    design: FloatArray,
    sample: _Sample,
    n_bootstrap: int,
    seed: int,
) -> FloatArray:
    rng = np.random.default_rng(seed)
    draws = np.stack(
        [
            fit_logistic(
                design,
                sample.found,
                penalty=penalty,
                weights=bootstrap_weights(sample.codes, rng),
                start=fit.coefficients,
            ).coefficients
            for _ in range(n_bootstrap)
        ]
    )
    inverse = np.linalg.inv(fit.hessian)
    return np.cov(draws, rowvar=False) + inverse @ penalty @ inverse


def held_out_check(
    found: FloatArray,
    log_odds: FloatArray,
    codes: NDArray[np.int64],
    n_folds: int,
    level: float = DEFAULT_LEVEL,
) -> HeldOutCheck:
    """Predicted against observed in bins of equally many lenses, with a χ² over the bins."""
    predicted = expit(log_odds)
    order = np.argsort(predicted, kind="stable")
    bins, statistic = [], 0.0
    for rows in np.array_split(order, CHECK_BINS):
        p, y = predicted[rows], found[rows]
        bins.append(HeldOutBin(float(p.mean()), proportion(int(y.sum()), len(y), level)))
        statistic += float((y - p).sum() ** 2 / _variance(y - p, p, codes[rows]))
    share = float(found.mean())
    constant = np.full(len(found), np.log(share / (1 - share)))
    return HeldOutCheck(
        tuple(bins),
        statistic,
        float(chi2.sf(statistic, len(bins))),
        len(found),
        int(codes.max()) + 1,
        n_folds,
        float(log_loss(found, log_odds).mean()),
        float(log_loss(found, constant).mean()),
    )


def _variance(residuals: FloatArray, p: FloatArray, codes: NDArray[np.int64]) -> float:
    """Of the number found: binomial, times how much more lenses of one parent are alike."""
    alike = np.square(np.bincount(codes, residuals)).sum() / np.square(residuals).sum()
    return float((p * (1 - p)).sum() * max(alike, 1.0))
