"""Sources pasted onto real cutouts: lensed ones, and those that only look as if.

Non-lenses carry pasted light too, as bright as the lenses', so that pasting is not the label:
``alignment`` is one galaxy behind the mass but outside its cut, imaged once; ``projection`` is one
to four galaxies around the centre that no mass bends, some of them opposite each other. ``real``
is the cutout as it was taken.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.injection.exposure import observe_through
from equilens.pipeline.simulation.arcs import ClumpySource, render_arcs
from equilens.pipeline.simulation.conditions import SurveyConditions, flux_njy
from equilens.pipeline.simulation.exposure import Setting, to_tensor
from equilens.pipeline.simulation.lensed import (
    LensedSystems,
    draw_systems,
    source_mags,
    total_snr,
)
from equilens.pipeline.simulation.lensing import LensModel
from equilens.pipeline.simulation.scenes import Centrals

LENS, REAL, ALIGNMENT, PROJECTION = "lens", "real", "alignment", "projection"
_PROJECTED_AT = (0.6, 2.2)  # Einstein radii, where images of a lens would lie
_OPPOSITE_SHARE = 0.5  # of second projected galaxies: across the centre, as a double's counterimage
_SMALLEST_RADIUS = 0.35  # arcsec, so that projected galaxies do not hide in the central one
_POWERLESS = 1e-6  # arcsec: an Einstein radius that bends nothing
_DARK = 1e-4  # of the background noise: light below it is left out, so that sky stays untouched
_BRIGHTEST_SCATTERS = 3.5  # of source magnitudes above their mean


@dataclass(frozen=True)
class PastedLight:
    """Light of the sources of some cutouts, as observed, without noise.

    Attributes
    ----------
    rows : (R,) int, cutouts that it falls on
    light : (R, B, ny, nx) Tensor, nJy; dark where masked, in missing bands and where it is below a
        ten-thousandth of the noise
    snr : (R,) total signal-to-noise over pixels and bands
    unlensed_njy : (R, B) flux of the sources as they would be seen without a lens
    """

    rows: NDArray[np.int64]
    light: Tensor
    snr: NDArray[np.float64]
    unlensed_njy: NDArray[np.float64]


def paste_sources(
    rng: np.random.Generator,
    setting: Setting,
    centrals: Centrals,
    classes: NDArray,
    seen: NDArray[np.bool_],
    noise_njy: NDArray,
    psf_fwhm_arcsec: NDArray,
) -> PastedLight:
    """Draw and observe the sources of a chunk of real cutouts.

    Parameters
    ----------
    centrals : of N cutouts
    classes : (N,) names
    seen : (N, B, ny, nx) pixels that carry sky
    noise_njy, psf_fwhm_arcsec : (N, B); NaN in missing bands
    """
    rows = np.flatnonzero(classes != REAL)
    owner, systems, share = draw_chunk(rng, setting, centrals, classes, rows)
    layers = render_arcs(systems.lens, systems.source, setting.grid)
    weights = systems.weights * share[:, None, None]
    scene = layers.new_zeros((len(rows), setting.n_bands, *layers.shape[-2:]))
    scene.index_add_(0, owner, torch.einsum("lkyx,lbk->lbyx", layers, weights))
    unit = observe_through(setting, scene, psf_fwhm_arcsec[rows])
    unit *= torch.from_numpy(seen[rows])
    noise = to_tensor(np.nan_to_num(noise_njy[rows], nan=1.0), setting)
    everywhere = torch.ones(noise.shape, dtype=torch.bool)
    snr_of_one = total_snr(unit, noise, everywhere).numpy().astype(float)
    first = np.searchsorted(owner.numpy(), np.arange(len(rows)))
    expected = systems.brighter[first]
    flux = _fluxes(rng, setting.conditions, snr_of_one, expected, classes[rows] == LENS)
    light = unit * to_tensor(flux, setting)[:, None, None, None]
    light[light < _DARK * noise[:, :, None, None]] = 0
    bands = torch.zeros((len(rows), setting.n_bands))
    bands.index_add_(0, owner, weights.sum(dim=2))
    return PastedLight(rows, light, snr_of_one * flux, flux[:, None] * bands.numpy())


def draw_chunk(
    rng: np.random.Generator,
    setting: Setting,
    centrals: Centrals,
    classes: NDArray,
    rows: NDArray,
) -> tuple[Tensor, LensedSystems, Tensor]:
    """Draw the sources of the cutouts `rows`, and where they stand.

    Returns
    -------
    (L,) int64 Tensor, LensedSystems, (L,) Tensor
        Which of `rows` each source belongs to, mass and source, and its share of the cutout's flux.
    """
    names = classes[rows]
    copies = np.where(names == PROJECTION, rng.integers(1, 5, len(rows)), 1)
    owner = np.repeat(np.arange(len(rows)), copies)
    drawn = centrals.take(rows[owner])
    systems = draw_systems(
        rng,
        drawn,
        names[owner] == LENS,
        setting.boxes_nm,
        setting.detection,
        setting.conditions,
    )
    projected = names[owner] == PROJECTION
    source = _projected(rng, systems.source, drawn, owner, projected)
    lens = _without_mass(systems.lens, projected)
    systems = replace(systems, source=source, lens=lens)
    share = rng.uniform(0.3, 1.0, len(owner))
    share /= np.bincount(owner, share, len(rows))[owner]
    return torch.from_numpy(owner), systems, to_tensor(share, setting)


def _projected(
    rng: np.random.Generator,
    source: ClumpySource,
    centrals: Centrals,
    owner: NDArray,
    chosen: NDArray[np.bool_],
) -> ClumpySource:
    """The sources, with the chosen ones moved to where images of a lens would lie."""
    turn = _around(rng, owner)
    reach = np.maximum(centrals.galaxies.einstein_radius, _SMALLEST_RADIUS)
    distance = reach * rng.uniform(*_PROJECTED_AT, len(owner))
    to_x, to_y = centrals.x + distance * np.cos(turn), centrals.y + distance * np.sin(turn)
    where = torch.from_numpy(chosen)
    step_x = torch.where(where, torch.from_numpy(to_x).to(source.x) - source.x, 0.0)
    step_y = torch.where(where, torch.from_numpy(to_y).to(source.y) - source.y, 0.0)
    return source.shifted(step_x, step_y)


def _around(rng: np.random.Generator, owner: NDArray) -> NDArray[np.float64]:
    """Position angles (L,), rad; every other second source of an owner lies across its first."""
    turn = rng.uniform(0, 2 * np.pi, len(owner))
    repeats = np.append(False, owner[1:] == owner[:-1])
    is_second = repeats & ~np.append(False, repeats[:-1])
    across = np.flatnonzero(is_second & (rng.random(len(owner)) < _OPPOSITE_SHARE))
    turn[across] = turn[across - 1] + np.pi + rng.normal(0, 0.3, len(across))
    return turn


def _without_mass(lens: LensModel, chosen: NDArray[np.bool_]) -> LensModel:
    free = torch.from_numpy(chosen)
    return replace(
        lens,
        einstein_radius=lens.einstein_radius.masked_fill(free, _POWERLESS),
        shear1=lens.shear1.masked_fill(free, 0.0),
        shear2=lens.shear2.masked_fill(free, 0.0),
    )


def _fluxes(
    rng: np.random.Generator,
    conditions: SurveyConditions,
    snr_of_one: NDArray,
    brighter: NDArray,
    is_lens: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Unlensed fluxes, nJy: of lenses by the population, of all others to be as bright as those.

    No source outshines the population's brightest, even one that a mask hides.
    """
    brightest_mag = conditions.source_mag_mean - _BRIGHTEST_SCATTERS * conditions.source_mag_scatter
    most = flux_njy(brightest_mag)
    flux = np.minimum(flux_njy(source_mags(rng, snr_of_one, conditions, brighter)), most)
    others = np.flatnonzero(~is_lens)
    if is_lens.any():
        seen = (snr_of_one * flux)[is_lens]
        wanted = rng.choice(seen, len(others)) / np.maximum(snr_of_one[others], 1e-9)
        flux[others] = np.minimum(wanted, most)
    return flux
