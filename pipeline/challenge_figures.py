"""A challenge's plots: figures against the faintest lens, and the published ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes

from equilens.catalogs.challenge_curves import FEW_LENSES, FIGURES, CurvePoint, MinimumCurve
from equilens.catalogs.ranking import METRICS, RankedRow
from equilens.pipeline.report.theme import LIGHT, Theme, panels_png

PAGE = "white"
CURVE_SIZE, RANKING_WIDTH, ROW_HEIGHT = (15.5, 3.7), 12.0, 0.3
NAMES = {"auroc": "AUROC", "tpr0": "TPR0", "tpr10": "TPR10"}
Draw = Callable[[Axes, Theme], None]


def curve_png(curve: MinimumCurve) -> bytes:
    """AUROC, TPR0, TPR10 and the lenses left, against the minimum of one quantity."""
    draws: list[Draw] = [partial(_draw_figure, curve, name) for name in FIGURES]
    return panels_png([*draws, partial(_draw_share, curve)], LIGHT, CURVE_SIZE, background=PAGE)


def _draw_figure(curve: MinimumCurve, name: str, axes: Axes, theme: Theme) -> None:
    known = [point for point in curve.points if getattr(point, name) is not None]
    if known:
        value, low, high = (
            np.array([getattr(getattr(point, name), part) for point in known])
            for part in ("value", "low", "high")
        )
        minima = [point.minimum for point in known]
        axes.fill_between(minima, low, high, color=theme.lens, alpha=0.2, linewidth=0)
        axes.plot(minima, value, color=theme.lens, linewidth=1.6, marker="o", markersize=3)
    else:
        axes.text(0.5, 0.5, "too few non-lenses", transform=axes.transAxes, ha="center")
    level = curve.points[0].auroc.level
    _finish(curve, axes, theme, f"{NAMES[name]} ({level:.0%} interval)")
    if name == "auroc":
        # from chance up: nothing is lost by cutting the empty lower half off
        axes.set_ylim(min([0.5, *(point.auroc.low for point in known)]), 1.01)


def _draw_share(curve: MinimumCurve, axes: Axes, theme: Theme) -> None:
    minima = [point.minimum for point in curve.points]
    share = [point.n_lenses / curve.n_lenses for point in curve.points]
    axes.plot(minima, share, color=theme.nonlens, linewidth=1.6, marker="o", markersize=3)
    _finish(curve, axes, theme, "share of the lenses left")


def _finish(curve: MinimumCurve, axes: Axes, theme: Theme, label: str) -> None:
    few = _first_with_few(curve.points)
    if few is not None:
        axes.axvline(few.minimum, color=theme.faint, linewidth=0.9, linestyle=":")
    minima = np.array([point.minimum for point in curve.points])
    # fluxes run over decades, and the faintest lens may have none
    positive = minima[minima > 0]
    if len(positive) and positive[-1] > 30 * positive[0]:
        axes.set_xscale("symlog", linthresh=float(positive[0]))
        axes.set_xlim(left=min(0.0, float(minima[0])))
    axes.set(xlabel=f"least {curve.quantity.label}", ylabel=label, ylim=(0, 1.02))
    first, last = curve.points[0], curve.points[-1]
    counts = f"{first.n_lenses:,} to {last.n_lenses:,} lenses, {first.n_nonlenses:,} non-lenses"
    axes.set_title(counts, size=8, color=theme.faint)


def _first_with_few(points: Sequence[CurvePoint]) -> CurvePoint | None:
    return next((point for point in points if point.n_lenses <= FEW_LENSES), None)


def ranking_png(rows: Sequence[RankedRow]) -> bytes:
    """The published entries and the submission, a panel for each figure, in the order of AUROC."""
    draws = [partial(_draw_ranking, rows, metric) for metric in METRICS]
    size = (RANKING_WIDTH, 1.2 + ROW_HEIGHT * len(rows))
    return panels_png(draws, LIGHT, size, background=PAGE)


def _draw_ranking(rows: Sequence[RankedRow], metric: str, axes: Axes, theme: Theme) -> None:
    for height, row in enumerate(reversed(rows)):
        value = getattr(row, metric)
        if value is None:
            continue
        colour = theme.lens if row.is_ours else theme.nonlens
        if metric in row.intervals:
            axes.hlines(height, *row.intervals[metric], color=colour, linewidth=1.6)
        axes.plot(value, height, marker="D" if row.is_ours else "o", color=colour, markersize=5)
    axes.set_yticks(range(len(rows)))
    # names once, at the left; the panels share their rows
    named = metric == METRICS[0]
    axes.set_yticklabels([row.name if named else "" for row in reversed(rows)], size=8)
    axes.set(xlabel=NAMES[metric], ylim=(-0.6, len(rows) - 0.4))
    ours = next(row for row in rows if row.is_ours)
    theirs = next(row for row in rows if not row.is_ours)
    counts = f"among {ours.n_nonlenses:,} non-lenses (diamond), about {theirs.n_nonlenses:,} (dots)"
    axes.set_title(counts, size=8, color=theme.faint)
