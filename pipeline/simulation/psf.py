"""Point-spread functions and the convolution of batched scenes.

`psf_fwhm_arcsec` is the width of the effective PSF: what a star shows in the image, pixel
included. Scenes are averaged over pixels before they are convolved, so the pixel is in them
already; the kernel is therefore narrowed by the pixel's second moment, FWHM² − (8 ln 2 / 12) px²,
sampled at pixel centres and normalised to unit sum. For a Gaussian scene this is exact in the
second moment.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilens.pipeline.simulation.errors import SimulationError

_PIXEL_VARIANCE_AS_FWHM = 8 * math.log(2) / 12
_NARROWEST_FWHM_PIXELS = 0.5


def kernel_fwhm_pixels(effective_fwhm_pixels: Tensor) -> Tensor:
    """Return the width left once the pixel's own width is taken out of the effective PSF."""
    squared = effective_fwhm_pixels.square() - _PIXEL_VARIANCE_AS_FWHM
    return squared.clamp_min(_NARROWEST_FWHM_PIXELS**2).sqrt()


def psf_kernel(
    effective_fwhm_pixels: Tensor,
    ellipticity1: Tensor,
    ellipticity2: Tensor,
    size: int,
    moffat_beta: Tensor | None = None,
) -> Tensor:
    """Return unit-sum kernels with an odd side.

    Gaussian where β is infinite, else a Moffat (1969) profile (1 + r² / a²)^{−β}. Ellipticity is
    (a − b) / (a + b), as components e1 and e2.

    Parameters
    ----------
    effective_fwhm_pixels, ellipticity1, ellipticity2 : (...) Tensor
    size : odd int
    moffat_beta : (...) Tensor, greater than 1; None for Gaussians

    Returns
    -------
    (..., size, size) Tensor
    """
    if size % 2 == 0:
        raise SimulationError(f"PSF size must be odd, got {size}; nearest is {size + 1}")
    half = size // 2
    axis = torch.arange(-half, half + 1, dtype=effective_fwhm_pixels.dtype)
    axis = axis.to(effective_fwhm_pixels.device)
    x, y = axis[None, :], axis[:, None]
    e1, e2 = ellipticity1[..., None, None], ellipticity2[..., None, None]
    norm = 1 - e1**2 - e2**2
    xp, yp = (1 - e1) * x - e2 * y, (1 + e1) * y - e2 * x
    fwhm = kernel_fwhm_pixels(effective_fwhm_pixels)[..., None, None]
    squared = 4 * (xp**2 + yp**2) / (norm * fwhm**2)
    kernel = torch.exp2(-squared)
    if moffat_beta is not None:
        beta = moffat_beta[..., None, None]
        moffat = (1 + squared * (torch.exp2(1 / beta) - 1)) ** -beta
        kernel = torch.where(torch.isinf(beta), kernel, moffat)
    return normalised(kernel)


def normalised(kernel: Tensor) -> Tensor:
    """Return kernels (..., ny, nx) scaled to unit sum."""
    return kernel / kernel.sum(dim=(-2, -1), keepdim=True)


def core_and_wing(core: Tensor, wing: Tensor, share: Tensor) -> Tensor:
    """Return the sum of two unit-sum kernels, `share` (...) of the light in the wing."""
    return torch.lerp(core, wing, share[..., None, None])


def transfer_function(kernel: Tensor, size: int) -> Tensor:
    """Return the half-plane transform of a centred kernel on a periodic grid of `size` pixels."""
    side = kernel.shape[-1]
    padded = kernel.new_zeros((*kernel.shape[:-2], size, size))
    padded[..., :side, :side] = kernel
    return torch.fft.rfft2(torch.roll(padded, (-(side // 2),) * 2, dims=(-2, -1)))


def convolve(scene: Tensor, transfer: Tensor, size: int) -> Tensor:
    """Convolve scenes (..., G, G), dark beyond their edges, on a periodic grid of `size` ≥ G."""
    spectrum = torch.fft.rfft2(scene, s=(size, size)).mul_(transfer)
    return torch.fft.irfft2(spectrum, s=(size, size))


def fast_grid_size(size: int) -> int:
    """Return the next multiple of 16, which transforms faster than the sizes around it."""
    return -(-size // 16) * 16
