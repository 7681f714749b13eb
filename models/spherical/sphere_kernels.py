"""Kernels of correlations on the sphere and SO(3): one matrix a degree between channels.

A correlation with a kernel made of points p near the identity of SO(3) is a weighted sum of its
input close by,

    g_o(R) = Σ_i Σ_p w_oip f_i(R p),

which multiplies the coefficients of degree l by Σ_p w_p D^l(p) (Cohen et al. 2018,
arXiv:1801.10130, section 3.2 and eq. 8, where kernels are given at such points too). On the sphere
R p stands for the point R p ẑ. Any matrix commutes with rotations, so degrees may be given freely
as well: smooth in l they are local in space (Esteves et al. 2020, arXiv:2006.10731, section 4).

Kernels are modules; called they return a list of matrices, one a degree, that take the input's
channels with spins up to the degree to the output's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equilens.models.errors import KernelError
from equilens.models.spherical.fibres import FibreBlock
from equilens.models.spherical.real_harmonics import real_wigner


def near_identity(reach_rad: float, n_beta: int = 3, n_alpha: int = 8, n_gamma: int = 1) -> Tensor:
    """Return Euler angles (points, 3) of rotations that move the pole by at most ``reach_rad``.

    ``n_beta`` rings at equal steps up to the reach, each with ``n_alpha`` directions, where the
    frame is carried along and then turned by each of ``n_gamma`` angles.
    """
    if not 0 < reach_rad <= math.pi or min(n_beta, n_alpha, n_gamma) < 1:
        raise KernelError(
            f"a kernel must reach 0 … π rad and have a point on each axis, got {reach_rad:g} rad "
            f"and {(n_beta, n_alpha, n_gamma)} points"
        )
    beta = torch.arange(1, n_beta + 1, dtype=torch.float64) * (reach_rad / n_beta)
    alpha = torch.arange(n_alpha, dtype=torch.float64) * (2 * torch.pi / n_alpha)
    gamma = torch.arange(n_gamma, dtype=torch.float64) * (2 * torch.pi / n_gamma)
    points = torch.cartesian_prod(beta, alpha, gamma)
    points = points.reshape(-1, 3)
    return torch.stack([points[:, 1], points[:, 0], points[:, 2] - points[:, 1]], dim=1)


class LocalizedKernel(nn.Module):
    """One weight a point, and input and output field.

    Parameters
    ----------
    into, out : FibreBlock
        Input and output fields.
    lmax : highest degree, inclusive
    points : (points, 3) Tensor
        Euler angles, see ``near_identity``.
    fan : int
        Weights that add up in an output field, for their initial spread.
    gain : float
        Initial power of the output over that of the input.
    """

    weight: Tensor

    def __init__(
        self,
        into: FibreBlock,
        out: FibreBlock,
        lmax: int,
        points: Tensor,
        fan: int | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.into, self.out, self.lmax = into, out, lmax
        spread = (gain / (fan or into.fields * len(points))) ** 0.5
        self.weight = nn.Parameter(spread * torch.randn(out.fields, into.fields, len(points)))
        found = real_wigner(lmax, points, max(out.spins), max(into.spins))
        for degree, matrices in enumerate(found):
            table = _in_fibres(matrices, degree, into, out).to(torch.get_default_dtype())
            self.register_buffer(f"table_{degree}", table.flatten(1).clone(), persistent=False)

    def forward(self) -> list[Tensor]:
        """Return for each degree (output channels, input channels)."""
        weight = self.weight.flatten(0, 1)
        matrices = []
        for degree in range(self.lmax + 1):
            tall, wide = self.out.parts_within(degree), self.into.parts_within(degree)
            shape = (self.out.fields, self.into.fields, tall, wide)
            matrix = (weight @ getattr(self, f"table_{degree}")).view(shape).transpose(1, 2)
            matrices.append(matrix.reshape(shape[0] * tall, shape[1] * wide))
        return matrices

    def extra_repr(self) -> str:
        return f"{self.weight.shape[2]} points, lmax={self.lmax}"


def _in_fibres(matrices: Tensor, degree: int, into: FibreBlock, out: FibreBlock) -> Tensor:
    """Choose rows and columns of D^l that the fields have, as (points, out, in)."""

    def chosen(block: FibreBlock) -> tuple[list[int], Tensor]:
        orders, signs, seen = [], [], set()
        for spin in block.spins[: block.parts_within(degree)]:
            second = spin in seen
            seen.add(spin)
            # E goes with cosines and B with sines; healpy's E has the other sign
            orders.append(2 * spin if second else max(2 * spin - 1, 0))
            signs.append(-1.0 if spin and not second else 1.0)
        return orders, torch.tensor(signs, dtype=matrices.dtype)

    (rows, row_signs), (columns, column_signs) = chosen(out), chosen(into)
    return matrices[:, rows][:, :, columns] * row_signs[:, None] * column_signs


class SpectralKernel(nn.Module):
    """Matrices given at a few degrees and linear in between: localised where they are few.

    Parameters
    ----------
    into, out : FibreBlock
    lmax : highest degree, inclusive
    knots : int
        Degrees, from 0 to lmax at equal steps, that have weights of their own.
    fan : int
        Weights that add up in an output channel, for their initial spread.
    gain : float
    """

    interpolation: Tensor

    def __init__(
        self,
        into: FibreBlock,
        out: FibreBlock,
        lmax: int,
        knots: int = 6,
        fan: int | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if not 1 <= knots <= lmax + 1:
            raise KernelError(f"knots must be 1 … lmax + 1 = {lmax + 1}, got {knots}")
        self.into, self.out, self.lmax = into, out, lmax
        spread = (gain / (fan or into.channels)) ** 0.5
        shape = (knots, out.fields, len(out.spins), into.fields, len(into.spins))
        self.weight = nn.Parameter(spread * torch.randn(shape))
        place = torch.linspace(0, knots - 1, lmax + 1)[:, None]
        hats = (1 - (place - torch.arange(knots)).abs()).clamp(min=0)
        self.register_buffer("interpolation", hats, persistent=False)

    def forward(self) -> list[Tensor]:
        """Return for each degree (output channels, input channels)."""
        dense = (self.interpolation @ self.weight.flatten(1)).view(-1, *self.weight.shape[1:])
        matrices = []
        for degree, matrix in enumerate(dense.unbind(0)):
            tall, wide = self.out.parts_within(degree), self.into.parts_within(degree)
            block = matrix[:, :tall, :, :wide]
            matrices.append(block.reshape(self.out.fields * tall, self.into.fields * wide))
        return matrices

    def extra_repr(self) -> str:
        return f"{len(self.weight)} knots, lmax={self.lmax}"
