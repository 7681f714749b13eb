"""The pointwise pair C → 4C → C with GELU, plain and block-diagonal, one table a width.

python bench_pointwise.py [-n PIXELS] [--turns T] [--threads K]
"""

import time

import comparison

options = comparison.arguments(__doc__, n=2048, turns=9)

import torch  # noqa: E402
from torch import nn  # noqa: E402

from equilens.models.fields import regular_type  # noqa: E402
from equilens.models.groups import CyclicGroup, DihedralGroup  # noqa: E402
from equilens.models.planar.convnext import ConvNeXtBlock  # noqa: E402
from equilens.models.planar.folded import TILE_PIXELS  # noqa: E402
from equilens.models.planar.folded_pairs import FoldedPair, IrrepsPair  # noqa: E402

WIDTHS = (64, 128, 256, 384, 512, 768)
GROUPS = (CyclicGroup(4), DihedralGroup(4), DihedralGroup(8))


def in_tiles(module, pixels):
    """Run a module as FoldedBlock does, tile by tile, and put slabs back in their places."""
    out = torch.empty_like(pixels)
    for tile, place in zip(pixels.split(TILE_PIXELS), out.split(TILE_PIXELS), strict=True):
        result = module(tile)
        if result.ndim == 3:
            result = result.transpose(0, 1).reshape(place.shape)
        place.copy_(result)
    return out


def contenders(width, dtype):
    """The plain pair, whole and in tiles, and two block-diagonal forms for each group."""
    pixels = torch.randn(options.n, width).to(dtype)
    plain = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
    modules = {"plain, in tiles": plain.to(dtype)}
    for group in GROUPS:
        block = ConvNeXtBlock(regular_type(group, width), 3)
        modules[f"{group.name}, characters of {FoldedPair(block).expand.blocks.shape[0]}"] = (
            FoldedPair(block).to(dtype)
        )
        modules[f"{group.name}, all irreps"] = IrrepsPair(block).to(dtype)
    runs = {"plain": lambda: plain(pixels)}
    runs |= {name: lambda m=module: in_tiles(m, pixels) for name, module in modules.items()}
    return runs


def main():
    """Print a table for each width and type."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.no_grad():
        for dtype, widths in ((torch.float32, WIDTHS), (torch.bfloat16, (128, 256))):
            for width in widths:
                result = comparison.take_turns(
                    contenders(width, dtype),
                    options.n,
                    options.turns,
                    "plain",
                    clock=time.process_time,
                )
                name = str(dtype).removeprefix("torch.")
                result.show(f"Pointwise pair, {width} channels, {name}", "pixels/s")


if __name__ == "__main__":
    main()
