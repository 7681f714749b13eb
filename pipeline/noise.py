"""Background noise of cutouts, from their noise planes or from the pixels themselves.

A cutout's own scatter counts its galaxy as noise, and neighbouring pixels of a resampled image
agree with each other and hide noise. Both are avoided by differences over a lag ``L``,

    d = (a[y, x] - a[y, x+L] - a[y+L, x] + a[y+L, x+L]) / 2 ,

which vanish on any sky offset and wherever light changes linearly, and whose variance is that of
a pixel once L exceeds the correlation length (it is ``(1 - rho(L))**2`` times that for a separable
correlation rho). The lag is doubled until the variance stops rising: the knee of the structure
function. Only the quietest blocks of a cutout are looked at, those with the least light, and
among them blocks that stand out (a faint star, a hot pixel) are left out.
"""

from __future__ import annotations

from functools import cache

import numpy as np

ESTIMATED = "lag-differences"
FROM_PLANE = "rms-plane"
LAGS = (1, 2, 4, 8)
BLOCK_SIDE = 10
QUIET_FRACTION = 0.3
MIN_BLOCKS = 6
# a block whose variance exceeds the median of the quiet ones by this holds more than noise
OUTLIER = 2.5
# doubling the lag must raise the variance by this much to be worth the starlight it lets in
KNEE = 1.12
# noise saturates: each doubling adds far less than the one before, while starlight adds more.
# After growth g the next is at most CAP + (g - 1)**2 / CAP_SLOPE (from resampled white noise)
CAP, CAP_SLOPE = 1.05, 16
# a block with a smaller share of its differences unmasked says too little
MIN_COVERAGE = 0.3
# planes worked on at once: they fit the processor's cache
PLANES_AT_ONCE = 8


def background_noise(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Standard deviation of the background in one pixel.

    Parameters
    ----------
    images : (N, B, ny, nx) float32, nJy, 0 where masked
    mask : (N, B, ny, nx) bool, True where a pixel carries no sky

    Returns
    -------
    (N, B) float64, nJy; NaN where too few pixels are left, 0 where neighbours never differ.
    Correlation over more than 8 pixels is beyond it: trust the survey's noise plane there.
    """
    planes = images.reshape(-1, *images.shape[-2:])
    masked = mask.reshape(planes.shape).any(axis=(-2, -1))
    sigma = np.empty(len(planes))
    if not masked.all():
        sigma[~masked] = _knee(planes if not masked.any() else planes[~masked], None)
    if masked.any():
        valid = ~mask.reshape(planes.shape)[masked]
        sigma[masked] = _knee(planes[masked], valid.astype(np.float32))
    return sigma.reshape(images.shape[:2])


def plane_noise(rms: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Median of each noise plane over the pixels that carry sky; NaN where none does.

    Parameters
    ----------
    rms : (B, ny, nx) noise planes, NaN where unknown
    mask : (B, ny, nx) bool
    """
    usable = ~mask & np.isfinite(rms) & (rms > 0)
    sigma = np.full(len(rms), np.nan)
    for b in np.flatnonzero(usable.any(axis=(-2, -1))):
        sigma[b] = np.median(rms[b][usable[b]])
    return sigma


def _knee(planes: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Noise of each plane (P, ny, nx), where its structure function stops rising."""
    quiet = _quiet_blocks(planes, weight)
    variance = _variance(planes, weight, quiet, LAGS[0])
    rising, growth = np.arange(len(planes)), np.full(len(planes), np.inf)
    for lag in LAGS[1:]:
        if 3 * lag > min(planes.shape[-2:]) or not rising.size:
            break
        part = slice(None) if rising.size == len(planes) else rising
        longer = _variance(planes[part], None if weight is None else weight[part], quiet[part], lag)
        shorter = variance[rising]
        with np.errstate(divide="ignore", invalid="ignore"):
            longer = np.fmin(longer, shorter * (CAP + (growth - 1) ** 2 / CAP_SLOPE))
            growth = longer / shorter
        # past the knee both lags measure the same thing
        variance[rising] = np.where(growth > KNEE, longer, (shorter + longer) / 2)
        rising, growth = rising[growth > KNEE], growth[growth > KNEE]
    return np.sqrt(variance)


def _quiet_blocks(planes: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Indices (P, K) of the blocks with the least light in each plane."""
    shape = planes.shape[-2:]
    full = _block_sizes(shape, 0)
    count = full if weight is None else _difference_counts(weight, shape, 0)
    light = _block_sums(planes, shape, 0) / np.maximum(count, 1)
    light[np.broadcast_to(count < MIN_COVERAGE * full, light.shape)] = np.inf
    wanted = min(max(MIN_BLOCKS, round(QUIET_FRACTION * full.size)), full.size - 1)
    return np.argpartition(light, wanted, axis=-1)[:, :wanted]


def _variance(
    planes: np.ndarray, weight: np.ndarray | None, quiet: np.ndarray, lag: int
) -> np.ndarray:
    """Variance (P,) of the differences at one lag in the quiet blocks."""
    shape = planes.shape[-2:]
    full = _block_sizes(shape, lag)[quiet]
    counts = full
    if weight is not None:
        counts = np.take_along_axis(_difference_counts(weight, shape, lag), quiet, axis=-1)
    sums = np.take_along_axis(_block_sums(planes, shape, lag, weight), quiet, axis=-1) / 4
    covered = (counts >= MIN_COVERAGE * full) & (counts > 0)
    level = np.where(covered, sums / np.maximum(counts, 1), np.nan)
    middle = np.maximum(covered.sum(axis=-1, keepdims=True) - 1, 0) // 2
    typical = np.take_along_axis(np.sort(level, axis=-1), middle, axis=-1)  # NaN sorts last
    used = covered & (level <= OUTLIER * typical)
    total = (counts * used).sum(axis=-1)
    return np.where(total > 0, (sums * used).sum(axis=-1) / np.maximum(total, 1), np.nan)


def _block_sums(
    planes: np.ndarray, shape: tuple[int, int], lag: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """Sums (P, K) over blocks: of the pixels at lag 0, of squared differences at any other.

    With `weight`, differences that touch a masked pixel count nothing.
    """
    down, across = _membership(shape[0], lag), _membership(shape[1], lag).T
    sums = np.empty((len(planes), len(down) * across.shape[1]))
    scratch = np.zeros((2, PLANES_AT_ONCE * shape[0] * shape[1]), planes.dtype)
    for start in range(0, len(planes), PLANES_AT_ONCE):
        part = slice(start, start + PLANES_AT_ONCE)
        values = planes[part] if lag == 0 else _squared_difference(planes[part], lag, scratch)
        if weight is not None and lag:
            values *= _corners_valid(weight[part], lag)
        sums[part] = (down @ values @ across).reshape(len(values), -1)
    return sums


def _difference_counts(weight: np.ndarray, shape: tuple[int, int], lag: int) -> np.ndarray:
    """Differences (P, K) that touch no masked pixel, in each block."""
    down, across = _membership(shape[0], lag), _membership(shape[1], lag).T
    return (down @ _corners_valid(weight, lag) @ across).reshape(len(weight), -1)


def _squared_difference(planes: np.ndarray, lag: int, scratch: np.ndarray) -> np.ndarray:
    """(P, ny - lag, nx - lag), valid until `scratch`, two arrays of the planes' size, is reused."""
    # every row: resampled images differ in noise from one row to the next, so none may be skipped
    n, ny, nx = planes.shape
    pixels = planes.reshape(-1)
    # as one long row, which is faster; what wraps around an edge is cut off at the end
    across, squares = scratch[0, : pixels.size - lag], scratch[1, : pixels.size]
    part = squares[: pixels.size - lag * (nx + 1)]
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(pixels[lag:], pixels[:-lag], out=across)
        np.subtract(across[lag * nx :], across[: -lag * nx], out=part)
        np.multiply(part, part, out=part)
    return squares.reshape(n, ny, nx)[:, :-lag, :-lag]


def _corners_valid(weight: np.ndarray, lag: int) -> np.ndarray:
    if lag == 0:
        return weight
    across = weight[..., lag:] * weight[..., :-lag]
    return across[..., lag:, :] * across[..., :-lag, :]


@cache
def _block_sizes(shape: tuple[int, int], lag: int) -> np.ndarray:
    """Differences (K,) centred in each block of an unmasked plane."""
    down, across = _membership(shape[0], lag), _membership(shape[1], lag)
    return np.outer(down.sum(axis=1), across.sum(axis=1)).ravel()


@cache
def _membership(side: int, lag: int) -> np.ndarray:
    """(blocks, side - lag): 1 where a difference over `lag` is centred in a block of the side."""
    n_blocks = max(3, round(side / BLOCK_SIDE))
    edges = np.linspace(0, side, n_blocks + 1)
    centres = np.arange(side - lag) + lag / 2
    member = np.zeros((n_blocks, side - lag), dtype=np.float32)
    member[np.searchsorted(edges, centres, side="right") - 1, np.arange(side - lag)] = 1
    return member
