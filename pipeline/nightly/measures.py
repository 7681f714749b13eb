"""The figures that a night is compared by, each with its sampling error and what change matters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    # asking whether a night is done takes no tables
    import pyarrow as pa

QUANTILES = {"score_q50": 0.5, "score_q90": 0.9, "score_q99": 0.99}
# a quantile needs so many objects on its thin side
_LEAST_BEYOND = 5
# what matters: logits, relative widths and noise, shares
LEAST_SCORE_CHANGE = 0.25
LEAST_RELATIVE_CHANGE = 0.05
LEAST_SHARE_CHANGE = 0.02
LEAST_RANK_CHANGE = 0.05
CONDITIONS = ("noise_njy_", "psf_fwhm_arcsec_")


@dataclass(frozen=True)
class Figure:
    """One figure of a night.

    Attributes
    ----------
    value : its value
    error : its sampling error, one sigma
    n : objects that it rests on
    least_change : absolute; a smaller change is no alarm, however significant
    """

    value: float
    error: float
    n: int
    least_change: float

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Figure:
        """Read back what `asdict` gave."""
        return cls(facts["value"], facts["error"], facts["n"], facts["least_change"])


def quantile(values: ArrayLike, share: float, least_change: float) -> Figure:
    """A quantile; its error is half the distance of the order statistics one sigma off.

    The number of a sample's values below its quantile q is binomial, with a standard deviation of
    sqrt(n q (1 - q)), whatever the distribution.
    """
    known = np.sort(np.asarray(values, dtype=np.float64))
    n = len(known)
    step = math.sqrt(share * (1 - share) / n)
    low, middle, high = np.quantile(
        known, [max(share - step, 0.0), share, min(share + step, 1.0)]
    ).tolist()
    return Figure(middle, (high - low) / 2, n, least_change)


def proportion_figure(k: int, n: int, least_change: float = LEAST_SHARE_CHANGE) -> Figure:
    """A share k/n; its error takes half an object more, so that none of n is not certain."""
    smooth = (k + 0.5) / (n + 1)
    return Figure(k / n, math.sqrt(smooth * (1 - smooth) / n), n, least_change)


def object_figures(table: pa.Table, n_found: int, n_quarantined: int) -> dict[str, Figure]:
    """Score quantiles, conditions by band, and shares of rejected and out-of-domain objects."""
    scores = table["score"].to_numpy()
    figures = {
        name: quantile(scores, share, LEAST_SCORE_CHANGE)
        for name, share in QUANTILES.items()
        if len(scores) * (1 - share) >= _LEAST_BEYOND
    }
    for name in table.column_names:
        if name.startswith(CONDITIONS):
            values = np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64)
            values = values[np.isfinite(values)]
            if len(values):
                typical = abs(float(np.median(values)))
                figures[name] = quantile(values, 0.5, LEAST_RELATIVE_CHANGE * typical)
    figures["quarantined_share"] = proportion_figure(n_quarantined, n_found)
    outside = sum(bool(text) for text in table["out_of_domain"].to_pylist())
    figures["out_of_domain_share"] = proportion_figure(outside, table.num_rows)
    return figures


def rank_figure(scores: Sequence[float], night: NDArray[np.float64]) -> Figure:
    """Median share of the night's objects that reach each of some scores.

    Parameters
    ----------
    scores : of known objects, finite
    night : (N,) scores of the night
    """
    ordered = np.sort(night)
    above = 1 - np.searchsorted(ordered, np.asarray(scores), side="left") / len(ordered)
    share = float(np.median(above))
    error = math.sqrt(max(share * (1 - share), 1 / len(ordered)) / len(ordered))
    return Figure(share, error, len(above), LEAST_RANK_CHANGE)


def labelled_figures(
    kind: str, labels: ArrayLike, scores: ArrayLike, night: NDArray[np.float64]
) -> dict[str, Figure]:
    """Ranks of known lenses and non-lenses among the night's objects.

    Parameters
    ----------
    kind : ``sentinel`` or ``injected``, in the figures' names
    labels, scores : (M,), a score that is not finite counts as the lowest
    """
    truth = np.asarray(labels)
    values = np.nan_to_num(np.asarray(scores, np.float64), nan=-np.inf)
    names: Mapping[str, int] = {"lens": 1, "nonlens": 0}
    return {
        f"{kind}_{name}_rank": rank_figure(values[truth == label].tolist(), night)
        for name, label in names.items()
        if (truth == label).any()
    }
