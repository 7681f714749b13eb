"""Second galaxies close to the central one: pairs and cores of groups, which often lens.

A pair is a lens with two deflectors, or a plain galaxy with two nuclei: partners come with both,
as alike, so that two nuclei are not the label. All draws come from a stream of their own, and the
rest of a sky is the same with and without them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from equilens.pipeline.simulation.scenes import Centrals, SceneBuilder

PAIRED_CLASSES = ("lens", "galaxy", "field", "group")
_SEPARATION = (0.5, 2.5)  # Einstein radii of the central galaxy
_CLOSEST_ARCSEC, _WIDEST_ARCSEC = 0.4, 4.0
_FLUX_RATIO = (0.2, 1.0)
_ENVELOPE_SHARE, _ENVELOPE_FLUX = 0.5, (0.15, 0.6)  # of pairs, and of the pair's flux


@dataclass(frozen=True)
class Partners:
    """One second galaxy for each of K objects.

    Attributes
    ----------
    rows : (K,) int, objects of the chunk that have one
    x, y : (K,) arcsec
    flux_ratio : (K,) partner over central
    einstein_radius : (K,) arcsec, of the partner alone
    """

    rows: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    flux_ratio: NDArray[np.float64]
    einstein_radius: NDArray[np.float64]

    def of(self, rows: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Einstein radius, x and y for each of `rows`; zeros where there is no partner."""
        found = np.zeros((3, int(max([*rows, *self.rows], default=-1)) + 1))
        found[:, self.rows] = self.einstein_radius, self.x, self.y
        radius, x, y = found[:, rows]
        return radius, x, y


def draw_partners(
    rng: np.random.Generator, centrals: Centrals, classes: NDArray, share: float
) -> Partners:
    """Draw partners for a share of the objects of `PAIRED_CLASSES`.

    Mass follows light, θ_E ~ σ² ~ L^½ (Faber & Jackson 1976; Koopmans et al. 2006 for the profile):
    the partner's Einstein radius is the central's by the root of the flux ratio.
    """
    n = len(centrals)
    chosen = (rng.random(n) < share) & np.isin(classes.astype(str), PAIRED_CLASSES)
    theta = centrals.galaxies.einstein_radius
    ratio, turn = rng.uniform(*_FLUX_RATIO, n), rng.uniform(0, 2 * np.pi, n)
    distance = np.clip(theta * rng.uniform(*_SEPARATION, n), _CLOSEST_ARCSEC, _WIDEST_ARCSEC)
    rows = np.flatnonzero(chosen)
    return Partners(
        rows=rows,
        x=(centrals.x + distance * np.cos(turn))[rows],
        y=(centrals.y + distance * np.sin(turn))[rows],
        flux_ratio=ratio[rows],
        einstein_radius=(theta * np.sqrt(ratio))[rows],
    )


def add_partners(scene: SceneBuilder, centrals: Centrals, partners: Partners) -> None:
    """Add the light of partners, early types of the central's redshift, and common envelopes."""
    rng, c, k = scene.rng, centrals.take(partners.rows), len(partners.rows)
    if not k:
        return
    g = c.galaxies
    colours = scene.colours(g.z_lens, rng.uniform(0, 0.2, k))
    flux = c.flux * partners.flux_ratio
    radius = np.clip(g.radius * partners.flux_ratio**0.6 * rng.lognormal(0, 0.2, k), 0.08, None)
    scene.add_sersic(
        partners.rows, partners.x, partners.y, radius, rng.uniform(2, 5, k),
        rng.uniform(0.55, 1, k), rng.uniform(0, np.pi, k), flux, colours, wobble=(0.04, 0.02, 0.01),
    )  # fmt: skip
    share = rng.uniform(*_ENVELOPE_FLUX, k) * (rng.random(k) < _ENVELOPE_SHARE)
    away_x, away_y = partners.x - c.x, partners.y - c.y
    scene.add_sersic(
        partners.rows, c.x + away_x / 2, c.y + away_y / 2,
        2.5 * g.radius + np.hypot(away_x, away_y) / 2, 1.5, rng.uniform(0.5, 0.9, k),
        np.arctan2(away_y, away_x), share * (c.flux + flux), colours,
    )  # fmt: skip
