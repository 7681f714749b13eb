"""Sources behind a chunk's deflectors: multiply imaged for lenses, singly imaged for impostors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.arcs import ClumpySource
from equilens.pipeline.simulation.conditions import SurveyConditions, flux_njy
from equilens.pipeline.simulation.lensing import LensModel, cut_position
from equilens.pipeline.simulation.populations import draw_source_mag, source_ratios
from equilens.pipeline.simulation.scenes import Centrals

_N_CLUMPS = 4
_SINGLY_IMAGED = (1.3, 2.4)  # of the way to the cut: one image, visibly stretched at most


@dataclass(frozen=True)
class LensedSystems:
    """Deflectors and sources, with band weights (L, B, 2) of host and clumps.

    Weights give one unit of flux in the detection band.
    """

    lens: LensModel
    source: ClumpySource
    weights: Tensor


def draw_systems(
    rng: np.random.Generator,
    c: Centrals,
    multiply_imaged: NDArray[np.bool_],
    boxes_nm: list[tuple[float, float]],
    reference: int,
    conditions: SurveyConditions,
) -> LensedSystems:
    """Draw the mass and the source of each central.

    The mass follows the light: its axis ratio and angle scatter about the light's by 0.08 and
    0.15 rad, its centre by 0.02 arcsec. Source positions fill the area within the cut evenly.
    """
    n = len(c)
    lens = _draw_lenses(rng, c)
    inner, outer = _SINGLY_IMAGED
    within = 0.97 * np.sqrt(rng.uniform(0, 1, n))
    fraction = np.where(multiply_imaged, within, rng.uniform(inner, outer, n))
    x, y = cut_position(lens, _float(rng.uniform(0, 2 * np.pi, n)), _float(fraction))
    host, clumps = source_ratios(rng, boxes_nm, c.galaxies.z_source, reference)
    share = np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0.1, 0.55, n))[:, None]
    weights = np.stack([(1 - share) * host, share * clumps], axis=2)
    source = _draw_sources(rng, x, y, share > 0, conditions)
    return LensedSystems(lens, source, _float(weights))


def _draw_lenses(rng: np.random.Generator, c: Centrals) -> LensModel:
    n = len(c)
    shear, turn = np.clip(rng.rayleigh(0.035, n), 0, 0.15), rng.uniform(0, 2 * np.pi, n)
    return LensModel(
        einstein_radius=_float(c.galaxies.einstein_radius),
        axis_ratio=_float(np.clip(np.maximum(c.axis_ratio, 0.5) + rng.normal(0, 0.08, n), 0.4, 1)),
        angle=_float(c.angle + rng.normal(0, 0.15, n)),
        x=_float(c.x + rng.normal(0, 0.02, n)),
        y=_float(c.y + rng.normal(0, 0.02, n)),
        shear1=_float(shear * np.cos(turn)),
        shear2=_float(shear * np.sin(turn)),
    )


def _draw_sources(
    rng: np.random.Generator,
    x: Tensor,
    y: Tensor,
    clumpy: NDArray[np.bool_],
    conditions: SurveyConditions,
) -> ClumpySource:
    n = len(x)
    radius = conditions.source_radius_arcsec * np.exp(rng.normal(0, 0.45, n))
    radius = np.clip(radius, 0.04, 0.8)
    spread = rng.normal(0, 0.7, (2, n, _N_CLUMPS)) * radius[:, None]
    weight = rng.gamma(1.0, 1.0, (n, _N_CLUMPS)) + 1e-3
    return ClumpySource(
        x=x,
        y=y,
        radius=_float(radius),
        index=_float(np.clip(rng.lognormal(0.1, 0.3, n), 0.5, 2.5)),
        axis_ratio=_float(rng.uniform(0.3, 1, n)),
        angle=_float(rng.uniform(0, np.pi, n)),
        clump_x=x[:, None] + _float(spread[0]),
        clump_y=y[:, None] + _float(spread[1]),
        clump_sigma=_float(radius[:, None] * rng.uniform(0.08, 0.25, (n, _N_CLUMPS))),
        clump_weight=_float(clumpy * weight / weight.sum(axis=1, keepdims=True)),
    )


def _float(values: NDArray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def total_snr(images: Tensor, noise_njy: Tensor, present: Tensor) -> Tensor:
    """Return √Σ (image / σ)² over pixels and present bands, (L,); images (L, B, ny, nx) in nJy."""
    power = images.square().sum(dim=(2, 3)) / noise_njy.square()
    return (power * present).sum(dim=1).sqrt()


def source_mags(
    rng: np.random.Generator, snr_of_one_njy: NDArray, conditions: SurveyConditions
) -> NDArray:
    """Draw source magnitudes so faint at most that the arcs reach the smallest signal-to-noise.

    Arcs scale with the unlensed flux, so the cut on signal-to-noise is a cut on magnitude.
    """
    n = len(snr_of_one_njy)
    if conditions.arc_snr_min <= 0:
        return draw_source_mag(rng, np.full(n, np.inf), conditions)
    needed_njy = conditions.arc_snr_min / np.maximum(snr_of_one_njy, 1e-9)
    return draw_source_mag(rng, 31.4 - 2.5 * np.log10(needed_njy), conditions)


def source_flux(mag: NDArray) -> Tensor:
    """Return fluxes in nJy as a float tensor."""
    return _float(flux_njy(mag))
