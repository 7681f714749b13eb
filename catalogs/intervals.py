"""Estimates with intervals: binomial proportions and the order statistics of a sample.

Throughout, ``level`` is the two-sided confidence level, and a *tail* is the probability left
outside on one side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from equilens.catalogs.errors import ScoreError

DEFAULT_LEVEL = 0.95

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """One figure with its interval and the number of objects it rests on.

    ``value`` is NaN where nothing defines it (a bin without objects); the interval is then the
    whole range allowed.
    """

    value: float
    low: float
    high: float
    n: int
    level: float
    method: str

    def __post_init__(self) -> None:
        check_level(self.level)
        if not math.isnan(self.value) and not self.low <= self.value <= self.high:
            raise ScoreError(
                f"an estimate must lie inside its interval, got {self.value!r} "
                f"outside [{self.low!r}, {self.high!r}] ({self.method})"
            )

    def to_json(self) -> dict[str, float | int | str | None]:
        """Plain types; what is not finite becomes ``None``, which JSON can say."""
        return {
            "value": finite_or_none(self.value),
            "low": finite_or_none(self.low),
            "high": finite_or_none(self.high),
            "n": int(self.n),
            "level": self.level,
            "method": self.method,
        }

    def with_interval(self, style: str = ".4g") -> str:
        """``value [low, high]``, each number in this format specification.

        >>> proportion(9, 10).with_interval(".2f")
        '0.90 [0.55, 1.00]'
        """
        return f"{self.value:{style}} [{self.low:{style}}, {self.high:{style}}]"

    def __str__(self) -> str:
        return f"{self.with_interval()} (N={self.n})"


def finite_or_none(value: float) -> float | None:
    """The number for JSON, which has neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def check_level(level: float) -> float:
    """Return the confidence level if it lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ScoreError(f"level must lie between 0 and 1, got {level!r}; 0.95 is usual")
    return level


def clopper_pearson(
    successes: ArrayLike, trials: ArrayLike, level: float = DEFAULT_LEVEL
) -> tuple[FloatArray, FloatArray]:
    """Exact binomial interval (Clopper & Pearson 1934): covers at least ``level``, always.

    Parameters
    ----------
    successes, trials : (...) array of int
        Counts, broadcast together. Without trials the interval is [0, 1].

    Returns
    -------
    low, high : (...) array of float64
    """
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    _check_counts(k, n)
    tail = (1 - check_level(level)) / 2
    low = np.zeros(k.shape)
    high = np.ones(k.shape)
    some, not_all = k > 0, k < n
    low[some] = betaincinv(k[some], (n - k + 1)[some], tail)
    high[not_all] = betaincinv((k + 1)[not_all], (n - k)[not_all], 1 - tail)
    return low, high


def wilson(
    successes: ArrayLike, trials: ArrayLike, level: float = DEFAULT_LEVEL
) -> tuple[FloatArray, FloatArray]:
    """Score interval of a proportion (Wilson 1927): narrower, covers ``level`` on average."""
    k, n = np.broadcast_arrays(np.asarray(successes, np.float64), np.asarray(trials, np.float64))
    _check_counts(k, n)
    z = ndtri((1 + check_level(level)) / 2)
    safe = np.maximum(n, 1)
    p = k / safe
    centre = (p + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z / (1 + z**2 / safe) * np.sqrt(p * (1 - p) / safe + z**2 / (4 * safe**2))
    # at 0 and at n the algebra gives exactly p; rounding must not push the limit past it
    low = np.where(n > 0, np.clip(np.minimum(centre - half, p), 0, 1), 0.0)
    high = np.where(n > 0, np.clip(np.maximum(centre + half, p), 0, 1), 1.0)
    return low, high


BINOMIAL_METHODS = {"clopper-pearson": clopper_pearson, "wilson": wilson}


def binomial_interval(method: str):
    """Look up an interval function by name: ``clopper-pearson`` or ``wilson``."""
    if method not in BINOMIAL_METHODS:
        raise ScoreError(
            f"interval method must be one of {sorted(BINOMIAL_METHODS)}, got {method!r}"
        )
    return BINOMIAL_METHODS[method]


def proportion(
    successes: int, trials: int, level: float = DEFAULT_LEVEL, method: str = "clopper-pearson"
) -> Estimate:
    """Estimate ``successes / trials``; NaN in [0, 1] without trials."""
    low, high = binomial_interval(method)(successes, trials, level)
    value = successes / trials if trials else math.nan
    return Estimate(value, float(low), float(high), int(trials), level, method)


def exceedance(rank: int, n: int, level: float = DEFAULT_LEVEL) -> tuple[float, float]:
    """Interval of the share of a population that lies above its ``rank``-th largest of n.

    Whatever the continuous distribution, the share follows Beta(rank, n - rank + 1)
    (David & Nagaraja 2003, Order Statistics, sec. 7.2).
    """
    tail = (1 - check_level(level)) / 2
    return (
        float(betaincinv(rank, n - rank + 1, tail)),
        float(betaincinv(rank, n - rank + 1, 1 - tail)),
    )


def exceedance_band(
    counts: ArrayLike, n: int, level: float = DEFAULT_LEVEL
) -> tuple[FloatArray, FloatArray]:
    """Limits of the share above a threshold that hold for **all** thresholds at once.

    `exceedance` holds for one rank. Here it is applied to a geometric ladder of ranks, each with
    its part of the error (Bonferroni); a threshold between two rungs takes the rung on its safe
    side, since the share is monotone. Unlike a Kolmogorov band it stays tight in the far tail,
    and ties only widen it.

    Parameters
    ----------
    counts : (...) array of int
        How many of the n sample members lie at or above each threshold.
    """
    counts = np.asarray(counts, dtype=np.int64)
    rungs = np.unique(np.floor(1.25 ** np.arange(np.log(n) / np.log(1.25) + 1)).astype(np.int64))
    rungs = rungs[rungs <= n]
    tail = (1 - check_level(level)) / (2 * len(rungs))
    rung_low = np.append(0.0, betaincinv(rungs, n - rungs + 1, tail))
    rung_high = np.append(betaincinv(rungs, n - rungs + 1, 1 - tail), 1.0)
    return (
        rung_low[np.searchsorted(rungs, counts, side="right")],
        rung_high[np.searchsorted(rungs, counts + 1, side="left")],
    )


def each_of_two(level: float) -> float:
    """Level that each of two independent intervals needs to hold together at ``level``."""
    return math.sqrt(check_level(level))


def _check_counts(successes: FloatArray, trials: FloatArray) -> None:
    if np.any(successes < 0) or np.any(successes > trials):
        raise ScoreError("a proportion needs 0 <= successes <= trials; check the two counts")
