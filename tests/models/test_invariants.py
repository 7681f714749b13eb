"""Norms of irreducible parts, and whole networks of SO(2) and O(2) at any angle."""

import pickle

import pytest
import torch
from torch import nn

from equilens.models.continuous_groups import O2, SO2
from equilens.models.errors import EquivarianceError
from equilens.models.fields import FieldType
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.inputs import InputSpec
from equilens.models.planar.convolutions import SteerableConv
from equilens.models.planar.invariants import NormPooling
from equilens.models.planar.nonlinearities import GatedNonlinearity, NormNonlinearity
from equilens.models.planar.normalization import FieldBatchNorm
from equilens.models.planar.pooling import DiscPooling
from equilens.models.testing import assert_equivariant, rotated_scenes

FIELDS = {
    SO2(): "4xirrep(0)+4xirrep(1)+2xirrep(2)+bandlimited(1)",
    O2(): "4xirrep(0,0)+2xirrep(1,0)+4xirrep(1,1)+2xirrep(1,2)+induced(SO2,irrep(1))",
    CyclicGroup(8): "2xirrep(0)+2xirrep(1)+quotient(C4)",
    DihedralGroup(4): "2xregular+irrep(1,1)+induced(C4,irrep(1))",
}
by_group = pytest.mark.parametrize("group", FIELDS, ids=lambda group: group.name)


def test_norms_in_closed_form():
    fields = FieldType(SO2(), "irrep(0)+2xirrep(1)")
    pooling = NormPooling(fields, eps=1e-12)
    features = torch.tensor([-2.0, 3.0, 4.0, 0.0, 0.0]).reshape(1, 5, 1, 1)
    expected = torch.tensor([-2.0, 5.0, 0.0])
    torch.testing.assert_close(pooling(features).flatten(), expected, atol=2e-6, rtol=0)
    assert pooling.out_type == FieldType(SO2(), "3xtrivial")


def test_parts_of_a_regular_field_are_its_fourier_amplitudes():
    """Against torch.fft: mean, amplitudes of frequencies, and the alternating sum."""
    pooling = NormPooling(FieldType(CyclicGroup(4), "2xregular"), eps=1e-12)
    features = torch.randn(3, 8, 5, 5, generator=torch.Generator().manual_seed(0))
    waves = torch.fft.rfft(features.unflatten(1, (2, 4)), dim=2) / 2
    expected = torch.stack(
        [waves[:, :, 0].real, waves[:, :, 1].abs() * 2**0.5, waves[:, :, 2].abs()], dim=2
    ).flatten(1, 2)
    torch.testing.assert_close(pooling(features), expected, atol=1e-5, rtol=1e-5)


def test_the_norm_is_smooth_at_zero_and_changes_sign_nowhere():
    pooling = NormPooling(FieldType(SO2(), "irrep(1)"))
    features = torch.zeros(1, 2, 1, 1, requires_grad=True)
    pooling(features).sum().backward()
    assert pooling(features).item() == 0
    assert torch.equal(features.grad, torch.zeros_like(features))
    assert torch.autograd.gradcheck(
        NormPooling(FieldType(O2(), "bandlimited(1)")).double(),
        torch.randn(1, 6, 1, 1, dtype=torch.float64, requires_grad=True),
    )


@by_group
def test_layers_commute_with_quarter_turns(group):
    """Convolution, both nonlinearities, batch norm and pooling, in one go."""
    torch.manual_seed(0)
    fields = FieldType(group, FIELDS[group])
    gated = GatedNonlinearity(fields)
    layers = nn.Sequential(
        SteerableConv(fields, gated.in_type, 5, padding=2, bias=True),
        FieldBatchNorm(gated.in_type),
        gated,
        SteerableConv(fields, fields, 3, padding=1),
        NormNonlinearity(fields),
    )
    for parameter in layers.parameters():
        nn.init.normal_(parameter)
    square = DihedralGroup(4) if group.has_reflections else CyclicGroup(4)
    lowered = fields.restrict(square)
    x = torch.randn(2, fields.channels, 9, 9)
    for training in (True, False):
        layers.train(training)
        assert_equivariant(layers, square, x, in_type=lowered, out_type=lowered, tolerance=2e-6)
    pooling = NormPooling(fields)
    scalars = FieldType(square, f"{pooling.out_type.channels}xtrivial")
    assert_equivariant(pooling, square, x, in_type=lowered, out_type=scalars, tolerance=2e-6)


def test_pooling_the_wrong_way_is_not_invariant():
    """Negative control: a channel's own absolute value."""

    class Amplitudes(nn.Module):
        def forward(self, features):
            return features.abs()

    fields = FieldType(SO2(), "2xirrep(1)").restrict(CyclicGroup(8)).restrict(CyclicGroup(4))
    skew = nn.Conv2d(4, 4, 1, bias=False)
    with pytest.raises(EquivarianceError):
        assert_equivariant(
            nn.Sequential(skew, Amplitudes()),
            CyclicGroup(4),
            torch.randn(1, 4, 5, 5),
            in_type=fields,
            out_type=FieldType(CyclicGroup(4), "4xtrivial"),
            tolerance=1e-2,
        )


class SmallNetwork(nn.Module):
    """Image → gated fields → gated fields → norms → mean over the disc."""

    def __init__(self, group, spec, side, size=3, nonlinearity=GatedNonlinearity):
        super().__init__()
        fields = FieldType(group, spec)
        first, second = nonlinearity(fields), nonlinearity(fields)
        image = FieldType(group, "trivial")
        options = {"padding": size // 2, "bias": True}
        self.layers = nn.Sequential(
            SteerableConv(image, first.in_type, size, **options),
            FieldBatchNorm(first.in_type),
            first,
            SteerableConv(fields, second.in_type, size, **options),
            FieldBatchNorm(second.in_type),
            second,
            NormPooling(fields),
            DiscPooling(side),
        )

    def forward(self, images):
        return self.layers(images)


class ChannelwiseNonlinearity(nn.SiLU):
    """A mistake: SiLU of each channel, whatever its type."""

    def __init__(self, field_type):
        super().__init__()
        self.in_type = field_type


def change(group, spec, angle, reflect=False, **options):
    """Relative change of a network's invariants when analytic scenes turn by an angle."""
    torch.manual_seed(0)
    network = SmallNetwork(group, spec, 61, **options)
    scenes = InputSpec(("VIS",), 0.1, (61, 61))
    upright, turned = (rotated_scenes(scenes, 4, a) for a in (0.0, angle))
    if reflect:
        turned = turned.flip(2)
    with torch.no_grad():
        network.train()(upright)
        network.eval()
        first = network(upright)
        return float((network(turned) - first).norm() / first.norm())


@pytest.mark.parametrize("group", [SO2(), O2()], ids=lambda group: group.name)
def test_a_network_is_invariant_at_any_angle(group):
    """To rounding at quarter turns; elsewhere up to the sampling of 3 × 3 kernels on pixels."""
    irreps = {
        SO2(): "8xirrep(0)+8xirrep(1)+4xirrep(2)",
        O2(): "8xirrep(0,0)+4xirrep(1,0)+8xirrep(1,1)+4xirrep(1,2)",
    }[group]
    assert change(group, irreps, 90.0) < 1e-5
    for angle in (17.3, 45.0, 211.9):
        assert change(group, irreps, angle) < 1.5e-3
    if group.has_reflections:
        assert change(group, irreps, 0.0, reflect=True) < 1e-5
        assert change(group, irreps, 45.0, reflect=True) < 1.5e-3


def test_networks_without_the_symmetry_are_not():
    """Negative controls: no group, and a nonlinearity that mistakes vectors for scalars."""
    wrong = {"nonlinearity": ChannelwiseNonlinearity}
    for angle in (17.3, 45.0, 90.0):
        assert change(CyclicGroup(1), "28xtrivial", angle) > 1e-2
        assert change(SO2(), "8xirrep(0)+8xirrep(1)+4xirrep(2)", angle, **wrong) > 1e-2


def test_buffers_are_not_saved_and_layers_pickle():
    network = SmallNetwork(O2(), FIELDS[O2()], 9)
    assert not [key for key in network.state_dict() if "to_irreps" in key or "table" in key]
    x = torch.randn(1, 1, 9, 9)
    assert torch.equal(pickle.loads(pickle.dumps(network)).eval()(x), network.eval()(x))
    assert "24x" not in repr(NormPooling(FieldType(SO2(), FIELDS[SO2()])))
