"""Steerable kernels as modules: free coefficients in, the dense kernel of a convolution out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from equilens.models.fields import FieldBlock, FieldType, require_same_group
from equilens.models.kernel_basis import default_basis, kernel_basis


class _Block(NamedTuple):
    """One pair of field blocks, in plain values that a compiler traces easily.

    The buffer ``table`` holds the basis, or where each entry ``copies`` a coefficient, which one.
    """

    table: str
    copies: bool
    power: float
    out_count: int
    in_count: int
    out_size: int
    in_size: int


class SteerableKernel(nn.Module):
    """The kernel of a convolution between two field types, expanded from free coefficients.

    Parameters
    ----------
    in_type, out_type : FieldType
    size : int
        Odd number of pixels a side.
    basis : {"pixels", "harmonics", "smooth"}, optional
        Pixels where the group maps the grid onto itself, else harmonics.
    gain : float
        Variance of an output channel over that of the inputs, at the start.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        size: int,
        basis: str | None = None,
        gain: float = 2.0,
    ) -> None:
        super().__init__()
        require_same_group(in_type, out_type, "SteerableKernel")
        self.in_type, self.out_type, self.size = in_type, out_type, size
        self.basis = basis or default_basis(in_type.group)
        self.coefficients = nn.ParameterList()
        self._rows = [
            [self._add_block(out_block, in_block) for in_block in in_type.blocks]
            for out_block in out_type.blocks
        ]
        self.reset_parameters(gain)

    def _add_block(self, out_block: FieldBlock, in_block: FieldBlock) -> _Block:
        out_rep, in_rep = out_block.representation, in_block.representation
        solutions = kernel_basis(out_rep, in_rep, self.size, self.basis)
        # torch flattens an empty basis too, which a pair without any kernel has
        table = torch.tensor(solutions, dtype=torch.float32).flatten(1)
        power = float(table.square().sum())
        copies = self.basis == "pixels" and _copies(table)
        name = f"table_{len(self.coefficients)}"
        self.register_buffer(name, table.argmax(dim=0) if copies else table, persistent=False)
        counts = (out_block.count, in_block.count)
        self.coefficients.append(nn.Parameter(torch.empty(*counts, len(solutions))))
        return _Block(name, copies, power, *counts, out_rep.size, in_rep.size)

    def reset_parameters(self, gain: float = 2.0) -> None:
        """Draw coefficients so that an output channel has ``gain`` times the inputs' variance."""
        blocks = [block for row in self._rows for block in row]
        for block, coefficients in zip(blocks, self.coefficients, strict=True):
            power = block.power / block.out_size
            power *= block.in_count * len(self.in_type.blocks)
            # a kernel that the constraint forbids has an empty basis: nothing to draw
            nn.init.normal_(coefficients, std=(gain / power) ** 0.5 if power else 0.0)

    def weight(self) -> Tensor:
        """Return the dense kernel, shape (out channels, in channels, size, size)."""
        coefficients = iter(self.coefficients)
        rows = []
        for row in self._rows:
            parts = [self._expand(block, next(coefficients)) for block in row]
            rows.append(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim=0)

    def _expand(self, block: _Block, coefficients: Tensor) -> Tensor:
        table, fields = getattr(self, block.table), coefficients.flatten(0, 1)
        kernels = fields.index_select(1, table) if block.copies else fields @ table
        counts, sizes = (block.out_count, block.in_count), (block.out_size, block.in_size)
        kernels = kernels.view(*counts, *sizes, self.size, self.size)
        return kernels.transpose(1, 2).reshape(
            block.out_count * block.out_size, -1, self.size, self.size
        )

    def extra_repr(self) -> str:
        size = f"{self.size}×{self.size}"
        return f"{self.in_type!r} → {self.out_type!r}, {size}, basis={self.basis}"


def _copies(table: Tensor) -> bool:
    """True where every entry of the kernel is one coefficient, as in a basis of single pixels.

    Picking entries then costs a third of the matrix product that other bases need.
    """
    return bool(((table == 0) | (table == 1)).all() and (table.sum(dim=0) == 1).all())
