"""Sources behind a chunk's deflectors: multiply imaged for lenses, singly imaged for impostors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.arcs import ClumpySource
from equilens.pipeline.simulation.conditions import (
    ISOTHERMAL,
    SurveyConditions,
    flux_njy,
    magnitude,
)
from equilens.pipeline.simulation.lensing import LensModel, Partner, cut_position
from equilens.pipeline.simulation.partners import Partners
from equilens.pipeline.simulation.populations import draw_source_mag
from equilens.pipeline.simulation.scenes import Centrals
from equilens.pipeline.simulation.sources import (
    draw_kinds,
    draw_sources,
    float_tensor,
    second_layer_share,
    source_ratios,
)

_SLOPE_RANGE = (1.6, 2.5)
_SINGLY_IMAGED = (1.3, 2.4)  # of the way to the cut: one image, visibly stretched at most
_OUTSKIRTS = 2.0  # half-light radii of a source, its clumps included


@dataclass(frozen=True)
class LensedSystems:
    """Deflectors and sources, with band weights (L, B, 2) of host and second layer.

    Weights give one unit of flux in the detection band. kinds (L,) are those of `sources.KINDS`,
    brighter (L,) is what their sizes and Einstein radii let expect of the sources, mag.
    """

    lens: LensModel
    source: ClumpySource
    weights: Tensor
    kinds: NDArray
    brighter: NDArray

    @property
    def slope(self) -> NDArray:
        """γ' of the deflectors, (L,)."""
        slope = self.lens.slope
        return np.full(len(self.kinds), 2.0) if slope is None else slope.double().numpy()


def draw_systems(
    rng: np.random.Generator,
    c: Centrals,
    multiply_imaged: NDArray[np.bool_],
    boxes_nm: list[tuple[float, float]],
    reference: int,
    conditions: SurveyConditions,
    partners: Partners | None = None,
) -> LensedSystems:
    """Draw the mass and the source of each central.

    The mass follows the light: its axis ratio and angle scatter about the light's by 0.08 and
    0.15 rad, its centre by 0.02 arcsec. Source positions fill the area within the cut evenly; a
    singly imaged source lies so far out that its outskirts are beyond the cut too.
    """
    n = len(c)
    lens = _draw_lenses(rng, c, multiply_imaged, conditions)
    if partners is not None:
        lens = replace(lens, partner=Partner(*map(float_tensor, partners.of(c.rows))))
    inner, outer = _SINGLY_IMAGED
    within = 0.97 * np.sqrt(rng.uniform(0, 1, n))
    fraction = np.where(multiply_imaged, within, rng.uniform(inner, outer, n))
    x, y = cut_position(lens, float_tensor(rng.uniform(0, 2 * np.pi, n)), float_tensor(fraction))
    kinds = draw_kinds(rng, n, conditions)
    z_source = c.galaxies.z_source
    host, second = source_ratios(rng, boxes_nm, z_source, reference, kinds, conditions)
    share = second_layer_share(rng, kinds)[:, None]
    weights = np.stack([(1 - share) * host, share * second], axis=2)
    source = _outside_cut(draw_sources(rng, x, y, kinds, conditions), lens, ~multiply_imaged)
    size = np.log(source.radius.numpy() / conditions.source_radius_arcsec).astype(float)
    brighter = conditions.source_mag_per_size * size
    brighter += conditions.source_mag_per_einstein_radius * np.log(c.galaxies.einstein_radius)
    return LensedSystems(lens, source, float_tensor(weights), kinds, brighter)


def _outside_cut(source: ClumpySource, lens: LensModel, chosen: NDArray[np.bool_]) -> ClumpySource:
    """Move the chosen sources out until even their outskirts lie beyond the cut.

    The cut is at most 1.1 θ_E from the mass. An extended source across it would be imaged twice in
    part: a lens by any name.
    """
    from_mass = torch.stack([source.x - lens.x, source.y - lens.y])
    needed = 1.1 * lens.einstein_radius + _OUTSKIRTS * source.radius
    factor = (needed / from_mass.norm(dim=0).clamp(min=1e-9)).clamp(min=1.0)
    factor[~torch.from_numpy(chosen)] = 1.0
    step = (factor - 1) * from_mass
    return source.shifted(step[0], step[1])


def _draw_lenses(
    rng: np.random.Generator,
    c: Centrals,
    multiply_imaged: NDArray[np.bool_],
    conditions: SurveyConditions,
) -> LensModel:
    n = len(c)
    slope = np.clip(rng.normal(*conditions.slope, n), *_SLOPE_RANGE)
    # a steeper mass images every source twice
    slope = np.where(multiply_imaged, slope, np.minimum(slope, 2.0))
    shear, turn = np.clip(rng.rayleigh(0.035, n), 0, 0.15), rng.uniform(0, 2 * np.pi, n)
    return LensModel(
        einstein_radius=float_tensor(c.galaxies.einstein_radius),
        axis_ratio=float_tensor(
            np.clip(np.maximum(c.axis_ratio, 0.5) + rng.normal(0, 0.08, n), 0.4, 1)
        ),
        angle=float_tensor(c.angle + rng.normal(0, 0.15, n)),
        x=float_tensor(c.x + rng.normal(0, 0.02, n)),
        y=float_tensor(c.y + rng.normal(0, 0.02, n)),
        shear1=float_tensor(shear * np.cos(turn)),
        shear2=float_tensor(shear * np.sin(turn)),
        slope=float_tensor(slope) if conditions.slope != ISOTHERMAL else None,
    )


def total_snr(images: Tensor, noise_njy: Tensor, present: Tensor) -> Tensor:
    """Return √Σ (image / σ)² over pixels and present bands, (L,); images (L, B, ny, nx) in nJy."""
    power = images.square().sum(dim=(2, 3)) / noise_njy.square()
    return (power * present).sum(dim=1).sqrt()


def source_mags(
    rng: np.random.Generator,
    snr_of_one_njy: NDArray,
    conditions: SurveyConditions,
    brighter: NDArray | float = 0.0,
) -> NDArray:
    """Draw source magnitudes so faint at most that the arcs reach the smallest signal-to-noise.

    Arcs scale with the unlensed flux, so the cut on signal-to-noise is a cut on magnitude.
    `brighter` (L,) mag is that of `LensedSystems`.
    """
    n = len(snr_of_one_njy)
    if conditions.arc_snr_min <= 0:
        return draw_source_mag(rng, np.full(n, np.inf), conditions, brighter)
    needed_njy = conditions.arc_snr_min / np.maximum(snr_of_one_njy, 1e-9)
    return draw_source_mag(rng, magnitude(needed_njy), conditions, brighter)


def source_flux(mag: NDArray) -> Tensor:
    """Return fluxes in nJy as a float tensor."""
    return float_tensor(flux_njy(mag))
