"""Matter power spectrum P(k, z) of CAMB with halofit, kept on disk once computed."""

from __future__ import annotations

import io
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from equilens.pipeline.provenance import fingerprint, write_atomic
from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.errors import needs

_HALOFIT = "takahashi"
_LARGEST_K = 20.0  # 1/Mpc, computed; beyond it the spectrum goes on as a power law
_REDSHIFTS = np.linspace(0.0, 3.0, 31)


@dataclass(frozen=True)
class MatterPower:
    """Nonlinear matter power on a grid.

    Attributes
    ----------
    wavenumber : (n_k,) comoving, 1/Mpc
    redshift : (n_z,)
    power : (n_z, n_k) Mpc³
    """

    wavenumber: np.ndarray
    redshift: np.ndarray
    power: np.ndarray

    def at(self, redshift: float, wavenumber: np.ndarray) -> np.ndarray:
        """P(k) at one redshift, by log-log interpolation, Mpc³."""
        row = min(int(np.searchsorted(self.redshift, redshift)), self.redshift.size - 1)
        before = max(row - 1, 0)
        gap = self.redshift[row] - self.redshift[before]
        share = (redshift - self.redshift[before]) / gap if gap else 0.0
        log_power = (1 - share) * np.log(self.power[before]) + share * np.log(self.power[row])
        log_k, asked = np.log(self.wavenumber), np.log(wavenumber)
        return np.exp(np.interp(asked, log_k, log_power) + _beyond(asked, log_k, log_power))


def _beyond(asked: np.ndarray, log_k: np.ndarray, log_power: np.ndarray) -> np.ndarray:
    """What a power law adds beyond both ends of the table, where np.interp stays constant."""
    first = (log_power[1] - log_power[0]) / (log_k[1] - log_k[0])
    last = (log_power[-1] - log_power[-2]) / (log_k[-1] - log_k[-2])
    return first * np.minimum(asked - log_k[0], 0) + last * np.maximum(asked - log_k[-1], 0)


def default_cache() -> Path:
    """The user's cache folder for spectra, by the XDG convention."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "equilens" / "matter_power"


def matter_power(cosmology: Cosmology, cache: Path | str | None = None) -> MatterPower:
    """P(k, z) of a model: from `cache`, or from CAMB and then into `cache`.

    Parameters
    ----------
    cache : folder; `default_cache` if none is given

    Raises
    ------
    MissingExtraError
        It is not in the cache, and CAMB is not installed.
    """
    content = {
        "cosmology": {key: value for key, value in asdict(cosmology).items() if key != "name"},
        "halofit": _HALOFIT,
        "largest_k": _LARGEST_K,
        "redshifts": _REDSHIFTS.tolist(),
    }
    file = Path(cache or default_cache()) / f"{fingerprint(content)[:16]}.npz"
    if file.exists():
        with np.load(file, allow_pickle=False) as held:
            return MatterPower(held["wavenumber"], held["redshift"], held["power"])
    made = _run_camb(cosmology)
    buffer = io.BytesIO()
    np.savez(buffer, **vars(made), camb=np.array(version("camb")))
    write_atomic(file, buffer.getvalue())
    return made


def _run_camb(cosmology: Cosmology) -> MatterPower:
    (camb,) = needs(["camb"], "a matter power spectrum")
    amplitude = 2.1e-9
    linear = camb.get_results(_camb_parameters(camb, cosmology, amplitude, False))
    amplitude *= (cosmology.sigma_8 / float(linear.get_sigma8_0())) ** 2
    results = camb.get_results(_camb_parameters(camb, cosmology, amplitude, True))
    wavenumber, redshift, power = results.get_matter_power_spectrum(
        minkh=1e-4, maxkh=_LARGEST_K / cosmology.h, npoints=600
    )
    h = cosmology.h
    return MatterPower(np.asarray(wavenumber) * h, np.asarray(redshift), np.asarray(power) / h**3)


def _camb_parameters(camb: Any, cosmology: Cosmology, amplitude: float, nonlinear: bool) -> Any:
    h = cosmology.h
    parameters = camb.CAMBparams()
    parameters.set_cosmology(
        H0=100 * h,
        ombh2=cosmology.omega_b * h**2,
        omch2=(cosmology.omega_m - cosmology.omega_b) * h**2,
        mnu=0.0,
        omk=0.0,
    )
    parameters.InitPower.set_params(As=amplitude, ns=cosmology.n_s)
    parameters.WantCls = False
    parameters.NonLinearModel.set_params(halofit_version=_HALOFIT)
    parameters.NonLinear = camb.model.NonLinear_pk if nonlinear else camb.model.NonLinear_none
    redshifts = _REDSHIFTS[::-1].tolist() if nonlinear else [0.0]
    parameters.set_matter_power(redshifts=redshifts, kmax=_LARGEST_K if nonlinear else 5.0)
    return parameters
