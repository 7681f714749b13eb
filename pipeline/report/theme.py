"""Colours and sizes of the report's figures, light and dark; blue and orange by Okabe & Ito."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

RESOLUTION_DPI = 170


@dataclass(frozen=True)
class Theme:
    """One set of colours.

    Attributes
    ----------
    name : ``light`` or ``dark``
    ink, faint, grid : of text, of secondary text, of lines behind the data
    lens, nonlens : of the data
    map_colours : of the lowest and the highest value of a sky map
    """

    name: str
    ink: str
    faint: str
    grid: str
    lens: str
    nonlens: str
    map_colours: tuple[str, str]


LIGHT = Theme(
    name="light",
    ink="#22262b",
    faint="#6b7178",
    grid="#dcdad4",
    lens="#c2500a",
    nonlens="#0072b2",
    map_colours=("#fbfaf7", "#7d8288"),
)
DARK = Theme(
    name="dark",
    ink="#e8e6e1",
    faint="#9ba1a8",
    grid="#363b42",
    lens="#f0893c",
    nonlens="#56b4e9",
    map_colours=("#1b1f24", "#8d939b"),
)


@dataclass(frozen=True)
class FigurePair:
    """One figure as PNG addresses for a light and for a dark page."""

    title: str
    caption: str
    light: str
    dark: str


def figure_pair(
    title: str,
    caption: str,
    draw: Callable[[Axes, Theme], None],
    size: tuple[float, float] = (6.2, 4.1),
    projection: str | None = None,
) -> FigurePair:
    """Draw a figure twice, once for each theme.

    Parameters
    ----------
    draw : puts the data on the axes
    size : inches
    projection : of the axes, as matplotlib names it
    """
    return FigurePair(title, caption, *(_png(draw, t, size, projection) for t in (LIGHT, DARK)))


def _png(
    draw: Callable[[Axes, Theme], None],
    theme: Theme,
    size: tuple[float, float],
    projection: str | None,
) -> str:
    png = panels_png([draw], theme, size, projection)
    return "data:image/png;base64," + base64.b64encode(png).decode()


def panels_png(
    draws: Sequence[Callable[[Axes, Theme], None]],
    theme: Theme,
    size: tuple[float, float],
    projection: str | None = None,
    background: str = "none",
) -> bytes:
    """Panels side by side, as a PNG.

    Parameters
    ----------
    draws : each puts its data on one panel
    size : of all of it, inches
    background : colour; ``none`` for a page's own
    """
    figure = Figure(figsize=size, layout="constrained", facecolor=background)
    FigureCanvasAgg(figure)
    for k, draw in enumerate(draws, start=1):
        axes = figure.add_subplot(1, len(draws), k, projection=projection)
        _dress(axes, theme, projection is None)
        draw(axes, theme)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=RESOLUTION_DPI, facecolor=background)
    return buffer.getvalue()


def _dress(axes: Axes, theme: Theme, plain: bool) -> None:
    axes.set_facecolor("none")
    axes.tick_params(
        colors=theme.faint, labelcolor=theme.faint, labelsize=9, length=3, which="both"
    )
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.ink)
        label.set_fontsize(10)
    for side, spine in axes.spines.items():
        spine.set_color(theme.grid if side in ("top", "right") else theme.faint)
        spine.set_visible(not plain or side not in ("top", "right"))
        spine.set_linewidth(0.8)
    axes.grid(True, color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)


def legend(axes: Axes, theme: Theme, columns: int) -> None:
    """A frameless legend above the axes, where no data can be behind it."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.99),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
        handlelength=1.4,
    )
