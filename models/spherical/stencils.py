"""Stencils: weights that apply a kernel to a field known at the centres of pixels.

Let f be a random isotropic field of covariance C. The best linear estimate of ∫ K(x) f(x) d²x
from the values f(x_q) has the weights w = (C(x_q − x_q') + λ)⁻¹ (K ∗ C)(x_q): they treat every
layout of pixels, and give on each the same continuous operator. With C Gaussian, both sides are
closed forms (kriging; also Fornberg & Flyer 2015, "A Primer on Radial Basis Functions", section
5.1, on derivatives). Distances are in normal coordinates, where the frames of neighbours have been
carried to the centre by parallel transport, so that the operator commutes with SO(3).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from equilens.models.spherical.steered_gaussians import SteeredGaussian

REACH = 2
"""Pixels on each side of a window's centre."""

CORRELATION = 2.5
"""Width of the covariance C in sample spacings: red spectra weigh most."""

RIDGE = 1e-10
"""λ relative to C(0)."""


def pixel_spacing(nside: int) -> float:
    """Return the square root of a pixel's area, radians."""
    return math.sqrt(math.pi / 3) / nside


def fit_weights(positions: Tensor, present: Tensor, kernels: tuple[SteeredGaussian, ...]) -> Tensor:
    """Return the weights of each kernel on each layout of samples; constants come out exactly.

    Parameters
    ----------
    positions : (R, K) complex128 Tensor, in spacings of the samples
        As seen from where the kernel is centred.
    present : (R, K) bool Tensor
        Samples that are there; others get weight 0.

    Returns
    -------
    (R, kernels, K) complex128 Tensor
    """
    present = present.double()
    east, south = positions.imag, positions.real
    squares = (east[:, :, None] - east[:, None, :]).square_()
    squares += (south[:, :, None] - south[:, None, :]).square_()
    covariance = squares.mul_(-0.5 / CORRELATION**2).exp_()
    covariance *= present[:, :, None] * present[:, None, :]
    covariance.diagonal(dim1=1, dim2=2).fill_(1 + RIDGE)
    area = 2 * math.pi * CORRELATION**2
    targets = torch.stack([area * k.blurred(positions, CORRELATION) for k in kernels], dim=2)
    sides = torch.cat([targets.real, targets.imag, torch.ones_like(positions.real)[:, :, None]], 2)
    sides *= present[:, :, None]
    found = torch.cholesky_solve(sides, torch.linalg.cholesky(covariance)) * present[:, :, None]
    weights, constant = found[:, :, :-1], found[:, :, -1:]
    # Lagrange's multiplier of the constraint on the sum of the weights: ordinary kriging
    sums = torch.zeros(2 * len(kernels), dtype=torch.float64)
    sums[[number for number, kernel in enumerate(kernels) if kernel.degree == 0]] = 1.0
    weights = weights + constant * ((sums - weights.sum(dim=1)) / constant.sum(dim=1))[:, None]
    real, imaginary = weights.split(len(kernels), dim=2)
    return torch.complex(real, imaginary).transpose(1, 2)
