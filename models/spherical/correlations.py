"""Correlations of fields on the sphere and on SO(3), in the spectral domain.

Coefficients in, coefficients out: (N, channels, (lmax + 1)²) as in ``so3_transforms``. A
correlation multiplies those of each degree by one matrix between channels (see
``sphere_kernels``); it commutes with all rotations up to rounding. From scalars to functions on
SO(3) it is the S² correlation of Cohen et al. (2018, arXiv:1801.10130, eq. 4), between such
functions their SO(3) correlation (eq. 6), between scalars the zonal one of Esteves et al. (2018,
arXiv:1711.06721).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from equilens.models.errors import HarmonicError
from equilens.models.fields import FieldType
from equilens.models.homogeneous import sphere
from equilens.models.spherical.fibres import (
    FibreBlock,
    channel_spins,
    fibre_blocks,
    require_functions,
)
from equilens.models.spherical.real_harmonics import degree_slice, n_coefficients
from equilens.models.spherical.sphere_kernels import (
    LocalizedKernel,
    SpectralKernel,
    near_identity,
)


class SphericalCorrelation(nn.Module):
    """Correlation between any two field types over the sphere.

    (N, in channels, (lmax' + 1)²) → (N, out channels, (lmax + 1)²), lmax ≤ lmax': higher degrees of
    the input are left out.

    Parameters
    ----------
    in_type, out_type : FieldType
        Of SO(2): trivial, irrep(k), bandlimited(N).
    lmax : int
        Highest degree of the output, inclusive.
    points : (points, 3) Tensor, optional
        Euler angles of a localised kernel's points.
    knots : int, optional
        Degrees with weights of their own; give either these or points.
    gain : float
        Initial power of the output over that of the input.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        lmax: int,
        *,
        points: Tensor | None = None,
        knots: int | None = None,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if (points is None) == (knots is None):
            raise HarmonicError(
                "a correlation needs either points of a localised kernel or knots of a spectral "
                f"one, got points {'unset' if points is None else 'set'} and knots {knots}"
            )
        self.in_type, self.out_type, self.lmax = in_type, out_type, lmax
        into, out = fibre_blocks(in_type), fibre_blocks(out_type)
        self._width = len(into)
        self.kernels = nn.ModuleList(
            _kernel(i, o, in_type, lmax, points, knots, gain) for o in out for i in into
        )
        self._top = []
        for side, field_type in (("in", in_type), ("out", out_type)):
            spins = channel_spins(field_type)
            self._top.append(int(spins.max()))
            for degree in range(min(self._top[-1], lmax + 1)):
                within = torch.nonzero(spins <= degree).flatten()
                self.register_buffer(f"{side}_within_{degree}", within, persistent=False)

    def matrices(self) -> list[Tensor]:
        """Return for each degree (output channels, input channels), of spins up to the degree."""
        blocks = [kernel() for kernel in self.kernels]
        rows = [blocks[start : start + self._width] for start in range(0, len(blocks), self._width)]
        return [
            torch.cat([torch.cat([block[degree] for block in row], dim=1) for row in rows])
            for degree in range(self.lmax + 1)
        ]

    def forward(self, coefficients: Tensor) -> Tensor:
        self._check(coefficients)
        by_row = coefficients.permute(2, 0, 1)
        found = []
        for degree, matrix in enumerate(self.matrices()):
            rows = by_row[degree_slice(degree)]
            if degree < self._top[0]:
                rows = rows.index_select(2, getattr(self, f"in_within_{degree}"))
            product = rows.flatten(0, 1) @ matrix.T
            if degree < self._top[1]:
                empty = product.new_zeros(len(product), self.out_type.channels)
                within = getattr(self, f"out_within_{degree}")
                product = empty.index_copy(1, within, product)
            found.append(product)
        return torch.cat(found).unflatten(0, (-1, len(coefficients))).permute(1, 2, 0)

    def _check(self, coefficients: Tensor) -> None:
        channels, needed = self.in_type.channels, n_coefficients(self.lmax)
        if coefficients.shape[1] != channels or coefficients.shape[2] < needed:
            raise HarmonicError(
                f"coefficients of {self.in_type!r} must have shape (N, {channels}, {needed} or "
                f"more) for lmax = {self.lmax}, got {tuple(coefficients.shape)}"
            )

    def extra_repr(self) -> str:
        return f"{self.in_type!r} → {self.out_type!r}, lmax={self.lmax}"


class LiftingCorrelation(SphericalCorrelation):
    """S² correlation: scalars on the sphere → functions on SO(3).

    Parameters
    ----------
    reach_rad : float
        Radius of the kernel.
    n_beta, n_alpha : int
        Rings of the kernel, and points on each.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        lmax: int,
        *,
        reach_rad: float = math.pi / 8,
        n_beta: int = 3,
        n_alpha: int = 8,
        gain: float = 1.0,
    ) -> None:
        _require_scalars(in_type, "LiftingCorrelation's input")
        require_functions(out_type, "LiftingCorrelation's output")
        points = near_identity(reach_rad, n_beta, n_alpha)
        super().__init__(in_type, out_type, lmax, points=points, gain=gain)


class RotationCorrelation(SphericalCorrelation):
    """SO(3) correlation: functions on SO(3) → functions on SO(3).

    Parameters
    ----------
    reach_rad : float
        How far the kernel's rotations move a point.
    n_beta, n_alpha, n_gamma : int
        Rings of the kernel, points on each, and turns about each; fewer than 2 N + 1 turns see
        less than the band has.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        lmax: int,
        *,
        reach_rad: float = math.pi / 8,
        n_beta: int = 3,
        n_alpha: int = 8,
        n_gamma: int = 8,
        gain: float = 1.0,
    ) -> None:
        require_functions(in_type, "RotationCorrelation's input")
        require_functions(out_type, "RotationCorrelation's output")
        points = near_identity(reach_rad, n_beta, n_alpha, n_gamma)
        super().__init__(in_type, out_type, lmax, points=points, gain=gain)


class ZonalCorrelation(SphericalCorrelation):
    """Scalars → scalars, with kernels that depend on the distance alone.

    Parameters
    ----------
    knots : int
        Degrees that have weights of their own; linear in between.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        lmax: int,
        *,
        knots: int = 6,
        gain: float = 1.0,
    ) -> None:
        for field_type, side in ((in_type, "input"), (out_type, "output")):
            _require_scalars(field_type, f"ZonalCorrelation's {side}")
        super().__init__(in_type, out_type, lmax, knots=knots, gain=gain)


def scalars(channels: int) -> FieldType:
    """Return the type of scalar maps on the sphere."""
    return sphere().field_type(f"{channels}xtrivial")


def _kernel(
    into: FibreBlock,
    out: FibreBlock,
    in_type: FieldType,
    lmax: int,
    points: Tensor | None,
    knots: int | None,
    gain: float,
) -> nn.Module:
    blocks = fibre_blocks(in_type)
    if points is None:
        fan = sum(block.channels for block in blocks)
        return SpectralKernel(into, out, lmax, knots or 1, fan, gain)
    fan = sum(block.fields for block in blocks) * len(points)
    return LocalizedKernel(into, out, lmax, points, fan, gain)


def _require_scalars(field_type: FieldType, where: str) -> None:
    if int(channel_spins(field_type).max()):
        raise HarmonicError(
            f"{where} must be scalars, got {field_type!r}; SphericalCorrelation takes any field"
        )
