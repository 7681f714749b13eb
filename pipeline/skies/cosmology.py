"""The flat ΛCDM models that skies are simulated in, and their distances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from astropy import units as u
from astropy.cosmology import FlatLambdaCDM

from equilens.pipeline.skies.errors import SkyError

SPEED_OF_LIGHT_KM_S = 299792.458
CRITICAL_DENSITY_H2 = 2.77536627e11
"""Critical density today over h², solar masses per cubic Mpc."""


@dataclass(frozen=True)
class Cosmology:
    """A flat ΛCDM model with massless neutrinos.

    Attributes
    ----------
    name : of the model
    h : Hubble constant over 100 km/s/Mpc
    omega_m, omega_b : matter and baryons today, over the critical density
    sigma_8 : linear scatter of matter today in spheres of 8 Mpc/h
    n_s : slope of the primordial spectrum
    """

    name: str
    h: float
    omega_m: float
    omega_b: float
    sigma_8: float
    n_s: float

    def __post_init__(self) -> None:
        if not 0 < self.omega_b < self.omega_m < 1:
            raise SkyError(
                f"a flat model needs 0 < omega_b < omega_m < 1, got omega_b {self.omega_b} and "
                f"omega_m {self.omega_m}"
            )
        for field in ("h", "sigma_8", "n_s"):
            if not 0.2 < getattr(self, field) < 2:
                raise SkyError(f"{field} must lie in 0.2..2, got {getattr(self, field)}")

    @cached_property
    def background(self) -> FlatLambdaCDM:
        """Distances by astropy."""
        return FlatLambdaCDM(100 * self.h, self.omega_m, Tcmb0=0 * u.K)

    @cached_property
    def _distance_grid(self) -> tuple[np.ndarray, np.ndarray]:
        redshift = np.linspace(0, 6, 6001)
        return redshift, self.background.comoving_distance(redshift).to_value(u.Mpc)

    def comoving_distance_mpc(self, redshift: np.ndarray | float) -> np.ndarray:
        """Comoving distance, Mpc; from a table to redshift 6, to 1e-6."""
        return np.interp(redshift, *self._distance_grid)

    def redshift_at(self, distance_mpc: np.ndarray | float) -> np.ndarray:
        """Redshift of a comoving distance."""
        redshift, distance = self._distance_grid
        return np.interp(distance_mpc, distance, redshift)

    def hubble_km_s_mpc(self, redshift: np.ndarray | float) -> np.ndarray:
        """Expansion rate H(z)."""
        growth = self.omega_m * (1 + np.asarray(redshift)) ** 3 + 1 - self.omega_m
        return 100 * self.h * np.sqrt(growth)

    def critical_density(self, redshift: np.ndarray | float) -> np.ndarray:
        """Critical density in physical solar masses per cubic Mpc."""
        return CRITICAL_DENSITY_H2 * (self.hubble_km_s_mpc(redshift) / 100) ** 2

    @property
    def matter_density(self) -> float:
        """Comoving matter density, solar masses per cubic Mpc."""
        return self.omega_m * CRITICAL_DENSITY_H2 * self.h**2


COSMOLOGIES = {
    model.name: model
    for model in (
        # Planck 2018 VI (arXiv:1807.06209), table 2, last column
        Cosmology("planck18", 0.6766, 0.3111, 0.0490, 0.8102, 0.9665),
        # neither is a measurement: they bracket it along the direction that lensing sees best
        Cosmology("clumpy", 0.70, 0.34, 0.0470, 0.88, 0.9665),
        Cosmology("smooth", 0.70, 0.26, 0.0470, 0.74, 0.9665),
    )
}


def named_cosmology(name: str) -> Cosmology:
    """One of `COSMOLOGIES`.

    Raises
    ------
    SkyError
        There is none of that name.
    """
    if name not in COSMOLOGIES:
        raise SkyError(f"cosmology must be one of {tuple(COSMOLOGIES)}, got {name!r}")
    return COSMOLOGIES[name]


class GlassCosmology:
    """A `Cosmology` behind the methods that GLASS asks for (Cosmology API, distances in Mpc)."""

    def __init__(self, cosmology: Cosmology) -> None:
        self._model = cosmology
        self.Omega_m0 = cosmology.omega_m
        self.h = cosmology.h
        self.hubble_distance = SPEED_OF_LIGHT_KM_S / (100 * cosmology.h)
        self.critical_density0 = float(cosmology.critical_density(0.0))

    def H_over_H0(self, z: Any) -> np.ndarray:
        """Expansion rate over today's."""
        return self._model.hubble_km_s_mpc(z) / (100 * self.h)

    def comoving_distance(self, z: Any, z2: Any = None) -> np.ndarray:
        """Comoving distance to `z`, or from `z` to `z2`."""
        first = self._model.comoving_distance_mpc(np.asarray(z))
        if z2 is None:
            return first
        return self._model.comoving_distance_mpc(np.asarray(z2)) - first

    def transverse_comoving_distance(
        self, z: float | Sequence[float], z2: float | None = None
    ) -> np.ndarray:
        """The same: space is flat."""
        return self.comoving_distance(z, z2)
