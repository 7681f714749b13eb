"""PSFs given as images, varied from field to field."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equilens.pipeline.simulation.conditions import PsfSource
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.psf import kernel_fwhm_pixels, normalised


def load_psf_images(sources: tuple[PsfSource, ...], n_bands: int) -> list[NDArray]:
    """Return one square PSF image a band, unit sum, odd side.

    Parameters
    ----------
    sources : arrays, ``.npy`` files, or FITS files as ``path`` or ``path#EXTENSION``; pixels are
        the survey's own
    """
    if len(sources) != n_bands:
        raise SimulationError(
            f"psf_images must have one image a band, got {len(sources)} for {n_bands} bands"
        )
    return [_checked(_read(source)) for source in sources]


def _read(source: PsfSource) -> NDArray:
    if isinstance(source, np.ndarray):
        return source
    path, _, extension = str(source).partition("#")
    if path.endswith(".npy"):
        return np.asarray(np.load(path, allow_pickle=False))
    import fitsio

    with fitsio.FITS(path) as file:
        return np.asarray(file[extension or 0].read())


def _checked(image: NDArray) -> NDArray:
    image = np.nan_to_num(np.asarray(image, dtype=np.float32))
    if image.ndim != 2 or min(image.shape) < 3 or not image.sum() > 0:
        raise SimulationError(
            f"a PSF image must be 2-D, at least 3 pixels a side, with a positive sum, got shape "
            f"{image.shape} and sum {image.sum():g}"
        )
    peak = np.unravel_index(int(image.argmax()), image.shape)
    half = min(min(p, n - 1 - p) for p, n in zip(peak, image.shape, strict=True))
    if not half:
        raise SimulationError(f"the peak of a PSF image lies on its edge, at {peak}; centre it")
    y, x = (slice(p - half, p + half + 1) for p in peak)
    return image[y, x] / image[y, x].sum()


def stretched_kernels(
    image: NDArray, stretch: Tensor, ellipticity: tuple[Tensor, Tensor], size: int
) -> Tensor:
    """Return (P, size, size) unit-sum kernels from one PSF image.

    Parameters
    ----------
    stretch : (P,) Tensor, factor on its width
    ellipticity : two (P,) Tensors, added to its own shape as in `psf.psf_kernel`
    """
    source = torch.from_numpy(image).to(stretch)
    # scenes are averaged over pixels already: narrow the image by a pixel's second moment
    fwhm = torch.tensor(half_maximum_width(image), dtype=stretch.dtype, device=stretch.device)
    stretch = stretch * kernel_fwhm_pixels(fwhm) / fwhm
    axis = torch.arange(size, dtype=stretch.dtype, device=stretch.device) - size // 2
    x, y = axis[None, None, :], axis[None, :, None]
    e1, e2 = (e[:, None, None] for e in ellipticity)
    norm = (1 - e1**2 - e2**2).sqrt() * stretch[:, None, None] * (len(image) - 1) / 2
    grid = torch.stack([((1 - e1) * x - e2 * y) / norm, ((1 + e1) * y - e2 * x) / norm], dim=-1)
    images = source.expand(len(stretch), 1, *source.shape)
    sampled = torch.nn.functional.grid_sample(images, grid, mode="bicubic", align_corners=True)
    return normalised(sampled[:, 0].clamp_min(0))


def half_maximum_width(image: NDArray) -> float:
    """Return the width of a circle with the area above half of the maximum, pixels."""
    fine = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None],
        scale_factor=8,
        mode="bicubic",
    )
    above = float((fine > 0.5 * fine.max()).sum()) / 64
    return 2 * (above / np.pi) ** 0.5
