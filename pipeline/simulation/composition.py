"""Which object is what, and its scene without lensed sources."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.exposure import CHUNK, Setting
from equilens.pipeline.simulation.populations import draw_galaxies, draw_neighbours
from equilens.pipeline.simulation.rendering import add_compact, add_full, add_patterns
from equilens.pipeline.simulation.scenes import (
    MORPHOLOGIES,
    Centrals,
    SceneBuilder,
    add_neighbours,
    add_projections,
)

_LATE_TYPE_SHARE = {"lens": (0.07, 0.03), "alignment": (0.07, 0.03), "galaxy": (0.1, 0.05)}
_COMPACT_HALVES = (12, 24)  # pixels; full frames beyond
_REACH_IN_RADII = 4.5  # half-light radii that a patch holds: 0.2 % of the centre for n = 1
_WINGED_INDEX, _WINGED_REACH = 2.0, 2.5


def draw_classes(
    rng: np.random.Generator, lens_fraction: float, mixture: Mapping[str, float]
) -> NDArray:
    """Return the class name of each object of a chunk, (CHUNK,)."""
    names, shares = list(mixture), np.array(list(mixture.values()), dtype=float)
    others = rng.choice(np.array(names, dtype=object), CHUNK, p=shares / shares.sum())
    return np.where(rng.random(CHUNK) < lens_fraction, "lens", others).astype(object)


def draw_centrals(rng: np.random.Generator, setting: Setting) -> Centrals:
    """Draw the galaxies at the centres, up to 1.5 pixels off, whatever the class."""
    galaxies = draw_galaxies(
        rng,
        CHUNK,
        setting.conditions,
        setting.boxes_nm[setting.detection],
        setting.mag_limit,
        setting.survey.bands[setting.detection].psf_fwhm_arcsec,
    )
    offset = np.clip(rng.normal(0, 0.5, (2, CHUNK)), -1.5, 1.5) * setting.grid.pixel_scale
    return Centrals(
        rows=np.arange(CHUNK),
        galaxies=galaxies,
        x=offset[0],
        y=offset[1],
        axis_ratio=np.clip(rng.beta(5, 2, CHUNK), 0.35, 1.0),
        angle=rng.uniform(0, np.pi, CHUNK),
    )


def render_scene(
    rng: np.random.Generator, setting: Setting, centrals: Centrals, classes: NDArray
) -> Tensor:
    """Return noiseless scenes without lensed sources, before the PSF, (CHUNK, B, G, G) nJy."""
    scene, grid = SceneBuilder(rng, setting.boxes_nm, setting.detection), setting.grid
    for name, rows in _by_morphology(rng, classes).items():
        MORPHOLOGIES[name](scene, centrals.take(rows))
    projected = np.flatnonzero((classes == "alignment") & ~is_lensed_alignment(classes))
    if len(projected):
        add_projections(scene, centrals.take(projected))
    half_width = 0.5 * grid.size * grid.pixel_scale
    neighbours = draw_neighbours(rng, CHUNK, half_width, setting.faintest_neighbour)
    add_neighbours(scene, neighbours, grid.pixel_scale)
    return _paint(scene, setting)


def _paint(scene: SceneBuilder, setting: Setting) -> Tensor:
    grid, device = setting.grid, setting.device
    sersic, patterns = scene.tables()
    sersic = sersic.to(device)
    images = torch.zeros(CHUNK, setting.n_bands, grid.size, grid.size, device=device)
    reach = _REACH_IN_RADII * sersic.radius / sersic.axis_ratio.sqrt() / grid.pixel_scale
    reach = torch.where(sersic.index > _WINGED_INDEX, _WINGED_REACH * reach, reach)
    small, medium = _COMPACT_HALVES
    add_compact(images, sersic.select(reach <= small), grid, small)
    add_compact(images, sersic.select((reach > small) & (reach <= medium)), grid, medium)
    add_full(images, sersic.select(reach > medium), grid)
    if patterns is not None:
        add_patterns(images, patterns.to(device), grid)
    return images


def _by_morphology(rng: np.random.Generator, classes: NDArray) -> dict[str, NDArray]:
    chance = rng.random(len(classes))
    morphology = np.array(
        [name if name in MORPHOLOGIES else "early" for name in classes], dtype=object
    )
    for row, name in enumerate(classes):
        spiral, edge_on = _LATE_TYPE_SHARE.get(name, (0.0, 0.0))
        if chance[row] < spiral:
            morphology[row] = "spiral"
        elif chance[row] < spiral + edge_on:
            morphology[row] = "edge_on"
    rows = {name: np.flatnonzero(morphology == name) for name in MORPHOLOGIES}
    return {name: found for name, found in rows.items() if len(found)}


def is_lensed_alignment(classes: NDArray) -> NDArray[np.bool_]:
    """Return which chance alignments, two in three, are background galaxies that are sheared."""
    return (classes == "alignment") & (np.arange(len(classes)) % 3 > 0)
