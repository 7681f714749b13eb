"""Shear and convergence of haloes painted on the sky.

The field of a halo reaches to infinity, so it is split in two. A Gaussian of the halo's whole mass
and about a pixel wide, or wider for haloes that are, is drawn for all haloes at once in harmonic
space. What remains, truncated NFW minus Gaussian, has no mass: its shear dies within a few widths
and is painted pixel by pixel from closed forms. Near the centre, where a pixel is wider than the
profile, it is softened and averaged over four points, and the pixel of the centre gets what then
lacks of the known mass. The harmonic part has no monopole: the mean convergence of all haloes is
taken out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import healpy as hp
import numpy as np

from equilens.pipeline.skies import nfw
from equilens.pipeline.skies.cosmology import Cosmology
from equilens.pipeline.skies.haloes import Haloes
from equilens.pipeline.skies.shear_maps import analyse
from equilens.pipeline.skies.sources import SourceSample

FOUR_PI_G_OVER_C2 = 6.013436e-19
"""4πG/c², Mpc per solar mass."""
MEMBER_SHARE_R200 = 0.03
"""Share of cluster members among the sources at r200c."""
_WIDTH_PIXELS, _WIDTH_THETA200 = 1.0, 1.5
_PAINTED_WIDTHS = 3.5
_CORE_PIXELS, _CORE_ORDER = 1.2, 1
_SOFTENING = 0.4
"""Of the side of a point's own square: the mean over the square, about."""
_PAIRS_AT_ONCE = 100_000


@dataclass
class HaloMaps:
    """Sums over haloes, RING, to be added to as haloes are painted.

    Attributes
    ----------
    kappa : (K, npix) short-ranged convergence
    shear : (K, 2, npix) short-ranged shear
    members : (npix,) cluster members per source galaxy
    kappa_lm : (K, n_alm) long-ranged convergence
    """

    kappa: np.ndarray
    shear: np.ndarray
    members: np.ndarray
    kappa_lm: np.ndarray


@dataclass(frozen=True)
class _Profiles:
    """What the painter knows of haloes: position, angles in radians, strength by bin."""

    vector: np.ndarray  # (3, n)
    theta_s: np.ndarray  # (n,)
    theta200: np.ndarray  # (n,)
    tau: np.ndarray  # (n,)
    total: np.ndarray  # (n,) mass over that in 4π ρ_s r_s³
    strength: np.ndarray  # (K, n) rad²: convergence integrated over the sky, over `total`
    width: np.ndarray  # (n,) of the Gaussian


def paint_haloes(
    haloes: Haloes, cosmology: Cosmology, sources: SourceSample, nside: int, lmax: int
) -> HaloMaps:
    """Lensing of background sources by haloes, and their members among the sources.

    Sharing of members follows Applegate et al. (2014, arXiv:1208.0605, eq. 6): a share
    f = 0.03 exp(1 - r/r200c) of the galaxies at projected radius r, in every bin of sources.
    """
    n_pixels, n_bins = hp.nside2npix(nside), sources.n_bins
    maps = HaloMaps(
        np.zeros((n_bins, n_pixels), np.float32),
        np.zeros((n_bins, 2, n_pixels), np.float32),
        np.zeros(n_pixels, np.float32),
        np.zeros((n_bins, hp.Alm.getsize(lmax)), complex),
    )
    profiles = _profiles(haloes, cosmology, sources, nside)
    for width in np.unique(profiles.width):
        same = np.flatnonzero(profiles.width == width)
        _add_long_range(maps, profiles, haloes[same], same, nside, lmax)
    for rows, counts, pixels in _discs(profiles, nside):
        _add_short_range(maps, profiles, rows, counts, pixels)
    return maps


def _profiles(haloes: Haloes, cosmology: Cosmology, sources: SourceSample, nside: int) -> _Profiles:
    distance = cosmology.comoving_distance_mpc(haloes.redshift) / (1 + haloes.redshift)
    theta200 = haloes.theta200(cosmology)
    tau = nfw.truncation(haloes.concentration)
    unit = nfw.mass_unit(haloes.m200c_msun, haloes.concentration)
    efficiency = sources.lensing_efficiency(cosmology, haloes.redshift)
    smallest = _WIDTH_PIXELS * hp.nside2resol(nside)
    # a few widths only, because each costs a transform
    steps = np.ceil(np.log2(np.maximum(_WIDTH_THETA200 * theta200 / smallest, 1)))
    return _Profiles(
        vector=np.stack(hp.ang2vec(haloes.theta, haloes.phi).T),
        theta_s=theta200 / haloes.concentration,
        theta200=theta200,
        tau=tau,
        total=nfw.total_mass(tau),
        strength=FOUR_PI_G_OVER_C2 * unit / distance * efficiency,
        width=smallest * 2**steps,
    )


def _add_long_range(
    maps: HaloMaps, profiles: _Profiles, haloes: Haloes, rows: np.ndarray, nside: int, lmax: int
) -> None:
    """The Gaussians of one width: points on a map, shared among four pixels, then smoothed."""
    width = profiles.width[rows[0]]
    # wide Gaussians need fewer pixels; half a width's are enough to place their centres
    coarser = round(width / (_WIDTH_PIXELS * hp.nside2resol(nside)))
    coarse = max(2 * nside // coarser, 16)
    degree = min(lmax, 3 * coarse - 1)
    pixels, shares = hp.get_interp_weights(coarse, haloes.theta, haloes.phi)
    ell = np.arange(degree + 1)
    # sharing is a smoothing too, of a sixth of a pixel's area along each axis
    variance = width**2 - hp.nside2pixarea(coarse) / 6
    beam = np.exp(-0.5 * ell * (ell + 1) * variance)
    slots = hp.Alm.getidx(lmax, *hp.Alm.getlm(degree))
    for k, strength in enumerate(profiles.strength[:, rows]):
        mass = shares * strength * profiles.total[rows] / hp.nside2pixarea(coarse)
        points = np.bincount(pixels.ravel(), mass.ravel(), hp.nside2npix(coarse))
        # without iterations the modes are the exact sum over the points
        maps.kappa_lm[k, slots] += hp.almxfl(analyse(points, degree, iterations=0), beam)


def _discs(profiles: _Profiles, nside: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Haloes, how many pixels lie around each, and which, in portions that fit the cache."""
    vectors = np.ascontiguousarray(profiles.vector.T)
    # neighbours in sequence write to neighbouring memory
    order = np.argsort(hp.vec2pix(64, *profiles.vector, nest=True), kind="stable")
    radius = _PAINTED_WIDTHS * profiles.width
    rows: list[int] = []
    discs: list[np.ndarray] = []
    n_pairs = 0
    for row in order:
        discs.append(hp.query_disc(nside, vectors[row], radius[row]))
        rows.append(int(row))
        n_pairs += discs[-1].size
        if n_pairs > _PAIRS_AT_ONCE:
            yield np.array(rows), np.array([d.size for d in discs]), np.concatenate(discs)
            rows, discs, n_pairs = [], [], 0
    if rows:
        yield np.array(rows), np.array([d.size for d in discs]), np.concatenate(discs)


def _add_short_range(
    maps: HaloMaps, profiles: _Profiles, rows: np.ndarray, counts: np.ndarray, pixels: np.ndarray
) -> None:
    """Add haloes to the pixels around them.

    Parameters
    ----------
    rows, counts : (n,) haloes, and how many pixels each has
    pixels : (sum of counts,)
    """
    nside = hp.get_nside(maps.members)
    pairs = np.repeat(rows, counts)
    south, east = _offsets(profiles.vector[:, pairs], np.stack(hp.pix2vec(nside, pixels)))
    values = _field(profiles, pairs, south, east)
    core = np.flatnonzero(south**2 + east**2 < (_CORE_PIXELS * hp.nside2resol(nside)) ** 2)
    values[:, core] = _core_field(profiles, pairs[core], pixels[core], nside)
    painted = np.add.reduceat(values[0], np.cumsum(counts) - counts)
    lacking = _short_range_mass(profiles, rows) / hp.nside2pixarea(nside) - painted
    centers = hp.vec2pix(nside, *profiles.vector[:, rows])
    for k, strength in enumerate(profiles.strength):
        here = strength[pairs]
        np.add.at(maps.kappa[k], centers, (strength[rows] * lacking).astype(np.float32))
        np.add.at(maps.kappa[k], pixels, (here * values[0]).astype(np.float32))
        np.add.at(maps.shear[k, 0], pixels, (here * values[1]).astype(np.float32))
        np.add.at(maps.shear[k, 1], pixels, (here * values[2]).astype(np.float32))
    np.add.at(maps.members, pixels, values[3].astype(np.float32))


def _short_range_mass(profiles: _Profiles, rows: np.ndarray) -> np.ndarray:
    """Mass of truncated NFW minus Gaussian within the painted radius: next to none."""
    radius = _PAINTED_WIDTHS * profiles.width[rows]
    _, within = nfw.projected(radius / profiles.theta_s[rows], profiles.tau[rows])
    return within - profiles.total[rows] * (1 - np.exp(-(_PAINTED_WIDTHS**2) / 2))


def _core_field(
    profiles: _Profiles, rows: np.ndarray, pixels: np.ndarray, nside: int
) -> np.ndarray:
    """The field's mean over each pixel, on a grid of finer pixels."""
    n_finer, finer_nside = 4**_CORE_ORDER, nside * 2**_CORE_ORDER
    finer = hp.ring2nest(nside, pixels)[:, None] * n_finer + np.arange(n_finer)
    points = np.stack(hp.pix2vec(finer_nside, finer.ravel(), nest=True))
    every = np.repeat(rows, n_finer)
    offsets = _offsets(profiles.vector[:, every], points)
    softening = _SOFTENING * hp.nside2resol(finer_nside)
    values = _field(profiles, every, *offsets, softening)
    return values.reshape(len(values), -1, n_finer).mean(axis=-1)


def _offsets(halo: np.ndarray, pixel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halo as seen from the pixel, along e_θ (south) and e_φ (east); unit vectors (3, n)."""
    x, y, z = pixel
    s = np.hypot(x, y)
    toward = (x * halo[0] + y * halo[1]) / s
    return z * toward - s * halo[2], (x * halo[1] - y * halo[0]) / s


def _field(
    profiles: _Profiles,
    rows: np.ndarray,
    south: np.ndarray,
    east: np.ndarray,
    softening: float = 0.0,
) -> np.ndarray:
    """Convergence and shear per strength, and members per source, (4, n)."""
    squared = south**2 + east**2 + softening**2
    angle = np.arcsin(np.minimum(np.sqrt(squared), 1.0))
    theta_s, tau, width = profiles.theta_s[rows], profiles.tau[rows], profiles.width[rows]
    x = angle / theta_s
    total = profiles.total[rows]
    gauss = np.exp(-0.5 * (angle / width) ** 2)
    density, within = nfw.projected(x, tau)
    kappa = density / theta_s**2 - total / (2 * np.pi * width**2) * gauss
    mean = (within - total * (1 - gauss)) / (np.pi * angle**2)
    tangential = (mean - kappa) / squared
    share = MEMBER_SHARE_R200 * np.exp(1 - angle / profiles.theta200[rows])
    return np.stack(
        [
            kappa,
            # stretched across the direction to the halo
            -tangential * (south**2 - east**2),
            -tangential * 2 * south * east,
            share / (1 - share),
        ]
    )
