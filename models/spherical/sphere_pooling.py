"""Invariants of fields on the sphere and SO(3): integrals and power spectra."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilens.models.fields import FieldType
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.fibres import fibre_blocks
from equilens.models.spherical.real_harmonics import n_coefficients


class IntegralPooling(nn.Module):
    """Means over the whole sphere, or SO(3), by the grid's quadrature.

    (N, fields, n_beta, n_alpha) or (N, fields, n_gamma, n_beta, n_alpha) → (N, fields). Exact for
    all that the grid resolves: twice the band of a Gauss-Legendre grid's analysis. The mean of a
    scalar field is all of it that no rotation changes.
    """

    weights: Tensor

    def __init__(self, grid: EulerGrid) -> None:
        super().__init__()
        self.grid = grid
        weights = (grid.ring_weights() / 2).to(torch.get_default_dtype())
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, functions: Tensor) -> Tensor:
        rings = functions.mean(dim=-1)
        if rings.ndim == 4:
            rings = rings.mean(dim=2)
        return rings @ self.weights

    def extra_repr(self) -> str:
        return f"{self.grid}"


class PowerSpectrum(nn.Module):
    """Mean square of each field, degree by degree and spin by spin, as √(power + 1e-6).

    (N, channels, (lmax + 1)²) → (N, parts · (lmax + 1)), with one part a field and spin. Rotations
    mix the orders of one degree, and E and B of a spin only through its frame.
    """

    degree: Tensor
    owner: Tensor

    def __init__(self, in_type: FieldType, lmax: int) -> None:
        super().__init__()
        self.in_type, self.lmax = in_type, lmax
        owner: list[int] = []
        for block in fibre_blocks(in_type):
            for _ in range(block.fields):
                first = owner[-1] + 1 if owner else 0
                places = sorted(set(block.spins))
                owner += [first + places.index(spin) for spin in block.spins]
        self.parts = owner[-1] + 1
        degree = torch.arange(n_coefficients(lmax)).double().add(0.5).sqrt().floor().long()
        self.register_buffer("degree", degree, persistent=False)
        self.register_buffer("owner", torch.tensor(owner), persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        n, channels, _ = coefficients.shape
        by_degree = coefficients.new_zeros(n, channels, self.lmax + 1)
        by_degree = by_degree.index_add(2, self.degree, coefficients.square())
        power = coefficients.new_zeros(n, self.parts, self.lmax + 1)
        return torch.sqrt(power.index_add(1, self.owner, by_degree) + 1e-6).flatten(1)

    def extra_repr(self) -> str:
        return f"{self.in_type!r}, lmax={self.lmax}"
