"""The report's section on a mass map of simulated shear: the map, its peaks, and the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import healpy as hp
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes

from equilens.catalogs.halo_matching import match_one_to_one
from equilens.catalogs.intervals import proportion
from equilens.pipeline.report.theme import FigurePair, Theme, figure_pair
from equilens.pipeline.skymaps import SkyMapStore

MATCH_RADIUS_ARCMIN = 4.0
N_PEAKS = 15
_CELLS = 220
_SIZE = (5.2, 4.6)
Draw = Callable[[Axes, Theme], None]


@dataclass(frozen=True)
class MappedSky:
    """A sky of simulated shear, mapped, and its truth.

    Attributes
    ----------
    mass : map with KAPPA
    truth : map with the true convergence of each redshift bin
    peaks : list in the columns of `equilens.catalogs.peaks`
    haloes : true ones: ra_deg, dec_deg, redshift, m200c_msun
    area_sq_deg : searched for peaks
    mapper : name and hash of what made the map
    """

    mass: SkyMapStore
    truth: SkyMapStore
    peaks: pa.Table
    haloes: pa.Table
    area_sq_deg: float
    mapper: str


def mass_section(sky: MappedSky) -> dict[str, Any]:
    """What the page shows of a mass map."""
    best = best_peaks(sky)
    n_real = sum(row["halo"] is not None for row in best)
    share = proportion(n_real, len(best))
    return {
        "mapper": sky.mapper,
        "area": f"{sky.area_sq_deg:.0f}",
        "n_peaks": sky.peaks.num_rows,
        "n_haloes": sky.haloes.num_rows,
        "least_mass": f"{_column(sky.haloes, 'm200c_msun').min() / 1e14:.0f}e14",
        "radius": f"{MATCH_RADIUS_ARCMIN:g}",
        "matched": f"{n_real} of the {len(best)} best peaks "
        f"({share.low:.0%} to {share.high:.0%}, 95 % interval)",
        "peaks": best,
        "figures": [_figure(sky, best, estimated) for estimated in (True, False)],
    }


def best_peaks(sky: MappedSky) -> list[dict[str, Any]]:
    """The best peaks, each with the true halo that it has, or None."""
    peaks = {name: _column(sky.peaks, name) for name in ("ra", "dec", "score")}
    halo = {
        name: _column(sky.haloes, name) for name in ("ra_deg", "dec_deg", "m200c_msun", "redshift")
    }
    order = np.argsort(-peaks["score"])[:N_PEAKS]
    place = (peaks["ra"][order], peaks["dec"][order])
    found = match_one_to_one(
        *place,
        peaks["score"][order],
        halo["ra_deg"],
        halo["dec_deg"],
        halo["m200c_msun"],
        MATCH_RADIUS_ARCMIN,
    )
    return [
        {
            "ra": float(ra),
            "dec": float(dec),
            "score": float(score),
            "halo": None if k < 0 else _halo_text(halo["m200c_msun"][k], halo["redshift"][k]),
        }
        for ra, dec, score, k in zip(*place, peaks["score"][order], found, strict=True)
    ]


def _halo_text(mass: float, redshift: float) -> str:
    return f"{mass / 1e14:.1f}e14 solar masses at z = {redshift:.2f}"


def _figure(sky: MappedSky, best: list[dict[str, Any]], estimated: bool) -> FigurePair:
    """The mapped convergence, or the true one, with the best peaks drawn in."""
    centre = _centre(sky.mass)
    x, y, half = _grid(sky.mass, centre)
    true = _true_kappa(sky.truth, *_sky(x, y, centre))
    seen = np.isfinite(_look_up(sky.mass, "KAPPA", *_sky(x, y, centre)))
    kappa = _look_up(sky.mass, "KAPPA", *_sky(x, y, centre)) if estimated else true
    limit = float(np.nanpercentile(np.abs(kappa[seen]), 99.5))
    px, py = _plane(
        np.array([row["ra"] for row in best]), np.array([row["dec"] for row in best]), centre
    )

    def draw(axes: Axes, theme: Theme) -> None:
        extent = (half, -half, -half, half)
        shown = np.where(seen, kappa, np.nan)[:, ::-1]
        axes.imshow(shown, extent=extent, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.scatter(px, py, s=70, facecolor="none", edgecolor=theme.lens, linewidth=1.6)
        axes.set(xlabel="degrees east of the centre", ylabel="degrees north", aspect="equal")

    if estimated:
        caption = f"Convergence by {sky.mapper}; circles: its {len(best)} best peaks."
        return figure_pair("Mass from shear", caption, draw, _SIZE)
    caption = "True convergence of the simulation, with the same circles. Its own scale of colours."
    return figure_pair("The mass that is there", caption, draw, _SIZE)


def _column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy().astype(float)


def _centre(store: SkyMapStore) -> tuple[float, float]:
    """Right ascension and declination of the middle of what is mapped, degrees."""
    seen = np.flatnonzero(np.isfinite(store.read("KAPPA", "ring", np.nan)))
    middle = np.mean(hp.pix2vec(store.nside, seen), axis=1)
    lon, lat = hp.vec2ang(middle, lonlat=True)
    return float(lon[0]), float(lat[0])


def _grid(store: SkyMapStore, centre: tuple[float, float]) -> tuple[np.ndarray, np.ndarray, float]:
    """Offsets of the picture's points, degrees, and half its side."""
    seen = np.flatnonzero(np.isfinite(store.read("KAPPA", "ring", np.nan)))
    lon, lat = hp.pix2ang(store.nside, seen, lonlat=True)
    half = float(np.max(np.abs(_plane(lon, lat, centre))))
    x, y = np.meshgrid(np.linspace(-half, half, _CELLS), np.linspace(-half, half, _CELLS))
    return x, y, half


def _plane(
    ra: np.ndarray, dec: np.ndarray, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets east and north, degrees, in the sinusoidal projection about the centre."""
    east = (ra - centre[0] + 180) % 360 - 180
    return east * np.cos(np.radians(dec)), dec - centre[1]


def _sky(
    x: np.ndarray, y: np.ndarray, centre: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    dec = np.clip(centre[1] + y, -89.9, 89.9)
    return (centre[0] + x / np.cos(np.radians(dec))) % 360, dec


def _look_up(store: SkyMapStore, name: str, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    return store.lookup(ra.ravel(), dec.ravel(), [name])[name].reshape(ra.shape)


def _true_kappa(truth: SkyMapStore, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Mean over the redshift bins."""
    maps: Mapping[str, np.ndarray] = truth.lookup(ra.ravel(), dec.ravel(), list(truth.columns))
    return np.mean(list(maps.values()), axis=0).reshape(ra.shape)
