"""Figures of the evaluation: maps in Mollweide's projection, r_l, completeness."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import healpy as hp
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.report.theme import LIGHT, Theme, legend, panels_png

COLOURS = ("#0072b2", "#c2500a", "#009e73", "#7a4fa3", "#5d6670", "#b8860b")
_GRID = (800, 400)

Draw = Callable[[Axes, Theme], None]


def mollweide_png(maps: Mapping[str, Floats], seen: NDArray[np.bool_]) -> bytes:
    """Maps side by side on one scale, east to the left.

    Parameters
    ----------
    maps : (n_pixels,) by title, ICRS, RING
    seen : (n_pixels,) pixels to draw
    """
    limit = max(float(np.percentile(np.abs(m[seen]), 99)) for m in maps.values())
    draws = [_sky(title, values, seen, limit) for title, values in maps.items()]
    return panels_png(draws, LIGHT, (5.2 * len(draws), 3.6), background="white")


def correlation_png(figures: Mapping[str, Any]) -> bytes:
    """r_l of each method; bars are the scatter of a single sky."""

    def draw(axes: Axes, theme: Theme) -> None:
        for (name, bands), colour in zip(_bands(figures).items(), COLOURS, strict=False):
            ell = [np.sqrt(b["ell_min"] * (b["ell_max"] + 1)) for b in bands]
            value = [np.nan if b["value"] is None else b["value"] for b in bands]
            scatter = [b["scatter"] or 0.0 for b in bands]
            axes.errorbar(ell, value, yerr=scatter, color=colour, marker="o", ms=4, label=name)
        axes.set(xscale="log", xlabel="degree ℓ", ylabel="correlation with the true κ", ylim=(0, 1))
        legend(axes, theme, 2)

    return panels_png([draw], LIGHT, (6.2, 4.1), background="white")


def completeness_png(figures: Mapping[str, Any]) -> bytes:
    """Completeness against mass and redshift: a panel each, a line for each density and method."""
    draws = [
        _completeness(figures, "by_mass", "m200c_msun", "M200c (10¹⁴ solar masses)", 1e14),
        _completeness(figures, "by_redshift", "redshift", "redshift", 1.0),
    ]
    return panels_png(draws, LIGHT, (11.5, 4.4), background="white")


def _sky(title: str, values: Floats, seen: NDArray[np.bool_], limit: float) -> Draw:
    lon, lat = _mollweide_grid()
    on_sky = np.isfinite(lon)
    pixels = hp.ang2pix(hp.npix2nside(len(values)), lon[on_sky], lat[on_sky], lonlat=True)
    shown = np.full(lon.shape, np.nan)
    shown[on_sky] = np.where(seen[pixels], values[pixels], np.nan)

    def draw(axes: Axes, theme: Theme) -> None:
        axes.set_axis_off()
        image = axes.imshow(
            shown, cmap="RdBu_r", vmin=-limit, vmax=limit, extent=(-2, 2, -1, 1), origin="lower"
        )
        turn = np.linspace(0, 2 * np.pi, 200)
        axes.plot(2 * np.cos(turn), np.sin(turn), color=theme.faint, linewidth=0.8)
        axes.set_title(title, color=theme.ink, size=11)
        bar = axes.figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.6, pad=0.04)
        bar.ax.tick_params(labelsize=8)

    return draw


def _mollweide_grid() -> tuple[Floats, Floats]:
    """Longitude and latitude (degrees) of each point of the page, NaN beside the sky."""
    x, y = np.meshgrid(np.linspace(-2, 2, _GRID[0]), np.linspace(-1, 1, _GRID[1]))
    theta = np.arcsin(y)
    lat = np.degrees(np.arcsin((2 * theta + np.sin(2 * theta)) / np.pi))
    beside = x**2 / 4 + y**2 >= 1
    lon = -90 * np.divide(x, np.cos(theta), out=np.full(x.shape, np.nan), where=~beside)
    return lon, lat


def _completeness(
    figures: Mapping[str, Any], table: str, column: str, label: str, unit: float
) -> Draw:
    lists = {name: one["haloes"] for name, one in figures.items() if "haloes" in one}

    def draw(axes: Axes, theme: Theme) -> None:
        for (name, one), colour in zip(lists.items(), COLOURS, strict=False):
            styles = zip(one["at_false_per_sq_deg"].items(), ("-", "--", ":"), strict=False)
            for (density, at), style in styles:
                bins = [b for b in at[table] if b["value"] is not None]
                _draw_bins(axes, bins, column, unit, f"{name}, {density} false", colour, style)
        axes.set(xlabel=label, ylabel="completeness", ylim=(0, 1.02))
        legend(axes, theme, 2)

    return draw


def _draw_bins(
    axes: Axes,
    bins: Sequence[Mapping[str, Any]],
    column: str,
    unit: float,
    label: str,
    colour: str,
    style: str,
) -> None:
    low = np.array([b[column][0] for b in bins])
    # an open bin is drawn as wide as it starts
    high = np.array([b[column][1] or 1.5 * b[column][0] for b in bins])
    value, bottom, top = (np.array([b[key] for b in bins]) for key in ("value", "low", "high"))
    errors = (value - bottom, top - value)
    centre = (low + high) / 2 / unit
    axes.errorbar(centre, value, yerr=errors, color=colour, ls=style, marker="o", ms=4, label=label)


def _bands(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one["map"]["r_ell"] for name, one in figures.items() if "map" in one}
