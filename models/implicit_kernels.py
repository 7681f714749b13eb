"""Implicit steerable kernels: an equivariant perceptron of the offset in place of fixed functions.

Zhdanov, Hoffmann & Cesa 2023 (arXiv:2212.06096). A kernel obeys κ(hx) = ρ_out(h) κ(x) ρ_in(h)⁻¹
where vec κ is an equivariant function of the offset x with values in Hom = ρ_out ⊗ ρ_in. Their
perceptron maps x to Hom. We split off its last layer, which is linear: a perceptron maps x to a
few fields u_ψ(x) of each irrep ψ in Hom, the same for all pairs of fields, and intertwiners
ψ → Hom with free coefficients do the rest. So an implicit kernel is an analytic one whose
functions of the offset are learned.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from equilens.models.errors import KernelError
from equilens.models.fields import FieldBlock, FieldType, require_same_group
from equilens.models.groups import Group, PlanarGroup
from equilens.models.kernel_basis import highest_frequency, pixel_coordinates
from equilens.models.offset_perceptron import OffsetPerceptron, hidden_nonlinearity
from equilens.models.offsets import (
    embed_offsets,
    embedding_spec,
    function_count,
    intertwiners,
    window,
)
from equilens.models.representations import irreducibles, parse_representation


class _Functions(NamedTuple):
    """Where the perceptron's output holds the fields of one irrep."""

    irrep: str
    start: int
    n_fields: int
    size: int


class _Pair(NamedTuple):
    """One pair of field blocks, in plain values that a compiler traces easily.

    ``tables`` names the buffer of intertwiners for each of the irreps that occur in Hom.
    """

    tables: tuple[tuple[_Functions, str], ...]
    out_count: int
    in_count: int
    out_size: int
    in_size: int


class ImplicitKernel(nn.Module):
    """The kernel of a convolution between two field types, from a perceptron of the offset.

    Parameters
    ----------
    in_type, out_type : FieldType
    size : int
        Odd number of pixels a side.
    gain : float
        Variance of an output channel over that of the inputs, at the start.
    functions : int
        Learned fields of each irrep; fewer where analytic kernels of that size have fewer.
    hidden : int
        Fields of a hidden layer; of each irrep where the group is continuous.
    depth : int
        Hidden layers.
    """

    embedding: Tensor
    window: Tensor

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        size: int,
        gain: float = 2.0,
        *,
        functions: int = 4,
        hidden: int = 8,
        depth: int = 2,
    ) -> None:
        super().__init__()
        require_same_group(in_type, out_type, "ImplicitKernel")
        if size < 1 or size % 2 == 0:
            raise KernelError(f"an implicit kernel's size must be odd, got {size}")
        self.in_type, self.out_type, self.size = in_type, out_type, size
        group, points = in_type.group, pixel_coordinates(size)
        embedded, fade = embed_offsets(group, points, size), window(group, points, size)
        self.register_buffer("embedding", single(embedded), persistent=False)
        self.register_buffer("window", single(fade), persistent=False)
        pairs = [(out, into) for out in out_type.blocks for into in in_type.blocks]
        functions_type, self._functions = choose_functions(pairs, group, size, functions)
        frequency = highest_frequency((size - 1) // 2)
        self.perceptron = OffsetPerceptron(
            FieldType(group, embedding_spec(group, size)),
            functions_type,
            partial(hidden_nonlinearity, group, hidden, frequency),
            depth,
        )
        self.coefficients = nn.ParameterList()
        self._pairs = [self._add_pair(*pair) for pair in pairs]
        self.reset_parameters(gain)

    def _add_pair(self, out_block: FieldBlock, in_block: FieldBlock) -> _Pair:
        out_rep, in_rep = out_block.representation, in_block.representation
        tables: list[tuple[_Functions, str]] = []
        n_kernels = 0
        for entry in self._functions:
            maps = intertwiners(out_rep, in_rep, parse_representation(out_rep.group, entry.irrep))
            if len(maps):
                name = f"intertwiners_{len(self.coefficients)}_{len(tables)}"
                self.register_buffer(name, single(maps).flatten(2), persistent=False)
                tables.append((entry, name))
                n_kernels += entry.n_fields * len(maps)
        shape = (out_block.count, in_block.count, n_kernels)
        self.coefficients.append(nn.Parameter(torch.empty(shape)))
        return _Pair(tuple(tables), out_block.count, in_block.count, out_rep.size, in_rep.size)

    def reset_parameters(self, gain: float = 2.0) -> None:
        """Draw coefficients so that an output channel has ``gain`` times the inputs' variance."""
        with torch.no_grad():
            functions = self.perceptron(self.embedding) * self.window
        for pair, coefficients in zip(self._pairs, self.coefficients, strict=True):
            power = float(self._table(pair, functions).square().sum()) / pair.out_size
            power *= pair.in_count * len(self.in_type.blocks)
            # a kernel that the constraint forbids has no functions: nothing to draw
            nn.init.normal_(coefficients, std=(gain / power) ** 0.5 if power else 0.0)

    def weight(self) -> Tensor:
        """Return the dense kernel, shape (out channels, in channels, size, size)."""
        return self._kernel(self.embedding, self.window).unflatten(2, (self.size, self.size))

    def at(self, points: np.ndarray) -> Tensor:
        """Return the kernel (out channels, in channels, P) at any offsets (P, 2) in pixels."""
        group = self.in_type.group
        embedded = torch.tensor(embed_offsets(group, points, self.size)).to(self.embedding)
        fade = torch.tensor(window(group, points, self.size)).to(self.window)
        return self._kernel(embedded, fade)

    def _kernel(self, embedding: Tensor, fade: Tensor) -> Tensor:
        functions = self.perceptron(embedding) * fade
        dense = [
            self._expand(pair, coefficients @ self._table(pair, functions).flatten(1))
            for pair, coefficients in zip(self._pairs, self.coefficients, strict=True)
        ]
        width = len(self.in_type.blocks)
        rows = [torch.cat(dense[i : i + width], dim=1) for i in range(0, len(dense), width)]
        return torch.cat(rows, dim=0)

    def _table(self, pair: _Pair, functions: Tensor) -> Tensor:
        """Return the pair's kernels (n, out size × in size, P) at each function's points."""
        parts = [functions.new_zeros(0, pair.out_size * pair.in_size, functions.shape[1])]
        for (_, start, n_fields, size), name in pair.tables:
            stop = start + n_fields * size
            fields = functions[start:stop].unflatten(0, (n_fields, size))
            parts.append(torch.einsum("tdw,kdp->tkwp", getattr(self, name), fields).flatten(0, 1))
        return torch.cat(parts)

    def _expand(self, pair: _Pair, kernels: Tensor) -> Tensor:
        kernels = kernels.unflatten(2, (pair.out_size, pair.in_size, -1)).transpose(1, 2)
        return kernels.flatten(2, 3).flatten(0, 1)

    def extra_repr(self) -> str:
        size = f"{self.size}×{self.size}"
        return f"{self.in_type!r} → {self.out_type!r}, {size}, implicit"


def single(array: np.ndarray) -> Tensor:
    """Return an array as a float32 tensor of its own."""
    return torch.tensor(array, dtype=torch.float32)


def choose_functions(
    pairs: list[tuple[FieldBlock, FieldBlock]], group: Group, size: int, most: int
) -> tuple[FieldType, tuple[_Functions, ...]]:
    """Return the perceptron's output type: ``most`` fields of each irrep that some Hom holds."""
    finite = isinstance(group, PlanarGroup)
    highest = None if finite else highest_frequency((size - 1) // 2)
    chosen: list[_Functions] = []
    start = 0
    for irrep in irreducibles(group, highest):
        count = min(most, function_count(irrep, size))
        reps = ((out.representation, into.representation) for out, into in pairs)
        if count and any(len(intertwiners(*pair, irrep)) for pair in reps):
            chosen.append(_Functions(irrep.name, start, count, irrep.size))
            start += count * irrep.size
    # a perceptron needs an output, even one that no pair uses
    terms = [f"{entry.n_fields}x{entry.irrep}" for entry in chosen] or ["trivial"]
    return FieldType(group, "+".join(terms)), tuple(chosen)
