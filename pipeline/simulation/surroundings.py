"""What stands around, or in front of, the central object: field galaxies, stars, their light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.simulation.conditions import SurveyConditions, flux_njy
from equilens.pipeline.simulation.galaxies import add_early_type
from equilens.pipeline.simulation.populations import Neighbours
from equilens.pipeline.simulation.scenes import Centrals, SceneBuilder

_STAR_RADIUS_PIXELS = 0.35
_SPIKE_WIDTH_PIXELS = 0.8  # half-light, across
_HALO_SHARE, _SPIKE_SHARE = (0.02, 0.1), (0.01, 0.06)


def add_neighbours(scene: SceneBuilder, n: Neighbours, pixel_scale: float) -> None:
    """Add field galaxies and stars; stars are narrower than a pixel before the PSF."""
    rng, k = scene.rng, len(n.owner)
    if not k:
        return
    is_star = n.radius < 0.02
    radius = np.where(is_star, _STAR_RADIUS_PIXELS * pixel_scale, n.radius)
    index = np.where(is_star, 0.5, np.clip(rng.lognormal(0.2, 0.4, k), 0.6, 3.0))
    ratio = np.where(is_star, 1.0, rng.uniform(0.25, 1.0, k))
    colours = scene.colours(n.redshift, n.youth)
    angle = rng.uniform(0, np.pi, k)
    scene.add_sersic(n.owner, n.x, n.y, radius, index, ratio, angle, flux_njy(n.mag), colours)


def add_star_fields(scene: SceneBuilder, c: Centrals, pixel_scale: float) -> None:
    """Add the class of stars: a bright one at the centre, or stars that blend with a galaxy.

    A third are alone, with halo and spikes; a third have a star before a galaxy; the others are
    two to four stars close together.
    """
    rng, n = scene.rng, len(c)
    kind = rng.integers(0, 3, n)
    boost = np.where(kind == 0, 10 ** rng.uniform(0, 2.0, n), 10 ** rng.uniform(-0.6, 0.4, n))
    turn, distance = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.2, 1.5, n) * (kind == 1)
    x, y = c.x + distance * np.cos(turn), c.y + distance * np.sin(turn)
    _add_stars(scene, c.rows, x, y, c.flux * boost, pixel_scale)
    bright = np.flatnonzero(kind == 0)
    add_glare(scene, c.rows[bright], x[bright], y[bright], (c.flux * boost)[bright], pixel_scale)
    behind = c.take(np.flatnonzero(kind == 1))
    if len(behind):
        add_early_type(scene, behind)
    owner = np.repeat(np.flatnonzero(kind == 2), rng.integers(1, 4, (kind == 2).sum()))
    reach, turn = rng.uniform(0.3, 2.5, len(owner)), rng.uniform(0, 2 * np.pi, len(owner))
    flux = c.flux[owner] * 10 ** rng.uniform(-1.2, 0.2, len(owner))
    x, y = c.x[owner] + reach * np.cos(turn), c.y[owner] + reach * np.sin(turn)
    _add_stars(scene, c.rows[owner], x, y, flux, pixel_scale)


def add_bright_stars(
    scene: SceneBuilder,
    conditions: SurveyConditions,
    typical_njy: NDArray,
    pixel_scale: float,
    half_width: float,
) -> None:
    """Add a star in, or just outside, some fields: 3 to 300 times as bright as central objects.

    Parameters
    ----------
    typical_njy : (n,) flux of the central objects, detection band
    """
    rng = scene.rng
    rows = np.flatnonzero(rng.random(len(typical_njy)) < conditions.bright_star_probability)
    k = len(rows)
    if not k:
        return
    distance = half_width * rng.uniform(0.45, 1.1, k)
    turn = rng.uniform(0, 2 * np.pi, k)
    x, y = distance * np.cos(turn), distance * np.sin(turn)
    flux = np.median(typical_njy) * 10 ** rng.uniform(0.5, 2.5, k)
    _add_stars(scene, rows, x, y, flux, pixel_scale)
    add_glare(scene, rows, x, y, flux, pixel_scale)


def _add_stars(
    scene: SceneBuilder, rows: NDArray, x: NDArray, y: NDArray, flux: NDArray, pixel_scale: float
) -> None:
    k = len(rows)
    if k:
        colours = scene.colours(np.zeros(k), scene.rng.uniform(-0.3, 1.0, k).clip(0))
        radius = _STAR_RADIUS_PIXELS * pixel_scale
        scene.add_sersic(rows, x, y, radius, 0.5, 1.0, 0.0, flux, colours)


def add_glare(
    scene: SceneBuilder, rows: NDArray, x: NDArray, y: NDArray, flux: NDArray, pixel_scale: float
) -> None:
    """Add the halo and the diffraction spikes of stars: four of most telescopes, or six."""
    rng, k = scene.rng, len(rows)
    if not k:
        return
    colours = scene.colours(np.zeros(k), rng.uniform(0.1, 0.9, k))
    halo = flux * rng.uniform(*_HALO_SHARE, k)
    scene.add_sersic(rows, x, y, rng.uniform(1.5, 5.0, k), 2.0, 1.0, 0.0, halo, colours)
    lines, first = rng.choice([2, 3], k), rng.uniform(0, np.pi, k)
    owner = np.repeat(np.arange(k), lines)
    order = np.arange(len(owner)) - np.searchsorted(owner, owner)
    angle = first[owner] + np.pi * order / lines[owner]
    length = rng.uniform(1.5, 6.0, k)[owner]
    width = _SPIKE_WIDTH_PIXELS * pixel_scale
    scene.add_sersic(
        rows[owner], x[owner], y[owner], np.sqrt(length * width), 1.0, width / length, angle,
        (flux * rng.uniform(*_SPIKE_SHARE, k) / lines)[owner], colours[owner],
    )  # fmt: skip
