"""From feature maps to one invariant logit."""

from __future__ import annotations

from torch import Tensor, nn

from equilens.models.fields import FieldType, trivial_type
from equilens.models.planar.convolutions import PointwiseConv
from equilens.models.planar.nonlinearities import PointwiseNonlinearity
from equilens.models.planar.pooling import GroupPooling, RingPooling, SmoothRingPooling


class InvariantHead(nn.Module):
    """Feature map → one logit that no rotation or reflection of the group changes.

    Group pooling gives invariants a pixel; a pixelwise layer mixes them; soft rings around the
    centre, where arcs are, and a soft maximum pool the plane.
    """

    def __init__(self, in_type: FieldType, side: int, hidden: int, smooth: bool = False) -> None:
        super().__init__()
        self.group_pooling = GroupPooling(in_type, smooth)
        invariants = self.group_pooling.out_type
        self.mix = PointwiseConv(invariants, trivial_type(in_type.group, hidden), bias=True)
        self.activation = PointwiseNonlinearity(self.mix.out_type)
        self.ring_pooling = (SmoothRingPooling if smooth else RingPooling)(side)
        self.hidden = nn.Linear((self.ring_pooling.rings + 1) * hidden, hidden)
        self.logit = nn.Linear(hidden, 1)

    def forward(self, features: Tensor) -> Tensor:
        invariants = self.activation(self.mix(self.group_pooling(features)))
        pooled = self.ring_pooling(invariants)
        return self.logit(nn.functional.silu(self.hidden(pooled))).squeeze(-1)
