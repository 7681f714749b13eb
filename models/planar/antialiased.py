"""Residual stages for rotations that the pixel grid lacks, such as 45° and 22.5°.

What breaks those rotations is what the grid aliases, so nothing here creates it unchecked:

- the plane is convolved with smooth harmonics (``smooth_harmonics``) only;
- a nonlinearity's overtones are blurred before they join a stage's maps, which no nonlinearity
  then touches: they are sums of smooth maps;
- grids are halved after a Gaussian blur only, and no further than to 25² for a 101² cutout;
- maps fade into what empty sky gives, and padding goes on with that;
- over the fibre, waves that its few samples cannot tell apart are dropped.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from equilens.models.fields import FieldType, trivial_type
from equilens.models.planar.blocks import ConvNorm
from equilens.models.planar.convolutions import PointwiseConv
from equilens.models.planar.depthwise import DepthwiseConv, require_regular
from equilens.models.planar.nonlinearities import PointwiseNonlinearity
from equilens.models.planar.pooling import Blur, BlurPooling, SkyFade, faded_disc

BASIS, STEM_SIZE, DEPTHWISE_SIZE = "smooth", 5, 7
STEM_BLUR_PX, HALVING_BLUR_PX, BLUR_PX = 1.5, 2.0, 1.5
INPUT_EDGE_PX, EDGE_FRACTION = 6.0, 0.3


class AntialiasedStem(nn.Sequential):
    """Normalised cutouts → regular fields on half the grid; lifted at full resolution.

    (N, 3 bands, side, side) → (N, channels, (side − 3) / 2, (side − 3) / 2).
    """

    def __init__(self, n_bands: int, out_type: FieldType, side: int) -> None:
        self.in_type, self.out_type = trivial_type(out_type.group, 3 * n_bands), out_type
        super().__init__(
            CutoutFade(n_bands, side),
            ConvNorm(self.in_type, out_type, STEM_SIZE, basis=BASIS),
            PointwiseNonlinearity(out_type),
            BlurPooling(STEM_BLUR_PX),
        )


class AntialiasedStage(nn.Sequential):
    """Other widths, on ``side`` pixels, then blocks.

    Parameters
    ----------
    in_type, out_type : FieldType
        Regular fields.
    depth : int
        Blocks.
    side : int
        Pixels a side, after halving.
    halve : bool
        Take maps of 2 side − 1 pixels.
    """

    def __init__(
        self, in_type: FieldType, out_type: FieldType, depth: int, side: int, halve: bool
    ) -> None:
        entrance: list[nn.Module] = [BlurPooling(HALVING_BLUR_PX)] if halve else []
        entrance += [SkyFade(side, EDGE_FRACTION * side), PointwiseNorm(in_type, out_type)]
        super().__init__(*entrance, *(AntialiasedBlock(out_type, side) for _ in range(depth)))


class AntialiasedBlock(nn.Module):
    """x → fade(x + norm(mix(blur(φ(norm(mix(depthwise(x))))))).

    Two pointwise layers cost little, so that the depthwise kernel can be 7×7 and the grid two to
    four times as fine as in dense stages. The last normalisation starts with γ = 0, so that a new
    block is the identity but for the fade.
    """

    def __init__(self, field_type: FieldType, side: int) -> None:
        super().__init__()
        self.in_type = self.out_type = field_type
        self.pad = nn.ReplicationPad2d(DEPTHWISE_SIZE // 2)
        self.depthwise = DepthwiseConv(field_type, DEPTHWISE_SIZE, basis=BASIS)
        self.first = PointwiseNorm(field_type, field_type)
        self.activation = PointwiseNonlinearity(field_type)
        self.blur = Blur(BLUR_PX)
        self.second = PointwiseNorm(field_type, field_type, gain=2.0)
        self.fade = SkyFade(side, EDGE_FRACTION * side)
        nn.init.zeros_(self.second.norm.weight)

    def forward(self, features: Tensor) -> Tensor:
        mixed = self.activation(self.first(self.depthwise(self.pad(features))))
        return self.fade(features + self.second(self.blur(mixed)))


class PointwiseNorm(ConvNorm):
    """FibreLowPass, then field-wise batch norm."""

    def __init__(self, in_type: FieldType, out_type: FieldType, gain: float = 1.0) -> None:
        super().__init__(in_type, out_type, 1)
        self.conv = FibreLowPass(in_type, out_type, gain=gain)


class FibreLowPass(PointwiseConv):
    """Pointwise layer of regular fields that sees only slow waves over the rotations.

    A field of C_N or D_N is N samples of a function of the angle. A nonlinearity gives it waves of
    any frequency, and N samples cannot tell k from N − k; those above N / 4 are dropped, so that
    products of two that pass are not mistaken for others. Rotations between the group's own then
    hold nearly as well. Groups of fewer than eight rotations keep all.
    """

    low_pass: Tensor

    def __init__(self, in_type: FieldType, out_type: FieldType, **options) -> None:
        require_regular(in_type, "FibreLowPass")
        super().__init__(in_type, out_type, **options)
        self.register_buffer("low_pass", fibre_low_pass(in_type.finite_group.n), persistent=False)

    def weight(self) -> Tensor:
        """Return the dense kernel, shape (out channels, in channels, 1, 1)."""
        weight = super().weight()
        # reflections hold a second run of the rotations
        runs = weight.view(len(weight), -1, len(self.low_pass))
        return (runs @ self.low_pass).view_as(weight)


class CutoutFade(nn.Module):
    """Fade a normalised cutout into empty sky towards the inscribed circle.

    Both stretches of the signal fade to 0; validity fades to 1 in bands that have a valid pixel,
    else it stays 0.
    """

    taper: Tensor

    def __init__(self, n_bands: int, side: int) -> None:
        super().__init__()
        self.n_signals = 2 * n_bands
        taper = faded_disc(side, INPUT_EDGE_PX).float()
        self.register_buffer("taper", taper, persistent=False)

    def forward(self, channels: Tensor) -> Tensor:
        signal, valid = channels[:, : self.n_signals], channels[:, self.n_signals :]
        present = valid.amax(dim=(2, 3), keepdim=True)
        return torch.cat([self.taper * signal, present + self.taper * (valid - present)], dim=1)


def fibre_low_pass(n: int) -> Tensor:
    """Return the projector (n, n) on waves exp(2πi k j / n) with |k| ≤ n / 4 over n rotations."""
    frequencies = torch.fft.fftfreq(n, dtype=torch.float64) * n
    kept = (frequencies.abs() <= n // 4) if n >= 8 else torch.ones(n, dtype=torch.bool)
    kernel = torch.fft.ifft(kept.double()).real
    steps = torch.arange(n)
    return kernel[(steps[:, None] - steps) % n].float()
