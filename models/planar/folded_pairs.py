"""Pointwise layers of ConvNeXt-like blocks for inference, with expanded matrices.

A pair of them, with the nonlinearity between, has two block-diagonal forms: by the characters of a
small subgroup (few equal blocks and an easy transform), and by all irreps of the group (the least
arithmetic). The second wins where channels are many.
"""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from equilens.models.irreps_split import IrrepsSplit, IsotypicPart
from equilens.models.planar.blockdiagonal import BlockPointwise, FibreTransform
from equilens.models.planar.convnext import ConvNeXtBlock

IRREPS_FROM_CHANNELS = 512
"""Channels of a block from which the form by irreps is the faster one."""


def folded_pair(block: ConvNeXtBlock) -> nn.Module:
    """Return the faster inference form of expand, GELU and contract."""
    wide = block.in_type.channels >= IRREPS_FROM_CHANNELS
    return IrrepsPair(block) if wide else FoldedPair(block)


class FoldedPointwise(nn.Module):
    """A block-diagonal pointwise layer with expanded matrices: spectra in, spectra out."""

    blocks: Tensor
    bias: Tensor | None

    def __init__(self, layer: BlockPointwise, scale: Tensor | None = None) -> None:
        super().__init__()
        scale = output_scale(layer, scale)[: layer.out_type.channels // layer.split.order]
        bias = layer.bias()
        self.register_buffer("blocks", (layer.blocks() * scale).detach().contiguous())
        self.register_buffer("bias", None if bias is None else (bias[0, 0] * scale).detach())

    def forward(self, spectrum: Tensor) -> Tensor:
        mapped = torch.bmm(spectrum, self.blocks)
        if self.bias is not None:
            # only the trivial character has one
            mapped[0] += self.bias
        return mapped


class FoldedPair(nn.Module):
    """expand, GELU and contract of a ConvNeXtBlock: pixels (n, channels) to slabs of the fibre."""

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        self.transform = FibreTransform(block.in_type)
        self.expand = FoldedPointwise(block.expand)
        self.contract = FoldedPointwise(block.contract, block.scale)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self.transform(self.expand(self.transform.to_spectrum(pixels)))
        hidden = self.transform(functional.gelu(hidden))
        return self.transform(self.contract(hidden))


class IrrepsPair(nn.Module):
    """The same as FoldedPair, by all irreps of the group."""

    matrix: Tensor

    def __init__(self, block: ConvNeXtBlock) -> None:
        super().__init__()
        split = IrrepsSplit(block.in_type.finite_group)
        self.register_buffer("matrix", torch.tensor(split.matrix).float())
        self.expand = IrrepsPointwise(block.expand, split)
        self.contract = IrrepsPointwise(block.contract, split, block.scale)

    def forward(self, pixels: Tensor) -> Tensor:
        n, order = pixels.shape[0], len(self.matrix)
        slabs = self._to_irreps(pixels.view(n, order, -1).transpose(0, 1).contiguous())
        hidden = functional.gelu(self._to_fibre(self.expand(slabs)))
        return self._to_fibre(self.contract(self._to_irreps(hidden)))

    def _to_irreps(self, fibre: Tensor) -> Tensor:
        return (self.matrix @ fibre.flatten(1)).view(fibre.shape)

    def _to_fibre(self, slabs: Tensor) -> Tensor:
        return (self.matrix.T @ slabs.flatten(1)).view(slabs.shape)


class IrrepsPointwise(nn.Module):
    """A pointwise layer, one matrix an irrep: slabs (|G|, n, fields in) → (|G|, n, fields out)."""

    lines: Tensor
    bias: Tensor | None

    def __init__(
        self, layer: BlockPointwise, split: IrrepsSplit, scale: Tensor | None = None
    ) -> None:
        super().__init__()
        scale = output_scale(layer, scale)[: layer.out_type.n_fields].detach()
        weights = layer.coefficients.detach().double() * scale[:, None]
        lines = [_matrix(weights, part)[0, :, 0] for part in split.parts if part.slabs == 1]
        self.register_buffer("lines", torch.stack(lines).float())
        self.planes = [part for part in split.parts if part.slabs > 1]
        for part in self.planes:
            matrix = _gathering if layer.out_type.channels > layer.in_type.channels else _scattering
            self.register_buffer(f"plane_{part.start}", matrix(_matrix(weights, part)).float())
        # the trivial irrep's unit vector is constant: |G| equal values b have √|G| b along it
        factor = scale * split.group.order**0.5
        bias = None if layer.field_bias is None else layer.field_bias.detach() * factor
        self.register_buffer("bias", bias)

    def forward(self, slabs: Tensor) -> Tensor:
        n_lines, _, n_out = self.lines.shape
        out = slabs.new_empty(len(slabs), slabs.shape[1], n_out)
        # autocast leaves calls with `out` alone
        torch.bmm(slabs[:n_lines], self.lines.to(slabs.dtype), out=out[:n_lines])
        if self.bias is not None:
            out[0] += self.bias
        for part in self.planes:
            matrix = getattr(self, f"plane_{part.start}").to(slabs.dtype)
            mix = _gather if matrix.shape[1] == part.copies * slabs.shape[2] else _scatter
            for start in range(part.start, part.start + part.slabs, part.copies):
                mixed = slice(start, start + part.copies)
                mix(slabs[mixed], matrix, out[mixed])
        return out


def _matrix(weights: Tensor, part: IsotypicPart) -> Tensor:
    """Return an irrep's matrix (copies in, fields in, copies out, fields out) from w_ij(g)."""
    table = torch.tensor(part.table).to(weights.device)
    return torch.einsum("ijg,gab->aibj", weights, table)


def _gathering(matrix: Tensor) -> Tensor:
    """Return it as (copies out, copies in * fields in, fields out), for ``_gather``."""
    return matrix.permute(2, 0, 1, 3).flatten(1, 2).contiguous()


def _scattering(matrix: Tensor) -> Tensor:
    """Return it as (copies in, fields in, copies out * fields out), for ``_scatter``."""
    return matrix.flatten(2).contiguous()


def _gather(slabs: Tensor, matrix: Tensor, out: Tensor) -> None:
    """Write each copy out from all copies in, laid side by side: for few fields in."""
    row = slabs.transpose(0, 1).reshape(slabs.shape[1], -1)
    for copy, columns in enumerate(matrix):
        torch.mm(row, columns, out=out[copy])


def _scatter(slabs: Tensor, matrix: Tensor, out: Tensor) -> None:
    """Sum over the copies in, all copies out side by side: for few fields out."""
    row = torch.mm(slabs[0], matrix[0])
    for slab, rows in zip(slabs[1:], matrix[1:], strict=True):
        row = torch.addmm(row, slab, rows)
    out.copy_(row.view(len(row), len(out), -1).transpose(0, 1))


def output_scale(layer: BlockPointwise, scale: Tensor | None) -> Tensor:
    """Return a factor for each fibre-major output channel from one a field, or ones."""
    if scale is None:
        return layer.coefficients.new_ones(layer.out_type.channels)
    return scale.detach().repeat(layer.out_type.finite_group.order)
