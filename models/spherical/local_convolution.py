"""Convolution of fields on HEALPix maps with a steered stencil of 5×5 pixels.

Shear to hidden fields, on a tile of 32² pixels with a halo of 8 pixels on all sides:

>>> from equilens.models.homogeneous import sphere
>>> from equilens.models.spherical.tiles import tile_around
>>> tile = tile_around(nside=128, pixel=70000, core_nside=4, block_nside=16)
>>> tile
Tile(nside=128, number=68, 1024 core pixels of 2304)
>>> shear, hidden = sphere().field_type("irrep(2)"), sphere().field_type("8xirrep(0)+4xirrep(2)")
>>> layer = SphereConv(shear, hidden)
>>> features = layer(torch.randn(3, shear.channels, tile.geometry.n), tile.geometry)
>>> features.shape, features[..., : tile.core_size].shape
(torch.Size([3, 16, 2304]), torch.Size([3, 16, 1024]))

Masked pixels are zeros. Where masks or noise vary, give the layer the field times its weight and
the weight itself, a scalar field that turns with the sky as well.

Layers for a U-net take ``tile.geometry`` on the way down as ``geometry.coarser()``; a halo must be
as deep as all layers together reach: a convolution 2 pixels of its own resolution, and the smooth
layers of ``resolution`` 1 and 2.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError, PixelError
from equilens.models.fields import FieldType, require_same_group
from equilens.models.planar.convolutions import FieldBias
from equilens.models.spherical.layout import Layout
from equilens.models.spherical.sphere_paths import (
    Path,
    SpinChannels,
    channels_by_spin,
    paths_between,
)
from equilens.models.spherical.stencil_sum import stencil_sum
from equilens.models.spherical.tile_geometry import StencilKey, TileGeometry


class SphereConv(nn.Module):
    """Convolution between spin fields on the sphere, SO(3)-equivariant up to the sampling.

    (B, in channels, n) → (B, out channels, n) on the n pixels of a ``TileGeometry``. A kernel is a
    learned sum of the steered Gaussians that take at most ``degree`` derivatives, and of the
    pixel's own value; see ``sphere_paths`` for those that one spin may send to another. Types over
    O(2) keep parity too: E and B modes do not mix.

    Parameters
    ----------
    in_type, out_type : FieldType
        Irreps of SO(2) or O(2), such as ``sphere().field_type("8xirrep(0)+4xirrep(2)")``; shear is
        ``irrep(2)``, its components (γ1, γ2) in the frame (e_θ, e_φ).
    degree : int
        Spin s goes to s' by |s' − s| derivatives at least. Kernels of more than 2 are less
        accurate on windows of this size.
    bias : bool
        One value for each invariant direction of each output field.
    gain : float
        Standard deviation of the output for independent inputs of 1, at most.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        *,
        degree: int = 2,
        bias: bool = False,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        require_same_group(in_type, out_type, "SphereConv")
        self.in_type, self.out_type, self.degree = in_type, out_type, degree
        parts = [SpinConv(source, out_type, degree) for source in channels_by_spin(in_type)]
        self.parts = nn.ModuleList(parts)
        self.field_bias = FieldBias(out_type) if bias else None
        self._initialize(parts, gain)

    def forward(self, features: Tensor, geometry: TileGeometry) -> Tensor:
        self._check(features, geometry)
        layout = Layout(features.shape[0], geometry)
        by_pixel = layout.by_pixel(features)
        total = sum(part(by_pixel, layout) for part in self.parts)
        if self.field_bias is not None:
            total = total + self.field_bias()
        return layout.maps(total)

    def extra_repr(self) -> str:
        return f"{self.in_type!r} → {self.out_type!r}, degree={self.degree}"

    def _initialize(self, parts: list[SpinConv], gain: float) -> None:
        paths = np.array([[weight.shape[0] for weight in part.coefficients] for part in parts])
        if not (paths.any(axis=0).all() and paths.any(axis=1).all()):
            raise FieldTypeError(
                f"kernels of degree {self.degree} must lead from every field of the input and to "
                f"every field of the output, got {self.in_type!r} → {self.out_type!r}; raise the "
                "degree"
            )
        fans = paths.T @ [part.source.count for part in parts]
        for part in parts:
            for weight, fan in zip(part.coefficients, fans, strict=True):
                nn.init.normal_(weight, std=gain / math.sqrt(fan))

    def _check(self, features: Tensor, geometry: TileGeometry) -> None:
        expected = (self.in_type.channels, geometry.n)
        batch = features.shape[0] if features.ndim == 3 else -1
        if features.shape[1:] != expected or geometry.places not in (1, batch):
            raise PixelError(
                f"features must be (B, {expected[0]}, {expected[1]}) for {self.in_type!r} on "
                f"{geometry!r}, B its places where there are several, got {tuple(features.shape)}"
            )


class SpinConv(nn.Module):
    """The part of a convolution that starts from fields of one spin."""

    order: Tensor

    def __init__(self, source: SpinChannels, out_type: FieldType, degree: int) -> None:
        super().__init__()
        self.source, self.out_channels, self.degree = source, out_type.channels, degree
        self.targets = channels_by_spin(out_type)
        complex_weights = not out_type.group.has_reflections
        paths = [
            paths_between(source.spin, target.spin, degree, complex_weights)
            for target in self.targets
        ]
        self.stencils = _stencils_of(paths)
        self.coefficients = nn.ParameterList()
        for number, (target, found) in enumerate(zip(self.targets, paths, strict=True)):
            self.register_buffer(f"basis_{number}", self._basis(target, found), persistent=False)
            shape = (len(found), target.count, source.count)
            self.coefficients.append(nn.Parameter(torch.empty(shape)))
        order = [channel for target in self.targets for channel in target.channels]
        self.register_buffer("order", torch.tensor(order).argsort(), persistent=False)

    def _basis(self, target: SpinChannels, paths: list[Path]) -> Tensor:
        """Return (paths, stencils, out components, in components): which path uses what."""
        sizes = len(target.spin.components), len(self.source.spin.components)
        basis = torch.zeros(len(paths), len(self.stencils), *sizes)
        for number, path in enumerate(paths):
            for part, matrix in enumerate(path.matrices):
                if (path.key, part) in self.stencils:
                    at = self.stencils.index((path.key, part))
                    basis[number, at] = torch.from_numpy(matrix)
        return basis

    def mixing(self) -> Tensor:
        """Return the matrices (stencils, out channels, in channels) behind the stencils."""
        blocks = []
        for number, weight in enumerate(self.coefficients):
            basis = getattr(self, f"basis_{number}")
            block = torch.einsum("poi,pfuv->fouiv", weight, basis)
            blocks.append(block.flatten(3).flatten(1, 2))
        return torch.cat(blocks, dim=1).index_select(1, self.order)

    def forward(self, by_pixel: Tensor, layout: Layout) -> Tensor:
        """Return the sum over stencils, (pixels × maps, out channels).

        Parameters
        ----------
        by_pixel : (..., channels) Tensor
            All channels of the input, as ``layout.by_pixel`` has them.
        """
        fields = _columns(by_pixel, self.source.channels)
        flat = fields.reshape(-1, fields.shape[-1])
        # fewer columns through the windows, either way
        mix_first = self.out_channels < flat.shape[1]
        total = flat.new_zeros(())
        for (key, part), matrix in zip(self.stencils, self.mixing(), strict=True):
            term = flat @ matrix.T if mix_first or key is None else flat
            if key is not None:
                term = self._summed(term, key, part, layout)
                term = term if mix_first else term @ matrix.T
            total = total + term
        return total

    def _summed(self, flat: Tensor, key: StencilKey, part: int, layout: Layout) -> Tensor:
        """Apply one stencil to all columns."""
        weights = layout.geometry.stencils(key, self.degree)[part]
        summed = stencil_sum(layout.columns(flat), weights, layout.geometry.windows)
        return summed.reshape(flat.shape)

    def extra_repr(self) -> str:
        names = ", ".join(str(target.spin) for target in self.targets)
        return f"{self.source.spin} → {names}, {len(self.stencils)} stencils"


def _stencils_of(paths: list[list[Path]]) -> list[tuple[StencilKey | None, int]]:
    """Return the real stencils that some paths need, as (key, 0 real or 1 imaginary part)."""
    needed = {
        (path.key, part): None
        for found in paths
        for path in found
        for part in (0, 1)
        if path.matrices[part].any()
    }
    return list(needed)


def _columns(by_pixel: Tensor, channels: tuple[int, ...]) -> Tensor:
    """Pick channels on the last axis; a view where they are adjacent."""
    first, count = channels[0], len(channels)
    if channels == tuple(range(first, first + count)):
        return by_pixel.narrow(-1, first, count)
    return by_pixel.index_select(-1, torch.tensor(channels, device=by_pixel.device))
