"""Nonlinearities that commute with the group."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.errors import FieldTypeError
from equilens.models.fields import FieldType, require_permutation

POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {"silu": functional.silu, "elu": functional.elu}


class PointwiseNonlinearity(nn.Module):
    """A smooth function of each channel, for fields whose channels only permute.

    Smooth ones (SiLU, ELU) create fewer high frequencies than ReLU, which a sampled rotation by
    45° would alias.
    """

    def __init__(self, field_type: FieldType, function: str = "silu") -> None:
        super().__init__()
        require_permutation(field_type, "PointwiseNonlinearity")
        if function not in POINTWISE:
            raise FieldTypeError(f"function must be one of {sorted(POINTWISE)}, got {function!r}")
        self.in_type = self.out_type = field_type
        self.function = function

    def forward(self, features: Tensor) -> Tensor:
        return POINTWISE[self.function](features)

    def extra_repr(self) -> str:
        return f"{self.function}, {self.in_type!r}"


class NormNonlinearity(nn.Module):
    """x → x sigmoid(a |x| + b) for each field, with one learned a and b a field.

    Orthogonal representations keep |x|, so this commutes with any of them (Worrall et al. 2017,
    arXiv:1612.04642, section 4.3, with a smooth gate).
    """

    owner: Tensor
    membership: Tensor

    def __init__(self, field_type: FieldType) -> None:
        super().__init__()
        self.in_type = self.out_type = field_type
        self.scale = nn.Parameter(torch.ones(field_type.n_fields))
        self.shift = nn.Parameter(torch.zeros(field_type.n_fields))
        owner = field_type.owner_of_channel()
        membership = functional.one_hot(torch.tensor(owner)).T.float()
        self.register_buffer("owner", torch.tensor(owner), persistent=False)
        self.register_buffer("membership", membership, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        squares = torch.einsum("fc,nchw->nfhw", self.membership, features.square())
        norms = torch.sqrt(squares + 1e-12)
        gates = torch.sigmoid(norms * self.scale[:, None, None] + self.shift[:, None, None])
        return features * gates.index_select(1, self.owner)

    def extra_repr(self) -> str:
        return f"{self.in_type!r}"


class GatedNonlinearity(nn.Module):
    """x → x sigmoid(g) with an invariant gate g for each field (Weiler et al. 2018, 1807.02547).

    The input holds the output's fields and then one trivial gate for each of them; trivial fields
    are their own gates and become SiLU.
    """

    sources: Tensor

    def __init__(self, out_type: FieldType) -> None:
        super().__init__()
        owner, gates, sources = out_type.owner_of_channel(), 0, []
        trivial = [
            block.representation.is_trivial for block in out_type.blocks for _ in range(block.count)
        ]
        source_of_field = {}
        for channel, field in enumerate(owner):
            if field not in source_of_field:
                source_of_field[field] = channel if trivial[field] else out_type.channels + gates
                gates += not trivial[field]
            # wider trivial representations gate themselves channel by channel
            sources.append(channel if trivial[field] else source_of_field[field])
        spec = out_type.spec + (f"+{gates}xtrivial" if gates else "")
        self.in_type, self.out_type = FieldType(out_type.group, spec), out_type
        self.register_buffer("sources", torch.tensor(sources), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        gates = torch.sigmoid(features.index_select(1, self.sources))
        return features[:, : self.out_type.channels] * gates

    def extra_repr(self) -> str:
        return f"{self.in_type!r} → {self.out_type!r}"
