"""The report's section on the selection function, and the picture beside its file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from equilens.catalogs.intervals import proportion
from equilens.catalogs.selection import Denominator, HeldOutCheck, SelectionFunction
from equilens.pipeline.report.theme import (
    LIGHT,
    FigurePair,
    Theme,
    figure_pair,
    legend,
    panels_png,
)

LABELS = {
    "einstein_radius_arcsec": "Einstein radius (arcsec)",
    "arc_snr": "arc signal-to-noise ratio",
    "lens_mag": "magnitude of the lens (AB)",
    "source_mag": "magnitude of the source (AB)",
    "psf_fwhm_arcsec": "PSF width (FWHM, arcsec)",
    "depth_mag": "five-sigma depth (AB)",
}
PANEL_SIZE = (5.2, 3.9)
Draw = Callable[[Axes, Theme], None]


def selection_section(function: SelectionFunction, bins: pa.Table) -> dict[str, Any]:
    """What the page shows of a selection function."""
    bars = "Bars: 95\u00a0% intervals (Clopper–Pearson); line: mean of the smooth model in the bin."
    which = _capital(function.denominator.kind)
    figures = []
    for axis in function.axes:
        rows = _single(bins, axis.column)
        caption = f"{which}; {_counts_text(rows)} a bin. {bars}"
        title = f"Completeness against {_label(axis.column).split(' (')[0]}"
        figures.append(figure_pair(title, caption, _bins_drawer(function, rows)))
    pair = _pair(bins)
    if pair:
        total = sum(row["n"] for row in pair)
        caption = f"{total:,} lenses; in each cell completeness, and below it the number of lenses."
        figures.append(figure_pair("Completeness in cells", caption, _cells_drawer(function, pair)))
    figures.append(check_figure(function.check))
    return {
        "cut": f"Found means {function.cut}.",
        "denominator": _denominator_text(function.denominator),
        "check": check_text(function.check),
        "figures": figures,
    }


def _denominator_text(counts: Denominator) -> str:
    """What completeness is a share of, and what it comes to over all."""
    overall = proportion(counts.n_found, counts.n_counted).with_interval(".3f")
    which = f"all {counts.n_counted:,} injected lenses"
    if counts.arc_snr_from is not None:
        which = (
            f"the {counts.n_counted:,} lenses that count ({counts.kind}) of the "
            f"{counts.n_injected:,} injected"
        )
    text = f"Found are {counts.n_found:,} of {which}: {overall}."
    if counts.n_unknown:
        text += (
            f" The smooth model leaves out {counts.n_unknown:,}, of which a property is unknown."
        )
    return text


def _counts_text(rows: Sequence[dict[str, Any]]) -> str:
    """Fewest and most lenses of the bins."""
    fewest, most = min(row["n"] for row in rows), max(row["n"] for row in rows)
    return f"{fewest:,} lenses" if fewest == most else f"{fewest:,} to {most:,} lenses"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def check_text(check: HeldOutCheck) -> str:
    """How the smooth model does on parents that it was not fitted to, in a sentence."""
    gained = 1 - check.log_loss / check.log_loss_constant
    return (
        f"The smooth model explains {gained:.1%} of the log-loss of {check.n:,} lenses of "
        f"{check.n_parents:,} held-out parents; predicted against observed in {len(check.bins)} "
        f"bins: χ² = {check.statistic:.1f}, p = {check.p_value:.2g}."
    )


def check_figure(check: HeldOutCheck) -> FigurePair:
    """Observed against predicted completeness of held-out parents."""
    value, low, high = (
        np.array([getattr(b.observed, name) for b in check.bins])
        for name in ("value", "low", "high")
    )
    predicted = np.array([b.predicted for b in check.bins])

    def draw(axes: Axes, theme: Theme) -> None:
        axes.plot((0, 1), (0, 1), color=theme.faint, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.errorbar(
            predicted, value, yerr=(value - low, high - value), fmt="o", color=theme.lens,
            markersize=4.5,
        )  # fmt: skip
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.set(xlabel="predicted completeness", ylabel="observed completeness")

    caption = (
        f"{check.n:,} lenses of {check.n_parents:,} parents, each predicted without its parent. "
        "Bars: 95\u00a0% intervals (Clopper–Pearson)."
    )
    return figure_pair("The smooth model on held-out parents", caption, draw)


def selection_picture(function: SelectionFunction, bins: pa.Table) -> bytes:
    """Completeness against the first two columns, and in cells of both, as a PNG."""
    draws = [_bins_drawer(function, _single(bins, a.column)) for a in function.axes[:2]]
    if _pair(bins):
        draws.append(_cells_drawer(function, _pair(bins)))
    width, height = PANEL_SIZE
    return panels_png(draws, LIGHT, (width * len(draws), height), background="white")


def _single(bins: pa.Table, name: str) -> list[dict[str, Any]]:
    rows = bins.to_pylist()
    return [r for r in rows if r["column"] == name and r["column_2"] is None and r["n"]]


def _pair(bins: pa.Table) -> list[dict[str, Any]]:
    return [row for row in bins.to_pylist() if row["column_2"] is not None]


def _label(name: str) -> str:
    return LABELS.get(name, name.replace("_", " "))


def _is_log(function: SelectionFunction, name: str) -> bool:
    return next(axis.scale for axis in function.axes if axis.column == name) == "log10"


def _bins_drawer(function: SelectionFunction, rows: Sequence[dict[str, Any]]) -> Draw:
    name = rows[0]["column"]
    log = _is_log(function, name)
    lower, upper, value, low, high, model = (
        np.array([np.nan if row[key] is None else row[key] for row in rows])
        for key in ("lower", "upper", "completeness", "low", "high", "model")
    )
    middle = np.sqrt(lower * upper) if log else (lower + upper) / 2

    def draw(axes: Axes, theme: Theme) -> None:
        axes.hlines(value, lower, upper, color=theme.lens, linewidth=1, alpha=0.4)
        axes.errorbar(
            middle, value, yerr=(value - low, high - value), fmt="o", color=theme.lens,
            markersize=4.5, elinewidth=1.4, label="observed",
        )  # fmt: skip
        axes.plot(middle, model, color=theme.nonlens, linewidth=1.4, label="smooth model")
        share = f"completeness ({function.denominator.kind})"
        axes.set(ylim=(0, 1.02), xlabel=_label(name), ylabel=share)
        if log:
            _plain_decades(axes, "x")
        legend(axes, theme, 2)

    return draw


def _cells_drawer(function: SelectionFunction, rows: Sequence[dict[str, Any]]) -> Draw:
    first, second = rows[0]["column"], rows[0]["column_2"]
    edges = [
        np.unique([row[f"{end}{mark}"] for row in rows for end in ("lower", "upper")])
        for mark in ("", "_2")
    ]
    shape = (len(edges[0]) - 1, len(edges[1]) - 1)
    values = np.array([np.nan if r["completeness"] is None else r["completeness"] for r in rows])

    def draw(axes: Axes, theme: Theme) -> None:
        colours = LinearSegmentedColormap.from_list("cells", theme.map_colours)
        axes.grid(False)
        axes.pcolormesh(*edges, values.reshape(shape).T, cmap=colours, vmin=0, vmax=1)
        logs = [_is_log(function, name) for name in (first, second)]
        for row in rows:
            x, y = (_middle(row, mark, log) for mark, log in zip(("", "_2"), logs, strict=True))
            text = f"{row['completeness']:.2f}\n{row['n']}" if row["n"] else "none"
            axes.text(x, y, text, size=7, color=theme.ink, ha="center", va="center")
        axes.set(xlabel=_label(first), ylabel=_label(second))
        axes.set_title("completeness, and number of lenses", size=9, color=theme.faint, loc="left")
        for log, which in zip(logs, "xy", strict=True):
            if log:
                _plain_decades(axes, which)

    return draw


def _plain_decades(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers, at 1, 2 and 5 where it spans few decades."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    few = np.log10(high / low) < 2.5
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _middle(row: dict[str, Any], mark: str, log: bool) -> float:
    lower, upper = row[f"lower{mark}"], row[f"upper{mark}"]
    return float(np.sqrt(lower * upper) if log else (lower + upper) / 2)
