"""How many haloes there are, how they cluster and how concentrated they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.errors import SkyError, needs

LARGEST_M200C_MSUN = 1e16
_N_MASSES = 65
_MASS_FUNCTION, _BIAS, _CONCENTRATION = "tinker08", "tinker10", "diemer19"


@dataclass(frozen=True)
class HaloStatistics:
    """Tables over mass and redshift; masses are M200c in solar masses, without h.

    Attributes
    ----------
    mass : (n_m,) evenly spaced in the logarithm
    redshift : (n_z,)
    density : comoving haloes per Mpc³ and per unit of ln M, (n_z, n_m); Tinker et al. 2008
    bias : linear, (n_z, n_m); Tinker et al. 2010
    concentration : c200c, (n_z, n_m); Diemer & Joyce 2019
    """

    mass: np.ndarray
    redshift: np.ndarray
    density: np.ndarray
    bias: np.ndarray
    concentration: np.ndarray

    @property
    def ln_mass(self) -> np.ndarray:
        """(n_m,)."""
        return np.log(self.mass)

    def row(self, name: str, redshift: float) -> np.ndarray:
        """A table at one redshift, (n_m,); 0 beyond the redshifts of the haloes."""
        table = getattr(self, name)
        columns = (np.interp(redshift, self.redshift, column) for column in table.T)
        return np.array(list(columns))

    def look_up(self, name: str, mass: np.ndarray, redshift: np.ndarray) -> np.ndarray:
        """A table at the mass and redshift of each halo, bilinear in ln M and z."""
        table = getattr(self, name)
        i, s = _place(np.log(mass), self.ln_mass)
        j, t = _place(redshift, self.redshift)
        low = (1 - s) * table[j, i] + s * table[j, i + 1]
        high = (1 - s) * table[j + 1, i] + s * table[j + 1, i + 1]
        return (1 - t) * low + t * high


def halo_statistics(
    cosmology: Cosmology, smallest_mass: float, z_min: float, z_max: float
) -> HaloStatistics:
    """Tables from colossus, for haloes above a mass and between two redshifts.

    Raises
    ------
    SkyError
        Mass or redshifts are out of range.
    MissingExtraError
        Colossus is not installed.
    """
    if not 1e12 <= smallest_mass < LARGEST_M200C_MSUN:
        raise SkyError(
            f"haloes must be heavier than 1e12 and lighter than {LARGEST_M200C_MSUN:g} solar "
            f"masses, got {smallest_mass:g}"
        )
    if not 0 < z_min < z_max:
        raise SkyError(f"halo redshifts need 0 < z_min < z_max, got {z_min} and {z_max}")
    mass = np.geomspace(smallest_mass, LARGEST_M200C_MSUN, _N_MASSES)
    redshift = np.linspace(z_min, z_max, max(2, round((z_max - z_min) / 0.05) + 1))
    tables: dict[str, list[np.ndarray]] = {"density": [], "bias": [], "concentration": []}
    with _colossus(cosmology) as (mass_function, bias, concentration):
        h = cosmology.h
        for z in redshift:
            density = mass_function.massFunction(
                mass * h, z, mdef="200c", model=_MASS_FUNCTION, q_out="dndlnM"
            )
            tables["density"].append(density * h**3)
            tables["bias"].append(bias.haloBias(mass * h, z, mdef="200c", model=_BIAS))
            tables["concentration"].append(
                concentration.concentration(mass * h, "200c", z, model=_CONCENTRATION)
            )
    return HaloStatistics(mass, redshift, **{k: np.stack(v) for k, v in tables.items()})


@contextmanager
def _colossus(cosmology: Cosmology) -> Iterator[tuple[Any, Any, Any]]:
    """Colossus' modules; its cosmology is one for the process, so it is put back afterwards."""
    names = ("cosmology.cosmology", "lss.mass_function", "lss.bias", "halo.concentration")
    state: Any
    state, *modules = needs([f"colossus.{name}" for name in names], "a mass function")
    before = state.current_cosmo
    parameters = {
        "flat": True,
        "relspecies": False,
        "H0": 100 * cosmology.h,
        "Om0": cosmology.omega_m,
        "Ob0": cosmology.omega_b,
        "sigma8": cosmology.sigma_8,
        "ns": cosmology.n_s,
    }
    # no persistence: colossus would write its own cache into the user's home
    state.setCosmology(f"equilens {cosmology.name}", persistence="", **parameters)
    try:
        mass_function, bias, concentration = modules
        yield mass_function, bias, concentration
    finally:
        state.current_cosmo = before


def _place(value: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cell of an even grid, and the share of the way through it."""
    position = (value - grid[0]) / (grid[1] - grid[0])
    cell = np.clip(position.astype(int), 0, grid.size - 2)
    return cell, position - cell
