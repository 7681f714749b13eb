"""Is this night like the accepted ones before it?

Each figure of the night, such as the median noise, is compared with the same figure of N trailing
nights, mean m and scatter s, by Student's t with N - 1 degrees of freedom:

    t = (x - m) / sqrt(s² (1 + 1/N) + e²),

the interval of prediction of one more night, widened by e, the figure's own sampling error. The
scatter of the trailing nights holds their sampling errors already, so the test errs to the quiet
side where nights are small. An alarm needs p below the level divided by the number of figures
(Bonferroni), **and** a change that matters: with many objects the smallest shift is significant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.special import stdtr

from equilens.pipeline.nightly.config import DriftRule
from equilens.pipeline.nightly.measures import Figure

State = Literal["steady", "alarm", "untested"]


@dataclass(frozen=True)
class DriftCheck:
    """One figure beside those of trailing nights.

    Attributes
    ----------
    name : of the figure
    value, error, n : of this night
    state : ``untested`` where too few nights have the figure
    n_nights : that it was compared with
    mean, scatter : of those nights; None where untested
    t, p : of the test above
    p_limit : below which p counts
    least_change : that matters
    """

    name: str
    value: float
    error: float
    n: int
    state: State
    n_nights: int
    mean: float | None = None
    scatter: float | None = None
    t: float | None = None
    p: float | None = None
    p_limit: float | None = None
    least_change: float = 0.0

    def __str__(self) -> str:
        if self.mean is None:
            return f"{self.name} = {self.value:.4g}: only {self.n_nights} nights to compare with"
        return (
            f"{self.name} = {self.value:.4g} against {self.mean:.4g} ± {self.scatter:.2g} of "
            f"{self.n_nights} nights (t = {self.t:.3g}, p = {self.p:.2g}, limit {self.p_limit:.2g};"
            f" at least {self.least_change:.2g} matters)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values; an infinite t, of nights without any scatter, as None."""
        facts = asdict(self)
        return {k: None if v in (math.inf, -math.inf) else v for k, v in facts.items()}


def check_drift(
    now: Mapping[str, Figure], before: Sequence[Mapping[str, Figure]], rule: DriftRule
) -> list[DriftCheck]:
    """Compare every figure of a night with those of trailing nights.

    Parameters
    ----------
    now : figures of the night, by name
    before : of each accepted night before it, the latest last; scores of one network only
    """
    past = {
        name: [night[name].value for night in before if name in night][-rule.nights :]
        for name in now
    }
    n_tested = sum(len(values) >= rule.least_nights for values in past.values())
    return [
        _untested(name, figure, len(past[name]))
        if len(past[name]) < rule.least_nights
        else _tested(name, figure, np.array(past[name]), rule.level / n_tested)
        for name, figure in now.items()
    ]


def _untested(name: str, figure: Figure, n_nights: int) -> DriftCheck:
    return DriftCheck(name, figure.value, figure.error, figure.n, "untested", n_nights)


def _tested(name: str, figure: Figure, past: np.ndarray, p_limit: float) -> DriftCheck:
    n, mean, scatter = len(past), float(past.mean()), float(past.std(ddof=1))
    change = figure.value - mean
    width = math.hypot(scatter * math.sqrt(1 + 1 / n), figure.error)
    t = change / width if width > 0 else math.copysign(math.inf, change) if change else 0.0
    p = float(2 * stdtr(n - 1, -abs(t)))
    is_alarm = p < p_limit and abs(change) > figure.least_change
    return DriftCheck(
        name,
        figure.value,
        figure.error,
        figure.n,
        "alarm" if is_alarm else "steady",
        n,
        mean,
        scatter,
        t,
        p,
        p_limit,
        figure.least_change,
    )
