"""The report's section on calibration: reliability diagram, and what a cut would select."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.special import logit

from equilens.catalogs.calibration_purity import Cut
from equilens.catalogs.calibration_quality import ReliabilityBin
from equilens.catalogs.calibration_result import CalibrationResult
from equilens.catalogs.intervals import Estimate
from equilens.pipeline.report.theme import FigurePair, Theme, figure_pair, legend

LEAST_SHOWN = 1e-6
SHOWN_PROBABILITIES = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999)


def calibration_section(result: CalibrationResult) -> dict[str, Any]:
    """What the page shows of a calibration."""
    about, error = result.calibration.fitted_on, result.quality.error
    before = result.uncalibrated.error.value
    return {
        "fit": (
            f"A {result.calibration.family} calibration, fitted to {about.n_lenses:,} lenses and "
            f"{about.n_nonlenses:,} non-lenses of {about.n_parents:,} parents."
            + "".join(f" {note[0].upper()}{note[1:]}." for note in result.notes)
        ),
        "quality": (
            "On held-out parents its expected calibration error is "
            f"{error.value.with_interval('.4f')}, against {before.value:.4f} for the bare "
            f"scores; perfect probabilities would show {error.if_calibrated.with_interval('.4f')}"
            f" in {error.value.n:,} objects."
        ),
        "purity_statement": result.purity_statement[0].upper() + result.purity_statement[1:],
        "figures": [reliability_figure(result), purity_figure(result)],
        "density": (
            f"Expected where one object in {1 / result.density.per_object:,.0f} is a lens, and a "
            f"square degree holds {result.density.per_square_degree:g} lenses."
        ),
        "cuts": [_cut_row(cut) for cut in result.cuts],
        "caption": (
            f"{result.level:.0%} intervals in brackets. Purity and candidates: from the rates of "
            f"{about.n_lenses:,} lenses and {about.n_nonlenses:,} non-lenses. By probability: mean "
            "calibrated probability of the selected; where the two differ, believe neither."
        ),
    }


def _cut_row(cut: Cut) -> tuple[str, ...]:
    return (
        f"{cut.threshold:.3f}",
        cut.completeness.with_interval(".3f"),
        cut.fpr.with_interval(".2g"),
        _numbers(cut.candidates_per_square_degree),
        cut.purity.with_interval(".2g"),
        f"{cut.smooth_purity:.2g}",
    )


def _numbers(estimate: Estimate) -> str:
    """Whole numbers from a hundred on, three digits below."""
    value, low, high = (
        f"{x:,.0f}" if x >= 100 else f"{x:.3g}"
        for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low}, {high}]"


def reliability_figure(result: CalibrationResult) -> FigurePair:
    """Share of lenses against probability, both on a log-odds axis, before and after."""
    before, after = result.uncalibrated.reliability, result.quality.reliability

    def draw(axes: Axes, theme: Theme) -> None:
        _draw_bins(axes, before, "bare scores", theme.nonlens)
        _draw_bins(axes, after, "calibrated", theme.lens)
        ticks = logit(SHOWN_PROBABILITIES)
        labels = [f"{p:g}" for p in SHOWN_PROBABILITIES]
        axes.plot(ticks[[0, -1]], ticks[[0, -1]], color=theme.faint, linestyle=(0, (4, 3)))
        axes.set_xticks(ticks, labels)
        axes.set_yticks(ticks, labels)
        axes.set(xlim=ticks[[0, -1]], ylim=ticks[[0, -1]])
        axes.set(xlabel="mean probability", ylabel="share of lenses")
        legend(axes, theme, 2)

    counts = sorted({b.share_of_lenses.n for b in after})
    size = " to ".join(f"{n:,}" for n in dict.fromkeys((counts[0], counts[-1])))
    caption = (
        f"{len(after)} bins of {size} objects, none of whose parents was in the fit; bars: "
        f"{result.level:.0%} intervals (Clopper–Pearson). Axes in log-odds; points beyond lie on "
        "the edge."
    )
    return figure_pair("Probabilities against what came true", caption, draw)


def _draw_bins(axes: Axes, bins: Sequence[ReliabilityBin], label: str, colour: str) -> None:
    x = _log_odds([b.mean_probability for b in bins])
    value, low, high = (
        _log_odds([getattr(b.share_of_lenses, name) for b in bins])
        for name in ("value", "low", "high")
    )
    axes.errorbar(
        x,
        value,
        yerr=(value - low, high - value),
        fmt="o",
        color=colour,
        markersize=4.5,
        elinewidth=1.4,
        label=label,
    )


def _log_odds(probabilities: Sequence[float]) -> np.ndarray:
    return logit(np.clip(probabilities, SHOWN_PROBABILITIES[0], SHOWN_PROBABILITIES[-1]))


def purity_figure(result: CalibrationResult) -> FigurePair:
    """Expected purity against completeness, one point a cut."""
    cuts = [cut for cut in result.cuts if np.isfinite(cut.purity.value)]
    completeness = np.array([cut.completeness.value for cut in cuts])
    value, low, high = (
        np.array([getattr(cut.purity, name) for cut in cuts]) for name in ("value", "low", "high")
    )
    smooth = np.array([cut.smooth_purity for cut in cuts])

    def draw(axes: Axes, theme: Theme) -> None:
        axes.fill_between(completeness, low, high, color=theme.lens, alpha=0.2, linewidth=0)
        axes.plot(completeness, value, color=theme.lens, linewidth=1.8, label="from the rates")
        axes.plot(completeness, smooth, color=theme.nonlens, linewidth=1.2, label="by probability")
        axes.set(xlim=(0, 1), yscale="log", xlabel="completeness", ylabel="expected purity")
        axes.set_ylim(max(0.5 * min(value.min(), smooth.min()), LEAST_SHOWN), 1.3)
        legend(axes, theme, 2)

    verified = "" if result.purity_verified else " Unverified on the real sky."
    caption = (
        f"One object in {1 / result.density.per_object:,.0f} a lens. Band: {result.level:.0%} "
        f"interval, from both rates.{verified}"
    )
    return figure_pair("Expected purity", caption, draw)
