"""Linear filters of the shear that a mapper starts from: Wiener's for κ, matched ones for haloes.

They are equivariant, have the whole sky in view, and for κ nothing is better on a Gaussian one. A
network that is given their maps learns what is left: what haloes and lognormal matter do beyond
their power spectra, for which a few pixels around suffice. All come from the same shear and the
same spectra that the classical methods are given, so that the comparison with them stays fair: a
network that learns nothing *is* the Wiener filter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from equilens.pipeline.errors import StoreError
from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.masses.matched_filter import SCALES_ARCMIN, MatchedFilter
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps, read_shear
from equilens.pipeline.masses.wiener import WienerFilter
from equilens.pipeline.skymaps.store import SkyMapStore
from equilens.pipeline.skymaps.writer import MapLayout, MapWriter
from equilens.pipeline.stores import prepare_path

# of the solver: what is left is a thousandth of the map, far below its own uncertainty
TOLERANCE = 1e-3


def linear_columns(n_bins: int) -> tuple[str, ...]:
    """Names of the maps: κ of the mean galaxy, of each bin, and haloes filtered at each scale."""
    filtered = (f"HALO_SNR_{scale:g}ARCMIN" for scale in SCALES_ARCMIN)
    return ("WIENER", *(f"WIENER_BIN{k + 1}" for k in range(n_bins)), *filtered)


def linear_maps(
    maps: ShearMaps, prior: ConvergencePrior, threads: int = 1
) -> Iterator[tuple[str, Floats]]:
    """Linear maps by name, (n_pixels,) RING, one after the other; 0 where nothing is observed.

    Parameters
    ----------
    maps : shear of K bins
    prior : power of each pair of bins; it is solved for up to the prior's own lmax
    threads : of the transforms
    """
    lmax, observed = min(prior.lmax, 3 * maps.nside - 1), maps.observed
    names = linear_columns(maps.n_bins)
    by_bin, filtered = names[1 : maps.n_bins + 1], names[maps.n_bins + 1 :]
    kappa_of_mean = np.zeros(observed.size)
    wiener = _wiener_maps(maps, prior, lmax, threads)
    for name, share, kappa in zip(by_bin, maps.shares, wiener, strict=True):
        kappa *= observed
        kappa_of_mean += share * kappa
        yield name, kappa
    yield names[0], kappa_of_mean
    haloes = MatchedFilter(maps, prior, lmax=lmax, threads=threads).filter_by_scale(maps)
    for name, one in zip(filtered, haloes, strict=True):
        yield name, one.snr * observed


def _wiener_maps(
    maps: ShearMaps, prior: ConvergencePrior, lmax: int, threads: int
) -> Iterator[Floats]:
    solver = WienerFilter(maps, prior, lmax=lmax, tolerance=TOLERANCE, threads=threads)
    for alm in solver.solve(maps.shear).kappa:
        yield solver.harmonics.scalar(alm)


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


def store_linear(
    sky: Path | str, prior: ConvergencePrior, out: Path, threads: int = 1
) -> SkyMapStore:
    """Linear estimates of a sky as a store; an equal one that is there already stays."""
    wanted = linear_identity(SkyMapStore.open(sky).fingerprint, prior)
    try:
        found = SkyMapStore.open(out)
    except StoreError:
        found = None
    if found is not None and found.manifest.get("linear") == wanted:
        return found
    maps = read_shear(sky)
    layout = MapLayout(
        maps.nside,
        "icrs",
        dict.fromkeys(linear_columns(maps.n_bins), "1"),
        original_ordering="ring",
    )
    writer = MapWriter.create(prepare_path(out, replace=True), layout)
    for name, values in linear_maps(maps, prior, threads):
        writer.write_column(name, values, "ring")
    return writer.finish({"linear": wanted, "shares": maps.shares.tolist()})
