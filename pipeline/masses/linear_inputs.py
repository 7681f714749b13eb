"""Linear filters of the shear that a mapper starts from: Wiener's for κ, matched ones for haloes.

They are equivariant, have the whole sky in view, and for κ nothing is better on a Gaussian one. A
network that is given their maps learns what is left: what haloes and lognormal matter do beyond
their power spectra, for which a few pixels around suffice. All come from the same shear and the
same spectra that the classical methods are given, so that the comparison with them stays fair: a
network that learns nothing *is* the Wiener filter.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import healpy as hp
import numpy as np

from equilens.pipeline.errors import StoreError
from equilens.pipeline.masses.matched_filter import SCALES_ARCMIN, matched_filter
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps, read_shear
from equilens.pipeline.masses.wiener import WienerFilter
from equilens.pipeline.skies.map_store import write_map_store
from equilens.pipeline.skymaps.store import SkyMapStore

# of the solver: what is left is a thousandth of the map, far below its own uncertainty
TOLERANCE = 1e-3


def linear_columns(n_bins: int) -> tuple[str, ...]:
    """Names of the maps: κ of the mean galaxy, of each bin, and haloes filtered at each scale."""
    filtered = (f"HALO_SNR_{scale:g}ARCMIN" for scale in SCALES_ARCMIN)
    return ("WIENER", *(f"WIENER_BIN{k + 1}" for k in range(n_bins)), *filtered)


def linear_estimate(maps: ShearMaps, prior: ConvergencePrior) -> np.ndarray:
    """Linear maps in the order of `linear_columns`, (L, n_pixels) float32, NESTED.

    0 where nothing is observed.

    Parameters
    ----------
    maps : shear of K bins
    prior : power of each pair of bins; it is solved for up to the prior's own lmax
    """
    lmax = min(prior.lmax, 3 * maps.nside - 1)
    solver = WienerFilter(maps, prior, lmax=lmax, tolerance=TOLERANCE)
    alm = solver.solve(maps.shear).kappa
    by_bin = np.stack([solver.harmonics.scalar(one) for one in alm])
    filtered = [one.snr for one in matched_filter(maps, prior, lmax=lmax)]
    estimates = np.concatenate([(maps.shares @ by_bin)[None], by_bin, np.stack(filtered)])
    estimates *= maps.observed
    return np.stack([hp.reorder(one, r2n=True) for one in estimates]).astype(np.float32)


def linear_identity(sky_fingerprint: str, prior: ConvergencePrior) -> dict[str, str]:
    """What linear estimates depend on."""
    spectra = hashlib.sha256(np.ascontiguousarray(prior.spectra).tobytes()).hexdigest()
    columns = ",".join(linear_columns(prior.n_bins))
    return {
        "sky": sky_fingerprint,
        "prior": spectra,
        "columns": columns,
        "tolerance": str(TOLERANCE),
    }


def store_linear(sky: Path | str, prior: ConvergencePrior, out: Path) -> SkyMapStore:
    """Linear estimates of a sky as a store; an equal one that is there already stays."""
    wanted = linear_identity(SkyMapStore.open(sky).fingerprint, prior)
    try:
        found = SkyMapStore.open(out)
    except StoreError:
        found = None
    if found is not None and found.manifest.get("linear") == wanted:
        return found
    maps = read_shear(sky)
    estimates = linear_estimate(maps, prior)
    columns = dict(zip(linear_columns(maps.n_bins), estimates, strict=True))
    facts = {"linear": wanted, "shares": maps.shares.tolist()}
    return write_map_store(out, columns, ordering="nested", facts=facts, replace=True)
