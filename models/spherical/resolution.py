"""Layers that change the resolution of spin fields by HEALPix's hierarchy.

Means of children and copies of parents are quick, but lie where the pixels happen to be: the four
children of a pixel form another rhomb in each part of the sky. ``SmoothPooling`` and
``SmoothUpsampling`` give the field, slightly blurred, at the very centre of each new pixel, and
commute with rotations as well as convolutions do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from equilens.models.fields import FieldType
from equilens.models.spherical.layout import Layout
from equilens.models.spherical.sphere_paths import SpinChannels, channels_by_spin
from equilens.models.spherical.stencil_sum import Windows, stencil_sum
from equilens.models.spherical.tile_geometry import TileGeometry


class _ResolutionLayer(nn.Module):
    """What all layers here share: one field type on both sides."""

    def __init__(self, field_type: FieldType) -> None:
        super().__init__()
        self.in_type = self.out_type = field_type
        self.groups = channels_by_spin(field_type)

    def extra_repr(self) -> str:
        return f"{self.in_type!r}"


class SpherePooling(_ResolutionLayer):
    """Mean of four children in their parent's frame: (B, C, n) → (B, C, n/4).

    ``forward(features, geometry)``: the result lies on ``geometry.coarser()``.
    """

    def forward(self, features: Tensor, geometry: TileGeometry) -> Tensor:
        phases = geometry.siblings
        return (
            _each_spin(features, self.groups, lambda x, spin: _turned(x, phases, spin))
            .unflatten(-1, (-1, 4))
            .mean(dim=-1)
        )


class SphereUpsampling(_ResolutionLayer):
    """Each child takes its parent's value in its own frame: (B, C, n/4) → (B, C, n).

    ``forward(features, geometry)``: features lie on ``geometry.coarser()``, the result on
    ``geometry``.
    """

    def forward(self, features: Tensor, geometry: TileGeometry) -> Tensor:
        phases = geometry.siblings.conj()
        repeated = features.repeat_interleave(4, dim=-1)
        return _each_spin(repeated, self.groups, lambda x, spin: _turned(x, phases, spin))


class SmoothPooling(_ResolutionLayer):
    """The field at each parent's centre, blurred by 0.7 pixels: (B, C, n) → (B, C, n/4).

    Like ``SpherePooling``, from 16 children instead of 4: it reaches 1 pixel beyond them.
    """

    def forward(self, features: Tensor, geometry: TileGeometry) -> Tensor:
        layouts = Layout(features.shape[0], geometry), Layout(features.shape[0], geometry.coarser())
        return _each_spin(
            features,
            self.groups,
            lambda x, spin: _summed(
                x, geometry.pooling(spin), spin, geometry.child_windows, layouts
            ),
        )


class SmoothUpsampling(_ResolutionLayer):
    """The field at each child's centre, blurred by half a parent: (B, C, n/4) → (B, C, n).

    Like ``SphereUpsampling``, from 25 parents instead of 1: it reaches 2 of them.
    """

    def forward(self, features: Tensor, geometry: TileGeometry) -> Tensor:
        layouts = Layout(features.shape[0], geometry.coarser()), Layout(features.shape[0], geometry)
        return _each_spin(
            features,
            self.groups,
            lambda x, spin: _summed(
                x, geometry.upsampling(spin), spin, geometry.parent_windows, layouts
            ),
        )


def _each_spin(
    features: Tensor,
    groups: tuple[SpinChannels, ...],
    change: Callable[[Tensor, int], Tensor],
) -> Tensor:
    """Change the channels of one spin at a time, and put all back in their order."""
    parts = [change(features[:, list(g.channels)], g.spin.frequency) for g in groups]
    order = [channel for group in groups for channel in group.channels]
    back = torch.tensor(order, device=features.device).argsort()
    return torch.cat(parts, dim=1).index_select(1, back)


def _turned(fields: Tensor, phases: Tensor, spin: int) -> Tensor:
    """e^{isτ} z of fields (B, fields × components, n), with phases (places, n)."""
    if spin == 0:
        return fields
    rotation = (phases**spin)[:, None]
    return _joined(fields * rotation.real.to(fields.dtype), fields * rotation.imag.to(fields.dtype))


def _summed(
    fields: Tensor, weights: Tensor, spin: int, windows: Windows, layouts: tuple[Layout, Layout]
) -> Tensor:
    """Σ w z over windows, from the rows of one layout to those of another."""
    source, target = layouts
    rows = source.rows(fields)
    sums = [target.maps(stencil_sum(rows, part, windows)) for part in weights[: 1 + (spin > 0)]]
    return sums[0] if spin == 0 else _joined(*sums)


def _joined(real: Tensor, imaginary: Tensor) -> Tensor:
    """(a + ib) z from a z and b z, channels (B, fields × 2, n) in pairs (x, y)."""
    turned = torch.stack([-imaginary[:, 1::2], imaginary[:, 0::2]], dim=2).flatten(1, 2)
    return real + turned
