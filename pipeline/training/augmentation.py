"""What a night does to a cutout, done to training cutouts: the variation symmetry does not give.

Rotations by 90° and mirror images are exact symmetries of the invariant finders and change
nothing there; they are offered for networks that are not.

Brightness is varied through depth alone. A finder sees signal over noise, so scaling flux and
noise together changes nothing (but in a network that compares bands in nJy, for which there is
`zeropoint_error`), and scaling flux under unchanged noise would scale the sky's own fluctuations
too. Adding white noise of ``sqrt(depth**2 - 1)`` sigma and stating ``depth`` times the noise is
exactly the same sky seen in a shallower exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.training.resampling import axis_move, resampled


@dataclass(frozen=True)
class Augmentation:
    """Ranges of the random changes.

    Attributes
    ----------
    max_shift : whole pixels, either way, along each axis; what comes in is masked
    max_depth : largest factor on the noise; log-uniform between 1 and this
    depth_probability : of an object being made shallower at all
    noise_error : largest factor, either way, by which the stated noise is wrong
    sky_offset : standard deviation of a constant left by sky subtraction, in noise sigmas
    stripe_probability : of a masked row or column, 1 to 4 pixels wide
    dropout_probability : of losing bands, where the survey allows it
    max_missing_bands : most bands to lose at once
    rotate : also turn by 90° and mirror, for networks without that symmetry
    resample_probability : of an object being scaled, shifted by parts of a pixel and blurred, as
        far as the next three allow it; see `resampling`
    max_scale : largest factor, either way, on sizes at unchanged surface brightness
    subpixel : shift by up to half a pixel
    max_blur_px : widest Gaussian that the PSF is blurred by, in some of the bands
    zeropoint_error : largest factor, either way, on flux and noise of a band
    hole_probability : of a masked square, in one band or in all
    max_hole_px : its largest side
    """

    max_shift: int = 3
    max_depth: float = 1.5
    depth_probability: float = 0.5
    noise_error: float = 1.1
    sky_offset: float = 0.1
    stripe_probability: float = 0.1
    dropout_probability: float = 0.1
    max_missing_bands: int = 0
    rotate: bool = False
    resample_probability: float = 0.5
    max_scale: float = 1.0
    subpixel: bool = False
    max_blur_px: float = 0.0
    zeropoint_error: float = 1.0
    hole_probability: float = 0.0
    max_hole_px: int = 9

    def __post_init__(self) -> None:
        names = ("depth", "stripe", "dropout", "resample", "hole")
        for name in (f"{name}_probability" for name in names):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("max_depth", "noise_error", "max_scale", "zeropoint_error"):
            if not getattr(self, name) >= 1:
                raise TrainingError(f"{name} is a factor of at least 1, got {getattr(self, name)}")
        for name in ("max_shift", "sky_offset", "max_missing_bands", "max_blur_px"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.max_hole_px < 1:
            raise TrainingError(f"max_hole_px must be at least 1, got {self.max_hole_px}")

    @property
    def resamples(self) -> bool:
        return self.max_scale > 1 or self.subpixel or self.max_blur_px > 0


PRESETS: dict[str, dict[str, float]] = {
    "plain": {},
    "rich": {
        "resample_probability": 0.35,
        "max_scale": 1.1,
        "subpixel": True,
        "max_blur_px": 0.7,
        "zeropoint_error": 1.03,
        "hole_probability": 0.1,
    },
}
"""By name: shifts, depth, sky and masks alone; or sizes, seeing, zero points and holes as well."""


@dataclass(frozen=True)
class Examples:
    """Labelled cutouts as a network takes them.

    Attributes
    ----------
    images : (N, B, ny, nx) float32, nJy
    noise : (N, B) float32, nJy; NaN for a missing band
    mask : (N, B, ny, nx) bool, True where no sky
    band_present : (N, B) bool
    labels : (N,) float32, 1 for a lens
    rows : (N,) int64, which objects of the training set they are
    weights : (N,) float32, of their losses
    """

    images: np.ndarray
    noise: np.ndarray
    mask: np.ndarray
    band_present: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Examples:
        """Copies of the objects at `index`."""
        return Examples(**{name: values[index] for name, values in vars(self).items()})


def augment(
    pool: Examples, index: np.ndarray, how: Augmentation, rng: np.random.Generator
) -> Examples:
    """Changed copies of the objects of `pool` at `index`; the pool stays as it is."""
    images, mask = _moved(pool, index, how, rng)
    noise = pool.noise[index]
    present = pool.band_present[index]
    images, noise = _shallower(images, noise, how, rng)
    if how.sky_offset:
        offset = rng.normal(0, how.sky_offset, noise.shape).astype(np.float32)
        images += (np.nan_to_num(noise) * offset)[:, :, None, None]
    _stripe(mask, how, rng)
    _drop_bands(mask, noise, present, how, rng)
    _pierce(mask, how, rng)
    np.copyto(images, 0, where=mask)
    noise = noise * _factors(how.noise_error, noise.shape, rng)
    if how.zeropoint_error > 1:
        flux = _factors(how.zeropoint_error, noise.shape, rng)
        images *= flux[:, :, None, None]
        noise = noise * flux
    rest = (pool.labels[index], pool.rows[index], pool.weights[index])
    return Examples(images, noise, mask, present, *rest)


def _factors(most: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Log-uniform between 1/most and most."""
    limit = np.log(most)
    return np.exp(rng.uniform(-limit, limit, shape)).astype(np.float32)


def _moved(
    pool: Examples, index: np.ndarray, how: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Copies shifted by whole pixels (and turned, or resampled); what comes in is masked."""
    shape = (len(index), *pool.images.shape[1:])
    images, mask = np.zeros(shape, np.float32), np.ones(shape, bool)
    shifts = rng.integers(-how.max_shift, how.max_shift, (len(index), 2), endpoint=True)
    turns = rng.integers(0, 8, len(index)) if how.rotate else np.zeros(len(index), int)
    chosen = np.zeros(len(index), bool)
    if how.resamples:
        chosen = rng.random(len(index)) < how.resample_probability
    ny, nx = shape[-2:]
    for k in np.flatnonzero(~chosen):
        (dy, dx), turn = shifts[k], turns[k]
        to = (slice(None), slice(max(dy, 0), ny + min(dy, 0)), slice(max(dx, 0), nx + min(dx, 0)))
        of = (slice(None), slice(max(-dy, 0), ny - max(dy, 0)), slice(max(-dx, 0), nx - max(dx, 0)))
        images[k][to] = _turned(pool.images[index[k]], turn)[of]
        mask[k][to] = _turned(pool.mask[index[k]], turn)[of]
    _resample(images, mask, pool, (index, shifts, turns), np.flatnonzero(chosen), how, rng)
    return images, mask


def _resample(
    images: np.ndarray,
    mask: np.ndarray,
    pool: Examples,
    moves: tuple[np.ndarray, np.ndarray, np.ndarray],
    chosen: np.ndarray,
    how: Augmentation,
    rng: np.random.Generator,
) -> None:
    """Fill in copies that are scaled, shifted by parts of a pixel and blurred."""
    if not chosen.size:
        return
    n, n_bands, *sides = (len(chosen), *images.shape[1:])
    scale = _factors(how.max_scale, (n,), rng).astype(float)
    shifts = moves[1][chosen] + rng.uniform(-0.5, 0.5, (n, 2)) * how.subpixel
    # seeing is worse in some bands, as when they were taken on different nights
    blur = rng.uniform(0, how.max_blur_px, n)[:, None] * (rng.random((n, n_bands)) < 0.5)
    for k, place in enumerate(chosen):
        row, turn = moves[0][place], moves[2][place]
        pixels, bad = (_turned(values[row], turn) for values in (pool.images, pool.mask))
        along = [axis_move(side, scale[k], shifts[k, axis]) for axis, side in enumerate(sides)]
        noise = np.nan_to_num(pool.noise[row])
        images[place], mask[place] = resampled(
            pixels, bad, noise, (along[0], along[1]), blur[k], rng
        )


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """One of the eight symmetries of a square; a view."""
    if turn >= 4:
        pixels = pixels[..., ::-1]
    return np.rot90(pixels, turn % 4, axes=(-2, -1)) if turn % 4 else pixels


def _shallower(
    images: np.ndarray, noise: np.ndarray, how: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """White noise added to some objects, with the noise that they then have."""
    chosen = np.flatnonzero(rng.random(len(images)) < how.depth_probability)
    if how.max_depth == 1 or not chosen.size:
        return images, noise
    depth = np.exp(rng.uniform(0, np.log(how.max_depth), chosen.size)).astype(np.float32)
    extra = np.nan_to_num(noise[chosen]) * np.sqrt(depth**2 - 1)[:, None]
    for k, sigma in zip(chosen, extra, strict=True):
        images[k] += rng.standard_normal(images.shape[1:], np.float32) * sigma[:, None, None]
    noise[chosen] *= depth[:, None]
    return images, noise


def _stripe(mask: np.ndarray, how: Augmentation, rng: np.random.Generator) -> None:
    """Mask rows or columns, in every band: dead detector lines and satellite trails."""
    for k in np.flatnonzero(rng.random(len(mask)) < how.stripe_probability):
        width = rng.integers(1, 4, endpoint=True)
        start = rng.integers(0, mask.shape[-1] - width)
        if rng.random() < 0.5:
            mask[k, :, start : start + width] = True
        else:
            mask[k, :, :, start : start + width] = True


def _pierce(mask: np.ndarray, how: Augmentation, rng: np.random.Generator) -> None:
    """Mask a square, in one band or in all: cosmic rays, ghosts and what a pipeline cuts out."""
    if not how.hole_probability:
        return
    n, n_bands, ny, nx = mask.shape
    for k in np.flatnonzero(rng.random(n) < how.hole_probability):
        side = rng.integers(1, how.max_hole_px, endpoint=True)
        y, x = rng.integers(0, ny - side), rng.integers(0, nx - side)
        band = rng.integers(n_bands)
        bands = slice(None) if rng.random() < 0.5 else slice(band, band + 1)
        mask[k, bands, y : y + side, x : x + side] = True


def _drop_bands(
    mask: np.ndarray,
    noise: np.ndarray,
    present: np.ndarray,
    how: Augmentation,
    rng: np.random.Generator,
) -> None:
    """Take bands away, never beyond the limit counted with those already missing."""
    if not how.max_missing_bands:
        return
    for k in np.flatnonzero(rng.random(len(mask)) < how.dropout_probability):
        has = np.flatnonzero(present[k])
        most = min(how.max_missing_bands - (len(present[k]) - len(has)), len(has) - 1)
        if most < 1:
            continue
        lost = rng.choice(has, rng.integers(1, most, endpoint=True), replace=False)
        mask[k, lost], noise[k, lost], present[k, lost] = True, np.nan, False
