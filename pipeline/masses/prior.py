"""Angular power of the convergence in redshift bins: what the filters take for known.

It is measured on the truths of other skies, so no cosmology enters but theirs: C_l of each pair of
bins, averaged over the skies.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import healpy as hp
import numpy as np

from equilens.pipeline.masses.errors import PriorError
from equilens.pipeline.masses.harmonics import Floats, Harmonics
from equilens.pipeline.masses.sky_columns import last_bin, sky_columns
from equilens.pipeline.provenance import write_json_atomic
from equilens.pipeline.skies.sky_files import truth_path
from equilens.pipeline.skymaps.store import SkyMapStore

KIND = "convergence prior"


@dataclass(frozen=True, eq=False)
class ConvergencePrior:
    """Spectra of K bins.

    Attributes
    ----------
    spectra : (lmax+1, K, K), symmetric and positive semi-definite at each degree
    skies : fingerprints of the truths that it was measured on
    """

    spectra: Floats
    skies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape = self.spectra.shape
        if len(shape) != 3 or shape[1] != shape[2]:
            raise PriorError(f"spectra must have shape (lmax+1, K, K), got {shape}")
        if not np.isfinite(self.spectra).all():
            raise PriorError("spectra must be finite: a sky that they come from has masked pixels")
        lowest = np.linalg.eigvalsh(self.spectra).min()
        if lowest < -1e-9 * np.abs(self.spectra).max():
            raise PriorError(
                "spectra must be positive semi-definite at each degree, got an eigenvalue of "
                f"{lowest:g}"
            )

    @property
    def n_bins(self) -> int:
        return self.spectra.shape[1]

    @property
    def lmax(self) -> int:
        return len(self.spectra) - 1

    def to(self, lmax: int, n_bins: int) -> Floats:
        """Spectra up to `lmax`, (lmax+1, K, K), of a sky with so many bins."""
        if n_bins != self.n_bins or lmax > self.lmax:
            raise PriorError(
                f"a prior of {self.n_bins} bins up to lmax {self.lmax} does not fit {n_bins} bins "
                f"and lmax {lmax}: measure it on skies like this one"
            )
        return self.spectra[: lmax + 1]

    def of_mean(self, shares: Floats) -> Floats:
        """Spectrum of the mean convergence with these shares of the bins, (lmax+1,)."""
        return np.einsum("k,lkj,j->l", shares, self.spectra, shares)

    def save(self, path: Path | str) -> None:
        """Write as JSON, atomically."""
        content = {"kind": KIND, "skies": list(self.skies), "spectra": self.spectra.tolist()}
        write_json_atomic(path, content)


def read_prior(path: Path | str) -> ConvergencePrior:
    """Read what `ConvergencePrior.save` wrote."""
    try:
        content = json.loads(Path(path).read_text())
        if content["kind"] != KIND:
            raise KeyError("kind")
        return ConvergencePrior(np.asarray(content["spectra"], float), tuple(content["skies"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PriorError(f"{path} holds no {KIND} ({error}): make it with its command") from error


def read_truth(sky: Path | str) -> Floats:
    """True convergence of each bin of a simulated sky, (K, n_pixels), RING; NaN where masked."""
    store = SkyMapStore.open(truth_path(sky))
    wanted = sky_columns(last_bin(store, "KAPPA"), ("KAPPA",))
    if not wanted or set(wanted) - set(store.columns):
        raise PriorError(
            f"{store.path}: the truth needs KAPPA_BIN1…K, columns are {list(store.columns)}"
        )
    return np.asarray([store.read(name, "ring") for name in wanted], dtype=np.float64)


def mean_convergence(sky: Path | str, shares: np.ndarray) -> np.ndarray:
    """True κ of the mean galaxy, (12 nside²,) float32, NESTED.

    Parameters
    ----------
    sky : path of the observed sky
    shares : (K,) of each bin in all weight, adding up to 1
    """
    return hp.reorder(shares @ read_truth(sky), r2n=True).astype(np.float32)


def measure_prior(skies: Sequence[Path | str], lmax: int | None = None) -> ConvergencePrior:
    """Mean spectra of the true convergence of simulated skies.

    Parameters
    ----------
    skies : paths of the observed skies; their truths lie beside them
    lmax : highest degree; ``3 nside - 1`` by default
    """
    if not skies:
        raise PriorError("a prior is measured on other skies than the one it serves: give some")
    total, fingerprints = None, []
    for sky in skies:
        measured = kappa_spectra(read_truth(sky), lmax)
        if total is not None and measured.shape != total.shape:
            raise PriorError(f"{sky} has another nside or number of bins than {skies[0]}")
        total = measured if total is None else total + measured
        fingerprints.append(SkyMapStore.open(sky).fingerprint)
    assert total is not None
    return ConvergencePrior(total / len(skies), tuple(fingerprints))


def kappa_spectra(kappa: Floats, lmax: int | None = None) -> Floats:
    """Auto and cross spectra of maps (K, n_pixels), (lmax+1, K, K)."""
    nside = hp.npix2nside(kappa.shape[1])
    harmonics = Harmonics(nside, 3 * nside - 1 if lmax is None else lmax)
    alm = [harmonics.scalar_analysis(np.asarray(one, np.float64)) for one in kappa]
    spectra = [[hp.alm2cl(a, b, lmax=harmonics.lmax) for b in alm] for a in alm]
    return np.moveaxis(np.asarray(spectra), -1, 0)
