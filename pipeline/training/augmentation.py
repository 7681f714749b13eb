"""What a night does to a cutout, done to training cutouts: the variation symmetry does not give.

Rotations by 90° and mirror images are exact symmetries of the invariant finders and change
nothing there; they are offered for networks that are not.

Brightness is varied through depth alone. A finder sees signal over noise, so scaling flux and
noise together changes nothing, and scaling flux under unchanged noise would scale the sky's own
fluctuations too. Adding white noise of ``sqrt(depth**2 - 1)`` sigma and stating ``depth`` times
the noise is exactly the same sky seen in a shallower exposure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equilens.pipeline.errors import TrainingError


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

    def __post_init__(self) -> None:
        for name in ("depth_probability", "stripe_probability", "dropout_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("max_depth", "noise_error"):
            if not getattr(self, name) >= 1:
                raise TrainingError(f"{name} is a factor of at least 1, got {getattr(self, name)}")
        for name in ("max_shift", "sky_offset", "max_missing_bands"):
            if getattr(self, name) < 0:
                raise TrainingError(f"{name} must not be negative, got {getattr(self, name)}")


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
    """

    images: np.ndarray
    noise: np.ndarray
    mask: np.ndarray
    band_present: np.ndarray
    labels: np.ndarray

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
    np.copyto(images, 0, where=mask)
    limit = np.log(how.noise_error)
    wrong = np.exp(rng.uniform(-limit, limit, noise.shape)).astype(np.float32)
    return Examples(images, noise * wrong, mask, present, pool.labels[index])


def _moved(
    pool: Examples, index: np.ndarray, how: Augmentation, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Copies shifted by whole pixels (and turned); pixels from outside are masked."""
    shape = (len(index), *pool.images.shape[1:])
    images, mask = np.zeros(shape, np.float32), np.ones(shape, bool)
    shifts = rng.integers(-how.max_shift, how.max_shift, (len(index), 2), endpoint=True)
    turns = rng.integers(0, 8, len(index)) if how.rotate else np.zeros(len(index), int)
    ny, nx = shape[-2:]
    for k, (row, (dy, dx), turn) in enumerate(zip(index, shifts, turns, strict=True)):
        to = (slice(None), slice(max(dy, 0), ny + min(dy, 0)), slice(max(dx, 0), nx + min(dx, 0)))
        of = (slice(None), slice(max(-dy, 0), ny - max(dy, 0)), slice(max(-dx, 0), nx - max(dx, 0)))
        images[k][to] = _turned(pool.images[row], turn)[of]
        mask[k][to] = _turned(pool.mask[row], turn)[of]
    return images, mask


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
