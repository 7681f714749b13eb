"""escnn's side of bench_rotation: small C8 and D16 networks on scenes that it is given.

escnn_rotation.py SCENES.npz SEEDS, with numpy < 2, torch and escnn. Stem 7×7 and six 5×5
convolutions of regular fields, as in escnn's own example of a steerable network: a masked input,
batch normalisation, ELU, antialiased average pooling (σ = 0.66) in place of strides, and group
pooling; then, as ours, a pixelwise mixture and the mean over the plane.
"""

import json
import sys

import numpy as np
import torch
from escnn import gspaces, nn

ANGLES = (45.0, 22.5)
WIDTHS = (32, 32, 64, 64, 128, 128)
POOLED = (0, 2, 4)
CROP = 2
"""Pixels cut from each edge: 97 → 49 → 25 → 13 keeps strides of 2 symmetric, 101 does not."""


class Network(torch.nn.Module):
    """Normalised scenes → invariants and logits."""

    def __init__(self, space, channels, side):
        super().__init__()
        order = space.fibergroup.order()
        fields = nn.FieldType(space, channels * [space.trivial_repr])
        self.in_type = fields
        layers = [nn.MaskModule(fields, side - 2 * CROP, margin=1)]
        for i, width in enumerate((WIDTHS[0], *WIDTHS)):
            wider = nn.FieldType(space, max(1, width // order) * [space.regular_repr])
            size = 5 if i else 7
            layers += [
                nn.R2Conv(fields, wider, size, padding=size // 2, bias=False),
                nn.InnerBatchNorm(wider),
                nn.ELU(wider),
            ]
            if i in POOLED:
                layers.append(nn.PointwiseAvgPoolAntialiased(wider, sigma=0.66, stride=2))
            fields = wider
        self.layers = nn.SequentialModule(*layers, nn.GroupPooling(fields))
        self.mix = torch.nn.Conv2d(len(fields), 64, 1)
        self.hidden, self.logit = torch.nn.Linear(64, 64), torch.nn.Linear(64, 1)

    def forward(self, images):
        inner = images[..., CROP:-CROP, CROP:-CROP]
        features = self.layers(nn.GeometricTensor(inner, self.in_type)).tensor
        pooled = torch.nn.functional.silu(self.mix(features)).mean(dim=(2, 3))
        return pooled, self.logit(torch.nn.functional.silu(self.hidden(pooled)))


def draw_normalizations(network, seed, noisy):
    """As in bench_rotation."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.weight.copy_(0.5 + torch.rand(layer.weight.shape, generator=generator))
            layer.bias.copy_(0.3 * torch.randn(layer.bias.shape, generator=generator))
            layer.momentum = 1.0
    if noisy is not None:
        network.train()(noisy)
    network.eval()


def errors(upright, turned):
    """As in bench_rotation."""
    changes = [float((b - a).abs().max()) for a, b in zip(upright, turned, strict=True)]
    invariants, logits = (float(values.abs().max()) for values in upright)
    return changes[0] / invariants, changes[1] / logits, changes[0] / float(upright[0].std(0).max())


def main():
    scenes = {key: torch.from_numpy(value) for key, value in np.load(sys.argv[1]).items()}
    spaces = {"C8": gspaces.rot2dOnR2(8), "D16": gspaces.flipRot2dOnR2(16)}
    torch.set_num_threads(1)
    for name, space in spaces.items():
        for condition in ("random", "settled"):
            found = {angle: [] for angle in ANGLES}
            for seed in range(int(sys.argv[2])):
                torch.manual_seed(seed)
                network = Network(space, scenes["noisy"].shape[1], scenes["noisy"].shape[-1])
                with torch.no_grad():
                    settling = scenes["noisy"] if condition == "settled" else None
                    draw_normalizations(network, seed, settling)
                    upright = network(scenes["0.0"])
                    for angle in ANGLES:
                        found[angle].append(errors(upright, network(scenes[str(angle)])))
            for angle in ANGLES:
                row = {"name": f"escnn {name}", "condition": condition, "angle": angle}
                sys.stdout.write(json.dumps(row | {"errors": found[angle]}) + "\n")


if __name__ == "__main__":
    main()
