"""Layers commute with their group; look-alikes that should not, do not."""

import pickle

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from equilens.models.errors import EquivarianceError, FieldTypeError
from equilens.models.fields import FieldType, regular_type, trivial_type
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.inputs import InputSpec
from equilens.models.planar.blocks import ConvNorm, ResidualBlock
from equilens.models.planar.convolutions import (
    GroupConv,
    LiftingConv,
    PointwiseConv,
    SteerableConv,
)
from equilens.models.planar.folded import plain_conv
from equilens.models.planar.layout import as_maps, as_pixels, is_channels_last
from equilens.models.planar.nonlinearities import (
    GatedNonlinearity,
    NormNonlinearity,
    PointwiseNonlinearity,
)
from equilens.models.planar.normalization import FieldBatchNorm
from equilens.models.planar.pooling import (
    BlurPooling,
    DiscPooling,
    GroupPooling,
    RingPooling,
    SmoothRingPooling,
    disc_mask,
)
from equilens.models.testing import assert_equivariant, rotated_scenes, transform

D4, C8 = DihedralGroup(4), CyclicGroup(8)
FIELDS = regular_type(D4, 16)
MIXED = FieldType(D4, "2xtrivial+irrep(1,0)+2xirrep(1,1)+quotient(C2)")


def randomized(module: nn.Module) -> nn.Module:
    """Give all parameters and statistics values that hide nothing."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for name, buffer in module.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module


LAYERS = {
    "lifting": lambda: LiftingConv(trivial_type(D4, 3), FIELDS, 5, stride=2, bias=True),
    "group": lambda: GroupConv(FIELDS, FIELDS, 3, padding=1, bias=True),
    "group harmonic": lambda: GroupConv(FIELDS, FIELDS, 5, padding=2, basis="harmonics"),
    "C8 lifting": lambda: LiftingConv(trivial_type(C8, 2), regular_type(C8, 16), 5),
    "mixed": lambda: SteerableConv(FIELDS, MIXED, 3, bias=True),
    "from mixed": lambda: SteerableConv(MIXED, FIELDS, 3, padding=1, stride=2),
    "pointwise": lambda: PointwiseConv(MIXED, MIXED, bias=True),
    "silu": lambda: PointwiseNonlinearity(FIELDS),
    "elu": lambda: PointwiseNonlinearity(FIELDS, "elu"),
    "norm": lambda: NormNonlinearity(MIXED),
    "gated": lambda: GatedNonlinearity(MIXED),
    "batch norm": lambda: FieldBatchNorm(FIELDS),
    "batch norm mixed": lambda: FieldBatchNorm(MIXED),
    "conv norm": lambda: ConvNorm(FIELDS, MIXED, 3),
    "residual": lambda: ResidualBlock(FIELDS),
    "group pooling": lambda: GroupPooling(FIELDS),
}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_commute_with_quarter_turns_and_reflections(name, training):
    layer = randomized(LAYERS[name]()).train(training)
    x = torch.randn(3, layer.in_type.channels, 13, 13, generator=torch.Generator().manual_seed(0))
    assert_equivariant(layer, layer.in_type.group, x, tolerance=1e-6)
    assert_equivariant(layer.double(), layer.in_type.group, x.double(), tolerance=1e-12)


@pytest.mark.parametrize("name", ["lifting", "group", "mixed", "batch norm mixed", "residual"])
def test_state_dicts_agree_in_train_and_eval_and_layers_pickle(name):
    layer = LAYERS[name]()
    trained = {key: value.clone() for key, value in layer.train().state_dict().items()}
    evaluated = layer.eval().state_dict()
    assert trained.keys() == evaluated.keys()
    assert all(torch.equal(value, evaluated[key]) for key, value in trained.items())
    x = torch.randn(1, layer.in_type.channels, 9, 9)
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))


class Shuffled(nn.Module):
    """A group convolution whose kernel has two output channels swapped."""

    def __init__(self) -> None:
        super().__init__()
        self.in_type = self.out_type = FIELDS
        self.conv = randomized(GroupConv(FIELDS, FIELDS, 3, padding=1))

    def forward(self, features):
        order = [1, 0, *range(2, 16)]
        return nn.functional.conv2d(features, self.conv.weight()[order], padding=1)


def plain_convolution() -> nn.Module:
    return nn.Conv2d(16, 16, 3, padding=1)


def unshared_norm() -> nn.Module:
    """Batch norm a channel: its statistics ignore that channels permute."""
    return randomized(nn.BatchNorm2d(16)).eval()


def even_stride() -> nn.Module:
    return SteerableConv(FIELDS, FIELDS, 3, stride=2, padding=1)


@pytest.mark.parametrize(
    ("build", "side"),
    [(plain_convolution, 13), (Shuffled, 13), (unshared_norm, 13), (even_stride, 12)],
    ids=["plain convolution", "permuted kernel", "batch norm a channel", "stride on an even grid"],
)
def test_negative_controls_fail(build, side):
    x = torch.randn(2, 16, side, side, generator=torch.Generator().manual_seed(0))
    x[:, ::3] += 1
    with pytest.raises(EquivarianceError, match="off by"):
        assert_equivariant(build(), D4, x, in_type=FIELDS, out_type=FIELDS, tolerance=1e-2)


def test_a_nan_is_no_equivariance():
    class Broken(nn.Module):
        def forward(self, x):
            return x * torch.nan

    with pytest.raises(EquivarianceError):
        assert_equivariant(Broken(), D4, torch.ones(1, 1, 3, 3))


def test_transform_is_a_quarter_turn_of_the_coordinates():
    """Element 1 carries the pixel at +x (right) to +y (down)."""
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 4] = 1
    assert transform(image, D4, 1)[0, 0, 4, 2] == 1
    assert transform(image, D4, 4)[0, 0, 2, 4] == 1
    image = torch.rand(1, 1, 5, 5)
    for a in D4.elements:
        for b in D4.elements:
            composed = transform(transform(image, D4, b), D4, a)
            assert torch.equal(composed, transform(image, D4, D4.product(a, b)))


def invariants(group, size, scenes, basis=None):
    torch.manual_seed(0)
    fields = regular_type(group, 32)
    inputs = trivial_type(group, scenes.shape[1])
    lift = LiftingConv(inputs, fields, size, padding=size // 2, basis=basis)
    conv = GroupConv(fields, fields, size, padding=size // 2, basis=basis)
    with torch.no_grad():
        features = nn.functional.silu(conv(nn.functional.silu(lift(scenes))))
        return DiscPooling(scenes.shape[-1])(GroupPooling(fields)(features))


def test_45_degrees_with_harmonics_and_not_with_pixels():
    spec = InputSpec(("VIS",), 0.1, (61, 61))
    upright, turned = (rotated_scenes(spec, 4, angle) for angle in (0.0, 45.0))

    def error(group, basis):
        first = invariants(group, 3, upright, basis)
        return float((invariants(group, 3, turned, basis) - first).norm() / first.norm())

    assert error(C8, "harmonics") < 2e-3
    assert error(DihedralGroup(8), "harmonics") < 2e-3
    assert error(D4, "pixels") > 5e-3


def test_pooling_is_what_it_says():
    features = torch.rand(2, 16, 7, 7)
    pooled = GroupPooling(FIELDS)(features)
    assert torch.allclose(pooled[:, 1], features[:, 8:].mean(dim=1))
    assert torch.equal(pooled[:, 3], features[:, 8:].amax(dim=1))
    constant = torch.full((1, 1, 7, 7), 2.5)
    assert torch.allclose(DiscPooling(7)(constant), torch.tensor([[2.5]]))
    assert torch.allclose(RingPooling(7)(constant), torch.full((1, 4), 2.5))
    corner = torch.zeros(1, 1, 7, 7)
    corner[..., 0, 0] = 1e6
    assert DiscPooling(7)(corner) == 0
    identity = regular_type(CyclicGroup(1), 4)
    assert GroupPooling(identity)(features[:, :4]) is not None


@pytest.mark.parametrize("pooling", [RingPooling, SmoothRingPooling])
def test_rings_are_means_from_the_centre_outwards(pooling):
    rings = pooling(17, rings=4)
    distance = disc_mask(17)[0].float()
    means = rings(distance[None, None])[0]
    assert torch.all(means[:4].diff() > 0.5)
    assert torch.allclose(rings(torch.full((1, 2, 17, 17), 2.5))[0, :8], torch.tensor(2.5))
    lone = torch.zeros(1, 2, 17, 17)
    lone[0, 1, 8, 8] = 1.0
    by_ring = rings(lone)[0, :8].view(4, 2)
    # rings first, channels within each; the centre belongs to the innermost
    assert torch.equal(by_ring[:, 0], torch.zeros(4))
    assert torch.all(by_ring[:, 1].diff() < 0)


def test_pixels_are_a_view_of_channels_last_maps_and_lead_back():
    rows = torch.randn(2, 3, 5, 7)
    last = rows.to(memory_format=torch.channels_last)
    assert torch.equal(as_pixels(rows)[5 * 7 + 2 * 7 + 4], rows[1, :, 2, 4])
    assert as_pixels(last).data_ptr() == last.data_ptr()
    assert as_pixels(rows).data_ptr() != rows.data_ptr()
    for features in (rows, last):
        back = as_maps(as_pixels(features), features)
        assert torch.equal(back, rows)
        assert is_channels_last(back)
    assert as_maps(torch.randn(2 * 5 * 7, 6), rows).shape == (2, 6, 5, 7)


@pytest.mark.parametrize(("groups", "bias"), [(1, True), (1, False), (4, True)])
def test_a_plain_convolution_is_of_the_kernel_given(groups, bias):
    weight = torch.randn(8, 4 // groups, 3, 3, dtype=torch.float64, requires_grad=True)
    shift = torch.randn(8, dtype=torch.float64) if bias else None
    plain = plain_conv(weight, shift, stride=2, padding=1, groups=groups)
    features = torch.randn(2, 4, 9, 9)
    expected = functional.conv2d(features.double(), weight, shift, 2, 1, groups=groups)
    assert torch.allclose(plain(features).double(), expected, atol=1e-5)
    assert plain.weight.is_leaf
    assert (plain.bias is not None) == bias


def test_blur_pooling_keeps_constants_inside_and_the_symmetry():
    blurred = BlurPooling()(torch.ones(1, 2, 9, 9))
    assert blurred.shape == (1, 2, 5, 5)
    assert torch.allclose(blurred[..., 1:-1, 1:-1], torch.tensor(1.0))
    assert_equivariant(BlurPooling(), D4, torch.randn(1, 3, 13, 13))
    with pytest.raises(FieldTypeError, match="odd sides only"):
        BlurPooling()(torch.ones(1, 1, 8, 8))


def test_batch_norm_standardises_each_field():
    norm = FieldBatchNorm(FIELDS)
    features = torch.randn(8, 16, 5, 5) * 3 + 2
    fields = norm(features).unflatten(1, (2, 8))
    assert torch.allclose(fields.mean(dim=(0, 2, 3, 4)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(fields.var(dim=(0, 2, 3, 4)), torch.ones(2), atol=1e-2)


def test_layers_check_their_field_types():
    with pytest.raises(FieldTypeError, match="must hold regular fields only"):
        LiftingConv(trivial_type(D4, 1), trivial_type(D4, 8), 3)
    with pytest.raises(FieldTypeError, match="needs regular, quotient or trivial"):
        PointwiseNonlinearity(MIXED)
    with pytest.raises(FieldTypeError, match="got 'relu7'"):
        PointwiseNonlinearity(FIELDS, "relu7")
    with pytest.raises(FieldTypeError, match="fields of one permutation representation"):
        GroupPooling(MIXED)
    assert "2xregular[D4]" in repr(GroupConv(FIELDS, FIELDS, 3))
