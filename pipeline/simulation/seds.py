"""Broad-band colours of galaxies by redshift.

Two rest-frame spectra in f_ν: an old population, after the mean elliptical of Coleman, Wu &
Weedman (1980, ApJS 43, 393) continued into the near infrared, and a young one with a nearly flat
ultraviolet slope and the intergalactic break below 1216 Å. Any galaxy is a mixture in magnitudes.
Bands are means of f_ν over a box of the band's width: colours good to about 0.15 mag, which is
what a training population needs.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_OLD = {
    912: 5e-4, 1500: 2e-3, 2300: 5e-3, 2700: 1.6e-2, 3000: 3.2e-2, 3550: 8.5e-2, 3850: 0.14,
    4050: 0.27, 4300: 0.38, 4770: 0.50, 5500: 0.79, 6230: 1.0, 7630: 1.44, 9130: 1.82,
    10500: 2.1, 12500: 2.45, 16500: 2.95, 22000: 2.5, 36000: 1.4,
}  # fmt: skip
_YOUNG = {
    800: 1e-3, 912: 0.02, 1150: 0.20, 1250: 0.42, 1500: 0.47, 2000: 0.52, 2800: 0.58, 3500: 0.64,
    4000: 0.80, 4500: 0.86, 5500: 0.95, 6230: 1.0, 7630: 1.05, 9130: 1.09, 12500: 1.16,
    16500: 1.18, 22000: 1.0, 36000: 0.7,
}  # fmt: skip
_REST_REFERENCE_ANGSTROM = 6230.0
_BAND_BOXES_NM = {
    "u": (365, 60), "g": (480, 140), "r": (622, 140), "i": (763, 150), "z": (905, 110),
    "y": (970, 80), "Y": (1080, 260), "J": (1370, 400), "H": (1770, 500), "VIS": (715, 360),
}  # fmt: skip
_SPEED_OF_LIGHT_KM_S = 299_792.458


def band_box_nm(generic: str, wavelength_nm: float) -> tuple[float, float]:
    """Return the central wavelength and full width of a band; 20 % wide if it is unknown."""
    known = _BAND_BOXES_NM.get(generic)
    if known is None:
        return wavelength_nm, 0.2 * wavelength_nm
    return (wavelength_nm or known[0]), known[1]


def rest_spectrum(angstrom: NDArray, youth: NDArray) -> NDArray:
    """Return f_ν relative to 6230 Å; youth 0 is old, 1 is young, in between in magnitudes."""
    log = np.log(angstrom)
    old, young = (
        np.interp(log, np.log(list(table)), np.log(list(table.values())))
        for table in (_OLD, _YOUNG)
    )
    return np.exp((1 - youth) * old + youth * young)


def observed_spectrum(
    boxes_nm: list[tuple[float, float]], redshift: NDArray, youth: NDArray
) -> NDArray:
    """Return the mean f_ν in each band, relative to rest-frame 6230 Å, without the (1 + z) factor.

    Parameters
    ----------
    redshift, youth : (n,) arrays

    Returns
    -------
    (n, B) array
    """
    centres, widths = (np.array(v, dtype=float) for v in zip(*boxes_nm, strict=True))
    samples = centres[:, None] + widths[:, None] * np.linspace(-0.4, 0.4, 5)
    rest = 10 * samples[None] / (1 + redshift)[:, None, None]
    return rest_spectrum(rest, youth[:, None, None]).mean(axis=2)


def band_ratios(
    boxes_nm: list[tuple[float, float]], redshift: NDArray, youth: NDArray, reference: int = 0
) -> NDArray:
    """Return fluxes (n, B) relative to the band at index `reference`."""
    flux = observed_spectrum(boxes_nm, redshift, youth)
    return flux / flux[:, reference : reference + 1]


def apparent_magnitude(
    absolute_mag: NDArray, box_nm: tuple[float, float], redshift: NDArray, youth: NDArray
) -> NDArray:
    """Return the AB magnitude in a band of galaxies with rest-frame r magnitude `absolute_mag`."""
    relative = (1 + redshift) * observed_spectrum([box_nm], redshift, youth)[:, 0]
    return absolute_mag + distance_modulus(redshift) - 2.5 * np.log10(relative)


@functools.cache
def _distance_table() -> tuple[NDArray, NDArray]:
    z = np.linspace(0.0, 8.0, 1601)
    inverse = 1 / np.sqrt(0.31 * (1 + z) ** 3 + 0.69)
    steps = 0.5 * (inverse[1:] + inverse[:-1]) * np.diff(z)
    return z, _SPEED_OF_LIGHT_KM_S / 67.7 * np.concatenate([[0.0], np.cumsum(steps)])


def comoving_distance_mpc(redshift: NDArray) -> NDArray:
    """Return the comoving distance in flat ΛCDM, H0 = 67.7 km/s/Mpc and Ω_m = 0.31."""
    return np.interp(redshift, *_distance_table())


def distance_modulus(redshift: NDArray) -> NDArray:
    """Return 5 log10(D_L / 10 pc)."""
    luminosity = (1 + redshift) * comoving_distance_mpc(redshift)
    return 5 * np.log10(luminosity) + 25


def arcsec_per_kpc(redshift: NDArray) -> NDArray:
    """Return the angle that one kpc subtends."""
    angular_mpc = comoving_distance_mpc(redshift) / (1 + redshift)
    return 206_264.806 / (angular_mpc * 1000)


def einstein_radius_arcsec(
    velocity_dispersion_km_s: NDArray, z_lens: NDArray, z_source: NDArray
) -> NDArray:
    """Return θ_E = 4π (σ/c)² D_ls / D_s of an isothermal deflector in a flat universe."""
    near, far = comoving_distance_mpc(z_lens), comoving_distance_mpc(z_source)
    ratio = np.clip(1 - near / far, 0, None)
    return 4 * np.pi * (velocity_dispersion_km_s / _SPEED_OF_LIGHT_KM_S) ** 2 * ratio * 206_264.806
