"""What a turn by 45° or 22.5° does to finders with random weights, and what steadiness costs.

Noise-free analytic scenes are drawn upright and turned: nothing is interpolated. The error of a
network is max |f(turned) − f(upright)| / max |f(upright)| over scenes and outputs, of the pooled
invariants and of the logits; `of spread` divides the invariants' by their largest standard
deviation over scenes instead, which a network cannot lower by answering all scenes alike. Each
line is the median and the worst of several seeds of weights.

Weights: convolutions as initialised; normalisations with gains from 0.5 to 1.5 and biases of 0.3
standard deviations, so that every branch acts. Their statistics are initial ones (`random`), or
those of the same scenes with noise (`settled`), as after training: features then stand out as
sharply as they can, and turns show most.

With `--escnn-python`, the interpreter of an environment that has escnn (`pip install "numpy<2"
torch escnn`), its small C8 and D16 networks see the same normalised scenes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

ANGLES = (45.0, 22.5)
CONDITIONS = ("random", "settled")
NETWORKS = ("plain-resnet-nano", "d4-resnet-nano", "c8-resnet-nano", "d8-resnet-small")
NETWORKS += ("d16-resnet-nano",)
TWIN = "plain-resnet-nano"
SIDE = 101
BATCH = 8
Outputs = Callable[..., tuple]


def main() -> None:
    options = options_of()
    import torch

    torch.set_num_threads(options.threads)
    scenes = Scenes(options.n)
    rows = []
    for name in NETWORKS:
        rows += table_rows(name, scenes, options.seeds, views=1)
    rows += table_rows(TWIN, scenes, options.seeds, views=8)
    if options.escnn_python:
        rows += escnn_rows(options.escnn_python, scenes, options.seeds)
    show(rows, options.n, options.seeds)
    show_price(options.turns)


def options_of() -> argparse.Namespace:
    """Parse the command line, and pin threads."""
    from comparison import parser, pin_threads

    own = parser(__doc__, n=12)
    own.add_argument("--escnn-python", help="interpreter of an environment with escnn")
    own.add_argument("--seeds", type=int, default=5, help="draws of the weights (5)")
    options = own.parse_args()
    pin_threads(options.threads)
    return options


class Scenes:
    """The scenes at each angle, and once more with noise, as a finder takes them."""

    def __init__(self, n: int) -> None:
        import torch

        from equilens.models.inputs import InputSpec
        from equilens.models.testing import rotated_scenes

        self.spec = InputSpec(("VIS",), 0.1, (SIDE, SIDE))
        self.images = {angle: rotated_scenes(self.spec, n, angle, 5) for angle in (0.0, *ANGLES)}
        generator = torch.Generator().manual_seed(9)
        upright = self.images[0.0]
        self.noisy = upright + torch.randn(upright.shape, generator=generator)

    def inputs(self, images) -> tuple:
        """Images, noise, mask and band_present of valid cutouts with unit noise."""
        import torch

        shape = images.shape[:2]
        valid = torch.zeros(images.shape, dtype=torch.bool)
        return images, torch.ones(shape), valid, torch.ones(shape, dtype=torch.bool)


def table_rows(name: str, scenes: Scenes, seeds: int, views: int) -> Iterator[tuple]:
    """Rows of one network: name, condition, angle, and errors by seed."""
    import torch

    from equilens.models.networks import build_finder

    for condition in CONDITIONS:
        found: dict[float, list] = {angle: [] for angle in ANGLES}
        for seed in range(seeds):
            finder = build_finder(name, scenes.spec, seed)
            noisy = scenes.inputs(scenes.noisy) if condition == "settled" else None
            with torch.no_grad():
                draw_normalizations(finder, seed, noisy)
                results = {
                    angle: outputs(finder, scenes.inputs(images), views)
                    for angle, images in scenes.images.items()
                }
            for angle in ANGLES:
                found[angle].append(errors(results[0.0], results[angle]))
        label = name if views == 1 else f"{name}, mean of {views} views"
        yield from ((label, condition, angle, found[angle]) for angle in ANGLES)


def draw_normalizations(finder, seed: int, noisy: tuple | None) -> None:
    """Draw gains and biases; settle statistics on noisy scenes where there are some."""
    import torch

    from equilens.models.planar.normalization import FieldBatchNorm

    generator = torch.Generator().manual_seed(seed)
    for layer in finder.modules():
        if isinstance(layer, FieldBatchNorm):
            layer.weight.copy_(0.5 + torch.rand(layer.weight.shape, generator=generator))
            layer.bias.copy_(0.3 * torch.randn(layer.bias.shape, generator=generator))
            layer.momentum = 1.0
    if noisy is not None:
        finder.train()(*noisy)
    finder.eval()


def outputs(finder, inputs: tuple, views: int) -> tuple:
    """Pooled invariants (N, channels) and logits (N, 1), averaged over views of the square."""
    import torch

    kept = []
    hook = finder.head.ring_pooling.register_forward_hook(lambda *call: kept.append(call[2]))
    logits = [finder(*view)[:, None] for view in square_views(inputs, views)]
    hook.remove()
    return torch.stack(kept).mean(dim=0), torch.stack(logits).mean(dim=0)


def square_views(inputs: tuple, views: int) -> Iterator[tuple]:
    images, noise, mask, present = inputs
    for view in range(views):
        turned = images.rot90(view % 4, (2, 3))
        yield (turned.flip(2) if view >= 4 else turned), noise, mask, present


def errors(upright: tuple, turned: tuple) -> tuple[float, float, float]:
    """Errors of the invariants, of the logits, and of the invariants over their spread."""
    changes = [float((b - a).abs().max()) for a, b in zip(upright, turned, strict=True)]
    invariants, logits = (float(values.abs().max()) for values in upright)
    spread = float(upright[0].std(dim=0).max())
    return changes[0] / invariants, changes[1] / logits, changes[0] / spread


def escnn_rows(python: str, scenes: Scenes, seeds: int) -> Iterator[tuple]:
    """Rows of escnn's networks, run by its own interpreter on the same normalised scenes."""
    import numpy as np

    from equilens.models.inputs import CutoutNormalizer

    normalizer = CutoutNormalizer(scenes.spec)
    batches = {str(a): normalizer(*scenes.inputs(x)) for a, x in scenes.images.items()}
    batches["noisy"] = normalizer(*scenes.inputs(scenes.noisy))
    with TemporaryDirectory() as scratch:
        path = Path(scratch) / "scenes.npz"
        np.savez(path, **{key: batch.numpy() for key, batch in batches.items()})
        worker = Path(__file__).with_name("escnn_rotation.py")
        command = [python, str(worker), str(path), str(seeds)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for line in done.stdout.splitlines():
        row = json.loads(line)
        yield row["name"], row["condition"], row["angle"], row["errors"]


def show(rows: list[tuple], n: int, seeds: int) -> None:
    """Print the table, in Markdown."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table("network", "statistics", "angle", box=box.MARKDOWN)
    for column in ("invariants", "logits", "of spread"):
        table.add_column(column, justify="right")
    for name, condition, angle, found in rows:
        cells = [f"{median(e):.1e} / {max(e):.1e}" for e in zip(*found, strict=True)]
        table.add_row(name, condition, f"{angle:g}°", *cells)
    console = Console(width=140, highlight=False)
    console.print(f"Turned scenes: N = {n} of {SIDE}², {seeds} seeds, median / worst")
    console.print(table)
    console.print("Target: 2.5e-04 at both angles with random weights, for C8, D8 and D16")


def show_price(turns: int) -> None:
    """Print arithmetic and CPU time of the folded networks against the plain twin."""
    import torch
    from comparison import take_turns

    from equilens.models.cost import blank_inputs, finder_cost
    from equilens.models.fold import fold
    from equilens.models.inputs import InputSpec
    from equilens.models.networks import build_finder

    spec = InputSpec(("VIS",), 0.1, (SIDE, SIDE))
    batch = blank_inputs(spec, BATCH)
    finders = {name: build_finder(name, spec).eval() for name in NETWORKS}
    folded = {name: fold(finder) for name, finder in finders.items()}
    with torch.inference_mode():
        runs = {name: (lambda network=network: network(*batch)) for name, network in folded.items()}
        found = take_turns(runs, BATCH, turns, TWIN)
    found.show(f"Folded networks, {SIDE}² cutouts, eager", "cutouts/s")
    for name, finder in finders.items():
        cost = finder_cost(finder)
        sys.stdout.write(
            f"{name}: {cost.macs / 1e6:.0f}M multiply-accumulates, {cost.parameters} parameters\n"
        )


if __name__ == "__main__":
    main()
