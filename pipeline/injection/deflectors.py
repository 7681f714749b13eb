"""Deflectors for real galaxies: redshifts and Einstein radii of the population, by magnitude."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.injection.light import CentralLight
from equilens.pipeline.simulation.exposure import Setting
from equilens.pipeline.simulation.populations import Galaxies, draw_galaxies
from equilens.pipeline.simulation.scenes import Centrals

_POOL = 4096
_ALIKE = 24  # deflectors of the pool nearest in magnitude that one is drawn from
_FARTHEST_MAG = 1.0  # between a real galaxy and the population's nearest deflector


@dataclass(frozen=True)
class DeflectorPool:
    """The survey's deflectors, ordered by magnitude, to draw from for galaxies that are real.

    Attributes
    ----------
    galaxies : of the population, by rising magnitude
    mag_limit : faintest deflector, AB in the detection band
    einstein_radius_arcsec : range that replaces the population's own, even in the logarithm
    """

    galaxies: Galaxies
    mag_limit: float
    einstein_radius_arcsec: tuple[float, float] | None = None

    @classmethod
    def draw(
        cls,
        setting: Setting,
        seed: int,
        mag_limit: float | None = None,
        einstein_radius_arcsec: tuple[float, float] | None = None,
    ) -> DeflectorPool:
        """Draw the pool of a seed; without a limit, down to the survey's own."""
        detection, limit = setting.detection, mag_limit or setting.mag_limit
        drawn = draw_galaxies(
            np.random.default_rng([seed, 1]),
            _POOL,
            setting.conditions,
            setting.boxes_nm[detection],
            limit,
            setting.survey.bands[detection].psf_fwhm_arcsec,
        )
        return cls(drawn.take(np.argsort(drawn.mag)), limit, einstein_radius_arcsec)

    def covers(self, mag: NDArray) -> NDArray[np.bool_]:
        """Which galaxies are bright enough, and as bright as some deflector, (N,)."""
        nearest = self.galaxies.mag[self._nearest(mag)]
        return (mag <= self.mag_limit) & (np.abs(nearest - mag) < _FARTHEST_MAG)

    def like(self, rng: np.random.Generator, mag: NDArray) -> Galaxies:
        """Redshifts and Einstein radii of deflectors as bright as these; magnitudes stay."""
        step = rng.integers(-_ALIKE // 2, _ALIKE // 2 + 1, len(mag))
        picked = self.galaxies.take(np.clip(self._nearest(mag) + step, 0, len(self.galaxies) - 1))
        radius = picked.einstein_radius
        if self.einstein_radius_arcsec is not None:
            low, high = np.log(self.einstein_radius_arcsec)
            radius = np.exp(rng.uniform(low, high, len(mag)))
        return replace(picked, mag=mag, einstein_radius=radius)

    def _nearest(self, mag: NDArray) -> NDArray[np.int64]:
        known = self.galaxies.mag
        after = np.clip(np.searchsorted(known, mag), 1, len(known) - 1)
        return after - (mag - known[after - 1] < known[after] - mag)


def centrals_of(
    light: CentralLight, galaxies: Galaxies, psf_fwhm_arcsec: NDArray, pixel_scale_arcsec: float
) -> Centrals:
    """Real galaxies as the simulator knows its own: the mass will follow this light."""
    axis_ratio, angle = light.shape(psf_fwhm_arcsec / pixel_scale_arcsec)
    return Centrals(
        rows=np.arange(len(galaxies)),
        galaxies=galaxies,
        x=light.x * pixel_scale_arcsec,
        y=light.y * pixel_scale_arcsec,
        axis_ratio=axis_ratio,
        angle=angle,
    )
