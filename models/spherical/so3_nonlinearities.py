"""Nonlinearities of band-limited fields, with the aliasing that they make kept small.

A pointwise function of a field of degree L has all degrees. On a grid that resolves L alone those
above fold back into the band, differently for every rotation. Two remedies: a finer grid, on
which they are seen for what they are and left out, and a spectral taper, which takes down the
highest degrees, where folding begins. The p-th power of a field is free of aliasing from an
oversampling of (p + 1) / 2 on; smooth functions come close to that, ReLU does not.

All modules take and give coefficients (N, channels, (lmax + 1)²) as in ``so3_transforms``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError, HarmonicError
from equilens.models.fields import FieldType
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.fibres import (
    channel_spins,
    fibre_blocks,
    functions_on_rotations,
    require_functions,
)
from equilens.models.spherical.real_harmonics import n_coefficients
from equilens.models.spherical.so3_transforms import RotationTransform, SphereTransform

POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
    "square": torch.square,
}


class RotationNonlinearity(nn.Module):
    """A pointwise function of functions on SO(3): synthesis, function, analysis.

    (N, channels, (lmax + 1)²) → (N, channels', (out_lmax + 1)²); scalars on the sphere are the
    band N = 0.

    Parameters
    ----------
    in_type : FieldType
        Functions of one band, ``8xbandlimited(N)``, or scalars.
    lmax : highest degree of the input, inclusive
    function : {"silu", "gelu", "relu", "square"}
    oversampling : float
        Points on each axis over those that the band needs.
    fibre_oversampling : float, optional
        The same of γ (``oversampling``); few frequencies alias more than many.
    taper : float
        Share of the degrees that fade out before and after, see ``spectral_taper``.
    out_lmax, out_n_max : int, optional
        Band of the output (that of the input); lower ones pool.
    grid : EulerGrid, optional
        Where the function is taken, in place of the oversampled Gauss-Legendre grid.
    """

    def __init__(
        self,
        in_type: FieldType,
        lmax: int,
        function: str = "silu",
        *,
        oversampling: float = 1.5,
        fibre_oversampling: float | None = None,
        taper: float = 0.0,
        out_lmax: int | None = None,
        out_n_max: int | None = None,
        grid: EulerGrid | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        block = require_functions(in_type, "RotationNonlinearity")
        if function not in POINTWISE:
            raise FieldTypeError(f"function must be one of {sorted(POINTWISE)}, got {function!r}")
        n_max = max(block.spins)
        self.out_lmax = lmax if out_lmax is None else out_lmax
        out_n_max = n_max if out_n_max is None else out_n_max
        if self.out_lmax > lmax or out_n_max > n_max:
            raise HarmonicError(
                f"the output's band must lie within the input's, lmax = {lmax} and N = {n_max}, "
                f"got {self.out_lmax} and {out_n_max}"
            )
        self.in_type, self.lmax, self.function, self.taper = in_type, lmax, function, taper
        self.out_type = in_type
        if out_n_max != n_max:
            self.out_type = functions_on_rotations(block.fields, out_n_max)
        grid = grid or EulerGrid.of_band(lmax, n_max, oversampling, fibre_oversampling)
        self.forwards = RotationTransform(in_type, lmax, grid, dtype)
        self.backwards = RotationTransform(self.out_type, self.out_lmax, grid, dtype)
        self.before = SpectralTaper(lmax, taper)
        self.after = SpectralTaper(self.out_lmax, taper)

    def forward(self, coefficients: Tensor) -> Tensor:
        return self.after(self.backwards.analysis(self.on_grid(coefficients)))

    def on_grid(self, coefficients: Tensor) -> Tensor:
        """Return the function's values (N, fields, n_gamma, n_beta, n_alpha), not analysed."""
        values = self.forwards.synthesis(self.before(coefficients))
        return POINTWISE[self.function](values)

    def extra_repr(self) -> str:
        return f"{self.function}, {self.in_type!r} → {self.out_type!r}, taper={self.taper:g}"


class SpinNonlinearity(nn.Module):
    """F → F sigmoid(a |F| + b) for each field of any spin; scalars become SiLU of a F + b.

    Rotations turn a spin field's two components into each other and keep |F| (Worrall et al.
    2017, arXiv:1612.04642, section 4.3; on the sphere Esteves et al. 2020, arXiv:2006.10731).

    Parameters
    ----------
    in_type : FieldType
        trivial and irrep(k).
    lmax : highest degree, inclusive
    oversampling, taper : float
        As for RotationNonlinearity.
    """

    owner: Tensor
    is_scalar: Tensor

    def __init__(
        self,
        in_type: FieldType,
        lmax: int,
        *,
        oversampling: float = 1.5,
        taper: float = 0.0,
        out_lmax: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.in_type = self.out_type = in_type
        self.lmax, self.out_lmax = lmax, lmax if out_lmax is None else out_lmax
        grid = EulerGrid.of_band(lmax, 0, oversampling)
        self.forwards = SphereTransform(in_type, lmax, grid, dtype)
        self.backwards = SphereTransform(in_type, self.out_lmax, grid, dtype)
        self.before, self.after = SpectralTaper(lmax, taper), SpectralTaper(self.out_lmax, taper)
        self.scale = nn.Parameter(torch.ones(in_type.n_fields))
        self.shift = nn.Parameter(torch.zeros(in_type.n_fields))
        owner = torch.tensor(in_type.owner_of_channel())
        self.register_buffer("owner", owner, persistent=False)
        is_scalar = (channel_spins(in_type) == 0)[:, None, None]
        self.register_buffer("is_scalar", is_scalar, persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        maps = self.forwards.synthesis(self.before(coefficients))
        squares = maps.new_zeros(len(maps), self.in_type.n_fields, *maps.shape[2:])
        norms = torch.sqrt(squares.index_add(1, self.owner, maps.square()) + 1e-6)
        size = torch.where(self.is_scalar, maps, norms.index_select(1, self.owner))
        scale, shift = (x[self.owner][:, None, None] for x in (self.scale, self.shift))
        gated = maps * torch.sigmoid(scale * size + shift)
        return self.after(self.backwards.analysis(gated))

    def extra_repr(self) -> str:
        return f"{self.in_type!r}"


class SpectralTaper(nn.Module):
    """Multiply degrees by ``spectral_taper``."""

    factors: Tensor

    def __init__(self, lmax: int, share: float) -> None:
        super().__init__()
        self.share = share
        counts = 2 * torch.arange(lmax + 1) + 1
        factors = spectral_taper(lmax, share).repeat_interleave(counts)
        assert len(factors) == n_coefficients(lmax)
        self.register_buffer("factors", factors.to(torch.get_default_dtype()), persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        return coefficients * self.factors if self.share else coefficients

    def extra_repr(self) -> str:
        return f"{self.share:g}"


def spectral_taper(lmax: int, share: float) -> Tensor:
    """Return factors of the degrees 0 … lmax: 1, then cos² down to 0 at lmax + 1, float64.

    Parameters
    ----------
    share : float in 0 … 1
        Of the band over which the factors fall; 0 leaves all at 1.
    """
    if not 0 <= share <= 1:
        raise HarmonicError(f"a taper must be a share of the band, 0 … 1, got {share:g}")
    if share == 0:
        return torch.ones(lmax + 1, dtype=torch.float64)
    degree = torch.arange(lmax + 1, dtype=torch.float64) / (lmax + 1)
    return torch.cos((degree - (1 - share)).clamp(min=0) / share * (torch.pi / 2)).square()


class PowerNormalization(nn.Module):
    """Batch normalisation in the spectral domain, one scale a field: exact for any rotation.

    A field's power is the sum of its squared coefficients over 4π, its mean square over the
    sphere and SO(3). Scalars and functions on SO(3) lose their batch mean and gain a learned one;
    spin fields have none.
    """

    running_mean: Tensor
    running_power: Tensor
    owner: Tensor
    has_mean: Tensor

    def __init__(self, in_type: FieldType, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.in_type = self.out_type = in_type
        self.eps, self.momentum = eps, momentum
        fields, first_is_scalar, owner = 0, [], []
        for block in fibre_blocks(in_type):
            first_is_scalar += block.fields * [block.spins[0] == 0]
            owner += [fields + k for k in range(block.fields) for _ in block.spins]
            fields += block.fields
        self.weight = nn.Parameter(torch.ones(fields))
        self.bias = nn.Parameter(torch.zeros(fields))
        self.register_buffer("running_mean", torch.zeros(fields))
        self.register_buffer("running_power", torch.ones(fields))
        self.register_buffer("owner", torch.tensor(owner), persistent=False)
        starts = [owner.index(k) for k in range(fields)]
        has_mean = torch.zeros(len(owner))
        has_mean[starts] = torch.tensor(first_is_scalar).float()
        self.register_buffer("has_mean", has_mean, persistent=False)

    def forward(self, coefficients: Tensor) -> Tensor:
        norm = (4 * torch.pi) ** 0.5
        constant = coefficients[..., 0] * self.has_mean
        if self.training:
            power = coefficients.square().sum(dim=2).mean(dim=0) / norm**2
            means = constant.mean(dim=0) / norm
            fields = torch.zeros_like(self.running_power)
            mean = fields.index_add(0, self.owner, means)
            power = fields.index_add(0, self.owner, power) - mean.square()
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_power.lerp_(power.detach(), self.momentum)
        else:
            mean, power = self.running_mean, self.running_power
        scale = self.weight * torch.rsqrt(power + self.eps)
        shift = (self.bias - scale * mean).index_select(0, self.owner) * self.has_mean
        scaled = coefficients * scale.index_select(0, self.owner)[:, None]
        constants = scaled[..., :1] + (norm * shift)[:, None]
        return torch.cat([constants, scaled[..., 1:]], dim=2)

    def extra_repr(self) -> str:
        return f"{self.in_type!r}, eps={self.eps}, momentum={self.momentum}"
