"""Wigner transforms on SO(3), and harmonic transforms of spin fields on S²: modules both ways.

A map of field type τ over the sphere (see ``fibres``) has coefficients (N, channels,
(lmax + 1)²), those of ``real_harmonics`` for each channel; degrees below a channel's spin are 0.
Functions on SO(3) of degrees l ≤ lmax and frequencies |n| ≤ N in γ,

    f(R) = Σ_l √((2l+1)/4π) Σ_mn X^l_mn D^l_mn(R),        mean over γ of ∫_S² f² = Σ X²,

with real Wigner matrices D^l, are fields of type ``bandlimited(N)``: column n of X^l is a channel
(Kostelec & Rockmore 2008, eq. 8, where coefficients are complex and not orthonormal). N = lmax is
all of SO(3) that the degrees can hold; N = 0 is a map on the sphere.

Synthesis and analysis are matrix products along β, then α, then γ, the separation of variables
that makes the cost L⁴ (Kostelec & Rockmore 2008, section 4). Up to L = 32 short products beat
FFTs, and nothing is complex. Analysis is exact for band-limited fields on a grid that resolves
them. Everything is differentiable by autograd, and compiles without a graph break.

Tensors on the grid come as permuted views, angles first in memory; pointwise functions keep that
order, and ``analysis`` then copies nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError, HarmonicError
from equilens.models.fields import FieldType
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.fibres import channel_spins, fibre_blocks, require_functions
from equilens.models.spherical.real_harmonics import n_coefficients
from equilens.models.spherical.spin_transforms import SpinTransform, fibre_series, ring_series


class _Transform(nn.Module):
    """What transforms over S² and SO(3) share: one SpinTransform a spin, and series in α."""

    series: Tensor
    order: Tensor

    def __init__(
        self, field_type: FieldType, lmax: int, grid: EulerGrid, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.field_type, self.lmax, self.grid = field_type, lmax, grid
        spins = channel_spins(field_type)
        if int(spins.max()) > lmax:
            raise HarmonicError(
                f"lmax must be at least the highest spin {int(spins.max())} of {field_type!r}, "
                f"got {lmax}"
            )
        self.spins = sorted(set(spins.tolist()))
        self.transforms = nn.ModuleList(SpinTransform(k, lmax, grid, dtype) for k in self.spins)
        self.register_buffer("series", ring_series(lmax, grid.n_alpha, dtype), persistent=False)
        found = []
        for spin in self.spins:
            channels = torch.nonzero(spins == spin).flatten()
            # all first parts, then all second ones
            channels = channels.view(-1, self._parts(spin)).T.flatten()
            self.register_buffer(f"channels_{spin}", channels, persistent=False)
            found.append(channels)
        self.register_buffer("order", torch.argsort(torch.cat(found)), persistent=False)

    @staticmethod
    def _parts(spin: int) -> int:
        return 2 if spin else 1

    def _to_waves(self, coefficients: Tensor) -> list[Tensor]:
        """Return for each spin (2, m, parts, n_beta, N · fields)."""
        if coefficients.shape[1:] != (self.field_type.channels, n_coefficients(self.lmax)):
            raise HarmonicError(
                f"coefficients of {self.field_type!r} up to lmax = {self.lmax} must have shape "
                f"(N, {self.field_type.channels}, {n_coefficients(self.lmax)}), got "
                f"{tuple(coefficients.shape)}"
            )
        by_row = coefficients.permute(2, 0, 1)
        waves = []
        for spin, transform in zip(self.spins, self.transforms, strict=True):
            assert isinstance(transform, SpinTransform)
            rows = by_row.index_select(2, getattr(self, f"channels_{spin}"))
            parts = rows.unflatten(2, (self._parts(spin), -1)).transpose(1, 2)
            waves.append(transform.synthesis(parts.flatten(2)))
        return waves

    def _from_waves(self, waves: list[Tensor], n: int) -> Tensor:
        """Return coefficients of waves by spin; n maps."""
        rows = []
        for transform, wave in zip(self.transforms, waves, strict=True):
            assert isinstance(transform, SpinTransform)
            parts = transform.analysis(wave).unflatten(2, (n, -1))
            rows.append(parts.transpose(1, 2).flatten(2))
        joined = torch.cat(rows, dim=2).index_select(2, self.order)
        return joined.permute(1, 2, 0)

    def extra_repr(self) -> str:
        return f"{self.field_type!r}, lmax={self.lmax}, {self.grid}"


class SphereTransform(_Transform):
    """Coefficients (N, channels, (lmax + 1)²) ↔ maps (N, channels, n_beta, n_alpha).

    Parameters
    ----------
    field_type : FieldType
        Scalars and spin fields: trivial and irrep(k).
    lmax : highest degree, inclusive
    grid : EulerGrid
        Must resolve lmax.
    dtype : of the tables; float64 for exactness to 1e-13
    """

    def __init__(
        self,
        field_type: FieldType,
        lmax: int,
        grid: EulerGrid,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if any(block.is_function for block in fibre_blocks(field_type)):
            raise FieldTypeError(
                f"SphereTransform takes scalars and spin fields, got {field_type!r}; "
                f"RotationTransform takes functions on SO(3)"
            )
        super().__init__(field_type, lmax, grid, dtype)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the maps."""
        n = len(coefficients)
        maps = []
        for waves in self._to_waves(coefficients):
            on_rings = self.series @ waves.flatten(0, 1).flatten(1)
            parts, n_beta, _ = waves.shape[2:]
            split = on_rings.view(self.grid.n_alpha, parts, n_beta, n, -1)
            maps.append(split.permute(0, 2, 3, 1, 4).flatten(3))
        return torch.cat(maps, dim=3).index_select(3, self.order).permute(2, 3, 1, 0)

    def analysis(self, maps: Tensor) -> Tensor:
        """Return the coefficients."""
        _check_maps(maps, self.field_type.channels, (self.grid.n_beta, self.grid.n_alpha))
        n = len(maps)
        backwards = self.series.T * (2 * torch.pi / self.grid.n_alpha)
        angles_first = maps.permute(3, 2, 0, 1)
        waves = []
        for spin in self.spins:
            own = angles_first.index_select(3, getattr(self, f"channels_{spin}"))
            parts = own.unflatten(3, (self._parts(spin), -1)).permute(0, 3, 1, 2, 4)
            series = backwards @ parts.flatten(1)
            waves.append(series.view(2, self.lmax + 1, *parts.shape[1:3], -1))
        return self._from_waves(waves, n)


class RotationTransform(_Transform):
    """Coefficients (N, channels, (lmax + 1)²) ↔ functions (N, fields, n_gamma, n_beta, n_alpha).

    Parameters
    ----------
    field_type : FieldType
        Functions on SO(3) of one band, ``8xbandlimited(N)``: 2 N + 1 channels each.
    lmax : highest degree, inclusive
    grid : EulerGrid
        Must resolve lmax and N.
    dtype : of the tables; float64 for exactness to 1e-13
    """

    fibre: Tensor

    def __init__(
        self,
        field_type: FieldType,
        lmax: int,
        grid: EulerGrid,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        block = require_functions(field_type, "RotationTransform")
        self.n_max = max(block.spins)
        grid.require(lmax, self.n_max)
        super().__init__(field_type, lmax, grid, dtype)
        self.fields = block.fields
        fibre = fibre_series(self.n_max, grid.n_gamma, dtype)
        self.register_buffer("fibre", fibre, persistent=False)

    def synthesis(self, coefficients: Tensor) -> Tensor:
        """Return the functions' values on the grid."""
        grid, n = self.grid, len(coefficients)
        waves = torch.cat(self._to_waves(coefficients), dim=2).flatten(0, 1)
        on_rings = (self.series @ waves.flatten(1)).view(grid.n_alpha, waves.shape[1], -1)
        values = torch.bmm(self.fibre.expand(grid.n_alpha, -1, -1), on_rings)
        split = values.view(grid.n_alpha, grid.n_gamma, grid.n_beta, n, self.fields)
        return split.permute(3, 4, 1, 2, 0)

    def analysis(self, functions: Tensor) -> Tensor:
        """Return the coefficients of functions on the grid."""
        grid, n = self.grid, len(functions)
        _check_maps(functions, self.fields, (grid.n_gamma, grid.n_beta, grid.n_alpha))
        values = functions.permute(4, 2, 3, 0, 1).flatten(2)
        scale = 2 * torch.pi / (grid.n_alpha * grid.n_gamma)
        backwards = (self.fibre.T * scale).expand(grid.n_alpha, -1, -1)
        series = self.series.T @ torch.bmm(backwards, values).flatten(1)
        waves = series.view(2, self.lmax + 1, -1, grid.n_beta, n * self.fields)
        sizes = [self._parts(spin) for spin in self.spins]
        return self._from_waves(list(waves.split(sizes, dim=2)), n)


def _check_maps(maps: Tensor, channels: int, angles: tuple[int, ...]) -> None:
    if maps.shape[1:] != (channels, *angles):
        raise HarmonicError(
            f"maps must have shape (N, {channels}, {', '.join(map(str, angles))}), got "
            f"{tuple(maps.shape)}"
        )
