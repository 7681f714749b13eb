"""Matter shells around the observer, and how much each of them lenses the sources."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from equilens.pipeline.skies.cosmology import Cosmology, GlassCosmology
from equilens.pipeline.skies.errors import needs
from equilens.pipeline.skies.sources import SourceSample

_NEAR_MPC, _FAR_MPC = 200.0, 400.0
_FAR_FROM_REDSHIFT = 1.0


@dataclass(frozen=True)
class Shells:
    """Shells of uniform weight in comoving distance, without gaps, from the observer outward.

    Attributes
    ----------
    cosmology : that distances are of
    edges_mpc : (n + 1,) comoving distances, from 0
    """

    cosmology: Cosmology
    edges_mpc: np.ndarray

    @property
    def n_shells(self) -> int:
        return self.edges_mpc.size - 1

    @cached_property
    def edges_redshift(self) -> np.ndarray:
        """(n + 1,)."""
        return self.cosmology.redshift_at(self.edges_mpc)

    @property
    def thickness_mpc(self) -> np.ndarray:
        """(n,)."""
        return np.diff(self.edges_mpc)

    @cached_property
    def middle_mpc(self) -> np.ndarray:
        """Comoving distance of the middle, (n,)."""
        return 0.5 * (self.edges_mpc[1:] + self.edges_mpc[:-1])

    @cached_property
    def windows(self) -> list[Any]:
        """GLASS's radial windows."""
        (glass,) = needs(["glass"], "a shell")
        weight = glass.DistanceWeight(GlassCosmology(self.cosmology))
        return glass.tophat_windows(self.edges_redshift, weight=weight)

    @cached_property
    def redshift(self) -> np.ndarray:
        """Effective redshift, (n,)."""
        return np.array([window.zeff for window in self.windows])

    def lensing_weights(self, sources: SourceSample) -> np.ndarray:
        """Convergence of each bin of sources per overdensity of each shell, (K, n).

        Multi-plane lensing in the Born approximation (Tessore et al. 2023, arXiv:2302.01942,
        eq. 63), averaged over the sources of a bin.
        """
        (glass,) = needs(["glass"], "the convergence of shells")
        shares = sources.shares(self.edges_redshift)
        cosmology = GlassCosmology(self.cosmology)
        weights = [glass.multi_plane_weights(row, self.windows, cosmology) for row in shares]
        return np.stack(weights)


def shells_to(cosmology: Cosmology, z_max: float) -> Shells:
    """Shells out to a redshift: 200 Mpc thick to redshift 1, then 400 Mpc."""
    near_end, end = cosmology.comoving_distance_mpc(np.array([_FAR_FROM_REDSHIFT, z_max]))
    near = np.arange(0.0, min(near_end, end) + _NEAR_MPC, _NEAR_MPC)
    far = np.arange(near[-1] + _FAR_MPC, end + _FAR_MPC, _FAR_MPC)
    return Shells(cosmology, np.concatenate([near, far] if near[-1] < end else [near]))
