"""Peaks of a signal-to-noise map: local maxima, placed between pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from equilens.catalogs.crossmatch import unit_vectors
from equilens.pipeline.masses.errors import PeakError
from equilens.pipeline.masses.harmonics import Floats
from equilens.pipeline.masses.matched_filter import FilteredMap
from equilens.pipeline.masses.tangent import tangent_axes

DEFAULT_THRESHOLD = 1.5
PIXELS_AT_ONCE = 2**17
_ARCMIN = np.pi / (180 * 60)


@dataclass(frozen=True, eq=False)
class Peaks:
    """N peaks, the highest score first.

    Attributes
    ----------
    ra, dec : (N,) ICRS degrees
    score : (N,) by which they rank
    snr : (N,) signal-to-noise at the peak
    size_arcmin : (N,) of what was found: θ200 of the best template
    position_sigma_arcmin : (N,) standard deviation of the position along each axis
    method : what found them
    """

    ra: Floats
    dec: Floats
    score: Floats
    snr: Floats
    size_arcmin: Floats
    position_sigma_arcmin: Floats
    method: str

    def __len__(self) -> int:
        return len(self.ra)

    def take(self, rows: NDArray) -> Peaks:
        """Some of them, by index or mask."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _ARRAYS})


_ARRAYS = tuple(f.name for f in fields(Peaks) if f.name != "method")


def find_peaks(
    snr: Floats,
    searched: NDArray[np.bool_],
    *,
    threshold: float = DEFAULT_THRESHOLD,
    size_arcmin: float,
    method: str,
    score: Floats | None = None,
    ordering: str = "ring",
) -> Peaks:
    """Pixels higher than all their neighbours, with the summit of a paraboloid through them.

    For a filter whose map is the likelihood's square root, ``ln L = S²/2``, the curvature of S at
    the summit also gives the uncertainty of the position: σ⁻² = -S S''.

    Parameters
    ----------
    snr : (n_pixels,) map in ICRS
    searched : (n_pixels,) where peaks count; the map must be finite there
    threshold : least value of a peak's pixel in the map that ranks
    size_arcmin : of what the map was filtered for
    score : (n_pixels,) map that ranks and is searched instead of `snr`, such as logits

    Raises
    ------
    PeakError
        Maps of no or unlike HEALPix sizes, nothing searched, or no number where it is searched.
    """
    ranked = snr if score is None else score
    _check_maps(snr, ranked, searched)
    nest = ordering == "nested"
    nside = hp.npix2nside(len(snr))
    heights = np.where(searched, ranked, -np.inf)
    high = np.flatnonzero(heights >= threshold)
    summits = np.concatenate([_maxima(nside, part, heights, nest) for part in _parts(high)])
    ra, dec, rise, sigma = np.concatenate(
        [_summits(nside, part, ranked, searched, nest) for part in _parts(summits)], axis=1
    )
    at_peak = ranked[summits] + rise
    value = at_peak if score is None else snr[summits].astype(np.float64)
    order = np.argsort(-at_peak, kind="stable")
    found = Peaks(
        ra, dec, at_peak, value, np.full(len(ra), float(size_arcmin)), sigma / _ARCMIN, method
    )
    return found.take(order)


def find_halo_peaks(
    maps: Sequence[FilteredMap], *, threshold: float = DEFAULT_THRESHOLD, method: str
) -> Peaks:
    """Peaks of a bank of templates; of those at one place the most significant stays."""
    lists = [
        find_peaks(
            one.snr,
            one.searched,
            threshold=threshold,
            size_arcmin=one.theta200_arcmin,
            method=method,
        )
        for one in maps
    ]
    side = hp.nside2resol(hp.npix2nside(len(maps[0].snr)), arcmin=True)
    return merge_peaks(lists, radius_arcmin=1.5 * side)


def merge_peaks(lists: Sequence[Peaks], radius_arcmin: float) -> Peaks:
    """One list: a peak within the radius of one with a higher score is dropped."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(p, name) for p in lists]) for name in _ARRAYS
    }
    joined = replace(lists[0], **arrays)
    joined = joined.take(np.argsort(-joined.score, kind="stable"))
    if not len(joined):
        return joined
    vectors = unit_vectors(joined.ra, joined.dec)
    pairs = KDTree(vectors).query_pairs(
        2 * np.sin(radius_arcmin * _ARCMIN / 2), output_type="ndarray"
    )
    kept = np.ones(len(joined), bool)
    # pairs come as (higher, lower) score; a peak that is dropped drops no other
    for higher, lower in pairs[np.argsort(pairs[:, 0], kind="stable")]:
        kept[lower] &= not kept[higher]
    return joined.take(kept)


def _check_maps(snr: Floats, ranked: Floats, searched: NDArray[np.bool_]) -> None:
    if not (snr.shape == ranked.shape == searched.shape) or not hp.isnpixok(snr.size):
        raise PeakError(
            "maps to search must be full HEALPix skies of one size, got "
            f"{snr.shape}, {ranked.shape} and {searched.shape}"
        )
    if not searched.any():
        raise PeakError("every pixel is masked: there is nothing to search for peaks")
    lost = searched & ~(np.isfinite(ranked) & np.isfinite(snr))
    if lost.any():
        raise PeakError(
            f"the map is not finite in {int(lost.sum())} pixels to be searched, first pixel "
            f"{int(np.flatnonzero(lost)[0])}: leave them out of the searched area"
        )


def _parts(pixels: NDArray) -> list[NDArray]:
    """Pixels, as many at a time as take 0.3 GB with all that is worked out of each."""
    return np.array_split(pixels, max(1, -(-len(pixels) // PIXELS_AT_ONCE)))


def _maxima(nside: int, pixels: NDArray, heights: Floats, nest: bool) -> NDArray:
    """Those of some pixels that are higher than all their neighbours."""
    around = hp.get_all_neighbours(nside, pixels, nest=nest)
    beside = np.where(around >= 0, heights[around], -np.inf)
    # of equal neighbours the lower pixel number wins, so that a plateau has one peak
    tied = (beside == heights[pixels]) & (around < pixels)
    return pixels[~((beside > heights[pixels]) | tied).any(axis=0)]


def _summits(
    nside: int, pixels: NDArray, heights: Floats, searched: NDArray[np.bool_], nest: bool
) -> Floats:
    """RA, dec, rise above the pixel's own value, and position uncertainty (radians), (4, N)."""
    side = hp.nside2resol(nside)
    around = np.concatenate([pixels[None], hp.get_all_neighbours(nside, pixels, nest=nest)]).T
    known = (around >= 0) & searched[around]
    # maps may be float32, to be small; what is fitted is not
    summit = heights[pixels].astype(np.float64)
    x, y = _tangent(nside, pixels, around, nest) / side
    design = np.stack([np.ones_like(x), x, y, x**2 / 2, x * y, y**2 / 2], axis=-1)
    # near pixels count more: a paraboloid is what a peak looks like close to its summit only
    nearness = known * np.exp(-(x**2 + y**2) / 2)
    design *= nearness[..., None]
    values = np.where(known, heights[around] - summit[:, None], 0.0) * nearness
    f0, fx, fy, fxx, fxy, fyy = np.einsum("nij,nj->in", np.linalg.pinv(design), values)
    determinant = fxx * fyy - fxy**2
    # at the rim of a mask too few values are left to say more than the pixel itself
    dome = (known.sum(axis=1) >= 8) & (fxx < 0) & (determinant > 1e-12)
    safe = np.where(dome, determinant, 1.0)
    dx = np.where(dome, (fxy * fy - fyy * fx) / safe, 0.0)
    dy = np.where(dome, (fxy * fx - fxx * fy) / safe, 0.0)
    # a summit outside the pixel is a bad fit: the centre is better
    inside = np.hypot(dx, dy) <= 1
    dx, dy = np.where(inside, dx, 0.0), np.where(inside, dy, 0.0)
    rise = np.where(dome & inside, np.maximum(f0 + (fx * dx + fy * dy) / 2, 0.0), 0.0)
    # on each axis a parabola through a highest sample rises by an eighth of its fall at most
    fall = np.where(known, summit[:, None] - heights[around], 0.0).max(axis=1)
    rise = np.minimum(rise, fall / 4)
    strength = np.maximum(summit + rise, 1.0)
    sigma = np.where(dome, side / np.sqrt(strength * np.sqrt(safe)), side / np.sqrt(12))
    ra, dec = _offset(nside, pixels, dx * side, dy * side, nest)
    return np.stack([ra, dec, rise, sigma])


def _tangent(nside: int, pixels: NDArray, around: NDArray, nest: bool) -> Floats:
    """Offsets east and north of pixels `around` (N, 9), radians, (2, N, 9)."""
    centre, east, north = tangent_axes(*hp.pix2ang(nside, pixels, nest=nest, lonlat=True))
    there = np.stack(hp.pix2vec(nside, np.maximum(around, 0), nest=nest), axis=-1)
    depth = np.einsum("nkc,nc->nk", there, centre)
    # pixel -1, which is none, may lie anywhere: its row of the fit is zero
    depth = np.where(depth > 0.1, depth, 1.0)
    return np.stack([np.einsum("nkc,nc->nk", there, axis) / depth for axis in (east, north)])


def _offset(
    nside: int, pixels: NDArray, dx: Floats, dy: Floats, nest: bool
) -> tuple[Floats, Floats]:
    centre, east, north = tangent_axes(*hp.pix2ang(nside, pixels, nest=nest, lonlat=True))
    there = centre + dx[:, None] * east + dy[:, None] * north
    there /= np.linalg.norm(there, axis=1, keepdims=True)
    ra = np.degrees(np.arctan2(there[:, 1], there[:, 0])) % 360
    return ra, np.degrees(np.arcsin(np.clip(there[:, 2], -1, 1)))
