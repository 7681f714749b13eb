"""Skies on which a mass must not be found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from equilens.pipeline.skies.observation import ShearMaps


def noise_only(sky: ShearMaps, seed: int) -> ShearMaps:
    """The same galaxies without any lensing: Gaussian shear of the stated variance."""
    rng = np.random.default_rng(seed)
    shear = np.full_like(sky.shear, np.nan)
    for k, weights in enumerate(sky.weights):
        seen = weights > 0
        scatter = 1 / np.sqrt(weights[seen])
        for component in shear[k]:
            component[seen] = scatter * rng.standard_normal(scatter.size, dtype=np.float32)
    return replace(sky, shear=shear)


def rotated_shear(sky: ShearMaps) -> ShearMaps:
    """Every ellipse turned by 45°, (γ1, γ2) → (-γ2, γ1): lensing becomes B modes."""
    return replace(sky, shear=np.stack([-sky.shear[:, 1], sky.shear[:, 0]], axis=1))
