"""Turns by 45° and 22.5°, which the pixel grid lacks: what holds them, and what breaks them."""

import numpy as np
import pytest
import torch
from torch import nn

from equilens.models.errors import FieldTypeError, KernelError
from equilens.models.fields import regular_type, trivial_type
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.inputs import CutoutNormalizer, InputSpec
from equilens.models.kernel_basis import harmonic_shells
from equilens.models.planar.antialiased import (
    AntialiasedStage,
    AntialiasedStem,
    CutoutFade,
    FibreLowPass,
    fibre_low_pass,
)
from equilens.models.planar.normalization import FieldBatchNorm
from equilens.models.planar.pooling import (
    Blur,
    BlurPooling,
    GroupPooling,
    SkyFade,
    SmoothRingPooling,
    disc_mask,
    faded_disc,
)
from equilens.models.smooth_harmonics import harmonic_powers, smooth_harmonics
from equilens.models.testing import assert_equivariant, rotated_scenes

C8, D8, D16 = CyclicGroup(8), DihedralGroup(8), DihedralGroup(16)
SPEC = InputSpec(("VIS",), 0.1, (101, 101))


class Pooled(nn.Module):
    """A short finder up to its pooled invariants; ``aliased`` names what it does without."""

    def __init__(self, group, aliased: str = "") -> None:
        super().__init__()
        fields, wider = regular_type(group, 32), regular_type(group, 64)
        self.normalizer = CutoutNormalizer(SPEC)
        stem = AntialiasedStem(1, fields, SPEC.working_side)
        self.body = nn.Sequential(
            stem, AntialiasedStage(fields, wider, 1, 25, halve=True), Blur(1.5)
        )
        self.head = nn.Sequential(GroupPooling(wider, smooth=True), SmoothRingPooling(25))
        if aliased == "blur":
            for layer in self.modules():
                if isinstance(layer, Blur):
                    layer.line.zero_()[layer.reach] = 1
        if aliased == "fade":
            for layer in self.modules():
                if isinstance(layer, SkyFade | CutoutFade):
                    layer.taper.fill_(1)

    def forward(self, images):
        inputs = torch.ones(len(images), 1), torch.zeros(images.shape, dtype=torch.bool)
        present = torch.ones(len(images), 1, dtype=torch.bool)
        return self.head(self.body(self.normalizer(images, *inputs, present)))


def lively(group, seed: int, aliased: str = "") -> Pooled:
    torch.manual_seed(seed)
    network = Pooled(group, aliased)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, FieldBatchNorm):
                layer.weight.copy_(0.5 + torch.rand(layer.weight.shape, generator=generator))
                layer.bias.copy_(0.3 * torch.randn(layer.bias.shape, generator=generator))
    return network.eval()


def turn_error(group, angle_deg: float, aliased: str = "") -> float:
    """Median of three seeds of max |f(turned) − f(upright)| / max |f(upright)|."""
    upright, turned = (rotated_scenes(SPEC, 4, angle) for angle in (0.0, angle_deg))
    found = []
    for seed in range(3):
        network = lively(group, seed, aliased)
        with torch.no_grad():
            first = network(upright)
            found.append(float((network(turned) - first).abs().max() / first.abs().max()))
    return sorted(found)[1]


def impurity(samples, frequency: int, size: int) -> float:
    """Share of the amplitude of a kernel's answers that lies in other harmonics."""
    function = samples[0] + (1j * samples[1] if len(samples) > 1 else 0j)
    power = harmonic_powers(function[None], size)[:, 0, 0]
    return float(np.sqrt(1 - power[frequency % len(power)] / power.sum()))


@pytest.mark.parametrize(("size", "limit"), [(5, 4e-3), (7, 2e-3)])
def test_smooth_harmonics_are_pure_and_turn_as_they_should(size, limit):
    harmonics = smooth_harmonics(size)
    for frequency, samples in harmonics:
        assert impurity(samples, frequency, size) < limit
        # a quarter turn, (x, y) → (−y, x), multiplies exp(imφ) by i^m, exactly
        turned = np.stack([np.rot90(s.reshape(size, size), -1).ravel() for s in samples])
        function, moved = (s[0] + (1j * s[1] if frequency else 0) for s in (samples, turned))
        assert np.allclose(moved, function * (-1j) ** frequency, atol=1e-12)
    expected = {5: [0, 0, 1, 2], 7: [0, 0, 1, 1, 2, 3]}
    assert [frequency for frequency, _ in harmonics] == expected[size]


def test_gaussian_rings_are_less_pure():
    rings = [shell.samples for shell in harmonic_shells(CyclicGroup(16), 5)]
    assert impurity(rings[3], 2, 5) > 0.03
    assert impurity(rings[1], 0, 5) > 0.002


def test_harmonics_of_nine_pixels_are_refused():
    with pytest.raises(KernelError, match="5×5 pixels or more, got size 3"):
        smooth_harmonics(3)
    assert np.array_equal(smooth_harmonics(1)[0][1], [[1.0]])


def test_a_blur_of_a_gaussian_is_a_wider_gaussian():
    distance = disc_mask(41)[0]

    def blob(sigma):
        return (torch.exp(-(distance**2) / (2 * sigma**2)) / sigma**2)[None, None].float()

    blurred = Blur(1.5)(blob(2.0))
    assert torch.allclose(blurred, blob(2.5), atol=2e-3 * float(blob(2.5).max()))
    halved = BlurPooling(1.5)(blob(2.0))
    assert torch.equal(halved, blurred[..., ::2, ::2])
    assert torch.allclose(Blur(1.5)(torch.ones(1, 2, 9, 9)), torch.tensor(1.0))


def test_fades_keep_the_middle_and_end_in_empty_sky():
    features = torch.rand(2, 3, 17, 17)
    faded = SkyFade(17, 4)(features)
    sky = features[..., ::16, ::16].mean(dim=(2, 3), keepdim=True)
    assert torch.equal(faded[..., 6:11, 6:11], features[..., 6:11, 6:11])
    assert torch.allclose(faded[..., :1, :2], sky.expand(-1, -1, 1, 2))
    channels = torch.ones(2, 3, 17, 17)
    channels[1, 2] = 0
    faded = CutoutFade(1, 17)(channels)
    assert torch.equal(faded[:, 2], channels[:, 2])
    assert torch.equal(faded[0, 0], faded_disc(17, 6).float())


def test_the_low_pass_drops_fast_waves_and_no_slow_ones():
    projector = fibre_low_pass(16).double()
    assert torch.allclose(projector @ projector, projector, atol=1e-6)
    angle = 2 * torch.pi * torch.arange(16, dtype=torch.float64) / 16
    for frequency in range(9):
        wave = torch.cos(frequency * angle)
        assert torch.allclose(projector @ wave, wave * (frequency <= 4), atol=1e-6)
    assert torch.equal(fibre_low_pass(4), torch.eye(4))
    with pytest.raises(FieldTypeError, match="FibreLowPass needs regular fields"):
        FibreLowPass(trivial_type(C8, 8), regular_type(C8, 8))


@pytest.mark.parametrize("group", [C8, D8, D16], ids=repr)
def test_quarter_turns_and_reflections_are_exact(group):
    images = rotated_scenes(SPEC, 2, 0.0) + torch.randn(2, 1, 101, 101)
    network = lively(group, 0)
    assert_equivariant(network, group, images, tolerance=1e-6)
    wide = regular_type(group, 64)
    stage = AntialiasedStage(wide, wide, 1, 17, halve=False).eval()
    nn.init.ones_(stage[-1].second.norm.weight)
    assert_equivariant(
        stage, group, torch.randn(2, 64, 17, 17), in_type=wide, out_type=wide, tolerance=2e-6
    )


@pytest.mark.parametrize("angle_deg", [45.0, 22.5])
@pytest.mark.parametrize("group", [C8, D8, D16], ids=repr)
def test_invariants_hold_under_turns_that_the_grid_lacks(group, angle_deg):
    assert turn_error(group, angle_deg) < 5e-5


def test_a_group_without_the_turn_does_not_hold_it():
    assert turn_error(CyclicGroup(4), 45.0) > 1e-3


@pytest.mark.parametrize("aliased", ["blur", "fade"])
def test_without_a_part_the_turn_shows(aliased):
    assert turn_error(C8, 45.0, aliased) > 2e-4
