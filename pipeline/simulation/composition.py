"""Which object is what, and its scene without lensed sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation import galaxies, impostors
from equilens.pipeline.simulation.exposure import CHUNK, Setting
from equilens.pipeline.simulation.partners import Partners, add_partners, draw_partners
from equilens.pipeline.simulation.populations import (
    as_field_galaxies,
    draw_galaxies,
    draw_neighbours,
)
from equilens.pipeline.simulation.rendering import add_patterns, add_sersic
from equilens.pipeline.simulation.scenes import Centrals, SceneBuilder
from equilens.pipeline.simulation.surroundings import (
    add_bright_stars,
    add_neighbours,
    add_star_fields,
)

_PLAIN = {
    "early": galaxies.add_early_type,
    "spiral": galaxies.add_spiral,
    "edge_on": galaxies.add_edge_on,
    "disc": galaxies.add_disc,
    "ring": impostors.add_ring,
    "polar_ring": impostors.add_polar_ring,
    "merger": impostors.add_merger,
    "group": impostors.add_group,
}
# spiral, edge-on and disc; the rest are early types
_LATE_TYPE_SHARES = {
    "lens": (0.07, 0.03, 0.0),
    "alignment": (0.07, 0.03, 0.0),
    "galaxy": (0.12, 0.06, 0.2),
    "field": (0.15, 0.1, 0.45),
}
_STRAY_SHARE, _FARTHEST_STRAY = 0.12, 3.0  # of targets, and in pixels
_REPEATS = 4  # cutouts of one double impostor


@dataclass(frozen=True)
class Objects:
    """What stands at the centres of a chunk.

    Parameters
    ----------
    classes : (CHUNK,) object array of class names
    centrals : their galaxies
    parents : (CHUNK,) int, row of the first cutout of the same object
    turns : (CHUNK,) rad, position angle of what turns about the central in repeats
    partners : second galaxies of pairs
    """

    classes: NDArray
    centrals: Centrals
    parents: NDArray
    turns: NDArray
    partners: Partners


def draw_objects(
    rng: np.random.Generator, setting: Setting, lens_fraction: float, mixture: Mapping[str, float]
) -> Objects:
    """Draw classes and centrals; double impostors come in up to four cutouts of one object."""
    classes = draw_classes(rng, lens_fraction, mixture)
    centrals = draw_centrals(rng, setting)
    parents = np.arange(CHUNK)
    doubles = np.flatnonzero(classes == "double")
    parents[doubles] = doubles[np.arange(len(doubles)) // _REPEATS * _REPEATS]
    turns = rng.uniform(0, 2 * np.pi, CHUNK)
    repeated = replace(centrals.take(parents), rows=np.arange(CHUNK))
    field_galaxies = as_field_galaxies(rng, repeated.galaxies, classes == "field")
    centrals = replace(repeated, galaxies=field_galaxies)
    (own,) = rng.spawn(1)
    partners = draw_partners(own, centrals, classes, setting.conditions.partner_share)
    return Objects(classes, centrals, parents, turns, partners)


def draw_classes(
    rng: np.random.Generator, lens_fraction: float, mixture: Mapping[str, float]
) -> NDArray:
    """Return the class name of each object of a chunk, (CHUNK,)."""
    names, shares = list(mixture), np.array(list(mixture.values()), dtype=float)
    others = rng.choice(np.array(names, dtype=object), CHUNK, p=shares / shares.sum())
    return np.where(rng.random(CHUNK) < lens_fraction, "lens", others).astype(object)


def draw_centrals(rng: np.random.Generator, setting: Setting) -> Centrals:
    """Draw the galaxies at the centres, whatever the class.

    Most lie within 1.5 pixels of the centre; one in eight up to 3 pixels off along each axis.
    """
    drawn = draw_galaxies(
        rng,
        CHUNK,
        setting.conditions,
        setting.boxes_nm[setting.detection],
        setting.mag_limit,
        setting.survey.bands[setting.detection].psf_fwhm_arcsec,
    )
    offset = np.clip(rng.normal(0, 0.5, (2, CHUNK)), -1.5, 1.5)
    stray = rng.uniform(-_FARTHEST_STRAY, _FARTHEST_STRAY, (2, CHUNK))
    offset = np.where(rng.random(CHUNK) < _STRAY_SHARE, stray, offset)
    return Centrals(
        rows=np.arange(CHUNK),
        galaxies=drawn,
        x=offset[0] * setting.grid.pixel_scale,
        y=offset[1] * setting.grid.pixel_scale,
        axis_ratio=np.clip(rng.beta(5, 2, CHUNK), 0.35, 1.0),
        angle=rng.uniform(0, np.pi, CHUNK),
    )


def render_scene(rng: np.random.Generator, setting: Setting, objects: Objects) -> Tensor:
    """Return noiseless scenes without lensed sources, before the PSF, (CHUNK, B, G, G) nJy."""
    scene = SceneBuilder(rng, setting.boxes_nm, setting.detection)
    centrals, classes = objects.centrals, objects.classes
    for name, rows in _by_morphology(rng, classes).items():
        _PLAIN[name](scene, centrals.take(rows))
    _add_special_classes(scene, setting, objects)
    some = np.flatnonzero(rng.random(CHUNK) < setting.conditions.companion_share)
    impostors.add_companions(scene, centrals.take(some))
    pixel_scale = setting.grid.pixel_scale
    half_width = 0.5 * setting.grid.size * pixel_scale
    neighbours = draw_neighbours(rng, CHUNK, half_width, setting.faintest_neighbour)
    add_neighbours(scene, neighbours, pixel_scale)
    add_bright_stars(scene, setting.conditions, centrals.flux, pixel_scale, half_width)
    images = _paint(scene, setting)
    if len(objects.partners.rows):
        pairs = SceneBuilder(rng.spawn(1)[0], setting.boxes_nm, setting.detection)
        add_partners(pairs, centrals, objects.partners)
        images += _paint(pairs, setting)
    return images


def _add_special_classes(scene: SceneBuilder, setting: Setting, objects: Objects) -> None:
    classes, centrals = objects.classes, objects.centrals
    projected = np.flatnonzero((classes == "alignment") & ~is_lensed_alignment(classes))
    if len(projected):
        impostors.add_projections(scene, centrals.take(projected))
    doubles = np.flatnonzero(classes == "double")
    if len(doubles):
        parents, turns = objects.parents[doubles], objects.turns[doubles]
        impostors.add_doubles(scene, centrals.take(doubles), parents, turns)
    stars = np.flatnonzero(classes == "star")
    if len(stars):
        add_star_fields(scene, centrals.take(stars), setting.grid.pixel_scale)


def _paint(scene: SceneBuilder, setting: Setting) -> Tensor:
    grid, device = setting.grid, setting.device
    sersic, patterns = scene.tables()
    images = torch.zeros(CHUNK, setting.n_bands, grid.size, grid.size, device=device)
    add_sersic(images, sersic.to(device), grid)
    if patterns is not None:
        add_patterns(images, patterns.to(device), grid)
    return images


def _by_morphology(rng: np.random.Generator, classes: NDArray) -> dict[str, NDArray]:
    chance = rng.random(len(classes))
    morphology = classes.copy()
    for row, name in enumerate(classes):
        if name not in _LATE_TYPE_SHARES:
            continue
        late = np.searchsorted(np.cumsum(_LATE_TYPE_SHARES[name]), chance[row], side="right")
        morphology[row] = ("spiral", "edge_on", "disc", "early")[late]
    rows = {name: np.flatnonzero(morphology == name) for name in _PLAIN}
    return {name: found for name, found in rows.items() if len(found)}


def is_lensed_alignment(classes: NDArray) -> NDArray[np.bool_]:
    """Return which chance alignments, two in three, are background galaxies that are sheared."""
    return (classes == "alignment") & (np.arange(len(classes)) % 3 > 0)
