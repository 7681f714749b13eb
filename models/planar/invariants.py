"""Invariants of any fields, pixel by pixel: the norms of their irreducible parts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from equilens.models.fields import FieldType, trivial_type
from equilens.models.planar.layout import is_channels_last
from equilens.models.representations import Representation, decompose


class NormPooling(nn.Module):
    """The norm of each irreducible part of each field; trivial parts keep value and sign.

    (N, channels, H, W) → (N, parts, H, W), field by field, parts in the order of ``decompose``.
    |x| is √(|x|² + ε) − √ε: smooth, and zero at zero. GroupPooling takes means and maxima of
    permutation fields; this layer takes any, those of SO(2) and O(2) among them.

    Parameters
    ----------
    in_type : FieldType
    eps : float
        Square of the length below which the norm turns into a parabola.
    """

    def __init__(self, in_type: FieldType, eps: float = 1e-6) -> None:
        super().__init__()
        self.in_type, self.eps = in_type, eps
        parts = [PartNorms(block.representation, block.count, eps) for block in in_type.blocks]
        self.parts = nn.ModuleList(parts)
        self._channels = [block.channels for block in in_type.blocks]
        channels = sum(part.n_parts * part.count for part in parts)
        self.out_type = trivial_type(in_type.group, channels)

    def forward(self, features: Tensor) -> Tensor:
        blocks = features.split(self._channels, dim=1)
        norms = torch.cat([part(x) for part, x in zip(self.parts, blocks, strict=True)], dim=1)
        if is_channels_last(features):
            return norms.contiguous(memory_format=torch.channels_last)
        return norms

    def extra_repr(self) -> str:
        return f"{self.in_type!r} → {self.out_type!r}, eps={self.eps:g}"


class PartNorms(nn.Module):
    """NormPooling of ``count`` fields of one representation."""

    to_irreps: Tensor
    membership: Tensor
    first: Tensor
    invariant: Tensor

    def __init__(self, representation: Representation, count: int, eps: float) -> None:
        super().__init__()
        self.count, self.eps = count, eps
        found = decompose(representation)
        self.n_parts = len(found.irreps)
        owner = np.repeat(range(self.n_parts), [irrep.size for irrep in found.irreps])
        membership = np.equal.outer(range(self.n_parts), owner)
        buffers = {
            "to_irreps": torch.tensor(found.change_of_basis.T, dtype=torch.float32),
            "membership": torch.tensor(membership, dtype=torch.float32),
            "first": torch.tensor(membership.argmax(axis=1)),
            "invariant": torch.tensor([irrep.is_trivial for irrep in found.irreps])[:, None, None],
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        fields = features.unflatten(1, (self.count, -1))
        coefficients = torch.einsum("rs,nfshw->nfrhw", self.to_irreps, fields)
        squares = torch.einsum("pr,nfrhw->nfphw", self.membership, coefficients.square())
        # √(s + ε) − √ε, without the cancellation
        norms = squares / (torch.sqrt(squares + self.eps) + self.eps**0.5)
        values = coefficients.index_select(2, self.first)
        return torch.where(self.invariant, values, norms).flatten(1, 2)
