"""Block-diagonal and depthwise layers, and the ConvNeXt-like blocks made of them."""

import pytest
import torch
import torch.nn.functional as functional
from torch import nn

from equilens.models.errors import EquivarianceError, FieldTypeError
from equilens.models.fields import FieldType, regular_type
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.planar.blockdiagonal import (
    BlockPointwise,
    FibreBatchNorm,
    FibreMajor,
    FibreTransform,
)
from equilens.models.planar.convnext import ConvNeXtBlock, Downsampling
from equilens.models.planar.convolutions import PointwiseConv
from equilens.models.planar.depthwise import DepthwiseConv
from equilens.models.planar.folded import (
    DenseBlock,
    DenseDownsampling,
    FoldedBlock,
    FoldedDownsampling,
)
from equilens.models.planar.folded_pairs import FoldedPair, IrrepsPair
from equilens.models.planar.normalization import FieldBatchNorm
from equilens.models.testing import assert_equivariant

GROUPS = [CyclicGroup(1), CyclicGroup(4), DihedralGroup(3), DihedralGroup(4), DihedralGroup(8)]


def features(field_type, side=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, field_type.channels, side, side, generator=generator)


def field_major(layer, in_type, out_type):
    """The layer between channels in the field type's own order."""
    return nn.Sequential(FibreMajor(in_type), layer, FibreMajor(out_type, inverse=True)).eval()


def lively(layer, seed=0):
    """The layer with random statistics and biases, so that none of them is silent."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in layer.state_dict().items():
            if name.endswith(("running_var", "norm.weight")):
                tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
            if name.endswith(("running_mean", "bias", "scale")):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return layer.eval()


@pytest.mark.parametrize("group", GROUPS, ids=repr)
def test_layers_commute_with_the_group(group):
    narrow, wide = regular_type(group, 2 * group.order), regular_type(group, 3 * group.order)
    layers = {
        "depthwise": (DepthwiseConv(narrow, 5, padding=2, fibre_major=True), narrow),
        "norm": (FibreBatchNorm(narrow), narrow),
        "block": (ConvNeXtBlock(narrow, 5), narrow),
        "downsampling": (Downsampling(narrow, wide), wide),
    }
    for layer, out_type in layers.values():
        module = field_major(lively(layer), narrow, out_type)
        assert_equivariant(module, group, features(narrow), in_type=narrow, out_type=out_type)


def test_depthwise_in_the_field_types_order_is_the_same_layer():
    field_type = regular_type(DihedralGroup(4), 16)
    layer = DepthwiseConv(field_type, 5, padding=2)
    other = DepthwiseConv(field_type, 5, padding=2, fibre_major=True)
    other.load_state_dict(layer.state_dict())
    x = features(field_type)
    torch.testing.assert_close(field_major(other, field_type, field_type)(x), layer(x))


def test_one_kernel_for_all_elements_is_not_equivariant():
    group = DihedralGroup(4)
    field_type = regular_type(group, 16)
    kernel = torch.randn(16, 1, 5, 5, generator=torch.Generator().manual_seed(0))

    class Plain(nn.Module):
        def forward(self, x):
            return functional.conv2d(x, kernel, padding=2, groups=16)

    with pytest.raises(EquivarianceError):
        assert_equivariant(
            Plain(), group, features(field_type), in_type=field_type, out_type=field_type
        )


@pytest.mark.parametrize("group", GROUPS, ids=repr)
def test_block_pointwise_is_the_dense_steerable_layer(group):
    """The same map, from the coefficients that the analytic basis of 1×1 kernels takes."""
    in_type, out_type = regular_type(group, 2 * group.order), regular_type(group, 3 * group.order)
    dense = PointwiseConv(in_type, out_type)
    block = BlockPointwise(in_type, out_type)
    matrix = dense.weight()[:, :, 0, 0].view(3, group.order, 2, group.order)
    # output g from input e carries w(e⁻¹ g) = w(g)
    with torch.no_grad():
        block.coefficients.copy_(matrix[:, :, :, 0].permute(2, 0, 1))
        block.field_bias.normal_()
    transform = FibreTransform(in_type)

    class Pointwise(nn.Module):
        def forward(self, x):
            return transform.features(block(transform.spectrum(x)), x)

    x = features(in_type)
    expected = dense(x) + block.field_bias.repeat_interleave(group.order)[:, None, None]
    found = field_major(Pointwise(), in_type, out_type)
    # the two FibreMajor modules are made for one type each
    torch.testing.assert_close(found(x), expected, rtol=1e-5, atol=1e-5)
    plain = functional.linear(features(in_type).movedim(1, -1)[..., found[0].order], block.dense())
    expected = expected - block.field_bias.repeat_interleave(group.order)[:, None, None]
    torch.testing.assert_close(
        plain.movedim(-1, 1)[:, found[2].order], expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("training", [True, False])
def test_norm_is_the_field_wise_one(training):
    field_type = regular_type(DihedralGroup(4), 24)
    ours, theirs = FibreBatchNorm(field_type), FieldBatchNorm(field_type)
    with torch.no_grad():
        for norm in (ours, theirs):
            norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
            norm.bias.copy_(torch.tensor([-1.0, 0.0, 1.0]))
    wrapped = field_major(ours, field_type, field_type).train(training)
    theirs.train(training)
    for seed in range(3):
        x = 3 + features(field_type, seed=seed)
        torch.testing.assert_close(wrapped(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    assert ours.state_dict().keys() == wrapped[1].eval().state_dict().keys()


@pytest.mark.parametrize("group", GROUPS, ids=repr)
def test_folded_forms_are_the_block(group):
    narrow, wide = regular_type(group, 2 * group.order), regular_type(group, 3 * group.order)
    x = features(narrow).to(memory_format=torch.channels_last)
    block, layer = lively(ConvNeXtBlock(narrow, 5)), lively(Downsampling(narrow, wide))
    with torch.no_grad():
        for folded in (FoldedBlock(block), DenseBlock(block)):
            torch.testing.assert_close(folded(x), block(x), rtol=1e-5, atol=1e-5)
        for folded in (FoldedDownsampling(layer), DenseDownsampling(layer)):
            torch.testing.assert_close(folded(x), layer(x), rtol=1e-5, atol=1e-5)
        pixels = torch.randn(50, narrow.channels, generator=torch.Generator().manual_seed(0))
        by_characters, by_irreps = (
            pair(pixels).transpose(0, 1).reshape(50, -1)
            for pair in (FoldedPair(block), IrrepsPair(block))
        )
        torch.testing.assert_close(by_characters, by_irreps, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pair", [FoldedPair, IrrepsPair])
def test_pairs_run_in_bfloat16(pair):
    block = lively(ConvNeXtBlock(regular_type(DihedralGroup(4), 16), 3))
    pixels = torch.randn(20, 16, generator=torch.Generator().manual_seed(0))
    folded = pair(block)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = folded(pixels)
    with torch.no_grad():
        exact = folded(pixels)
        torch.testing.assert_close(
            rough.float(), exact, rtol=0.1, atol=0.05 * float(exact.abs().max())
        )
        low = pair(block).bfloat16()(pixels.bfloat16())
    torch.testing.assert_close(low.float(), exact, rtol=0.1, atol=0.05 * float(exact.abs().max()))


def test_tiles_do_not_change_a_folded_block(monkeypatch):
    field_type = regular_type(DihedralGroup(4), 16)
    folded = FoldedBlock(ConvNeXtBlock(field_type, 3)).eval()
    x = features(field_type)
    with torch.no_grad():
        whole = folded(x)
        monkeypatch.setattr("equilens.models.planar.folded.TILE_PIXELS", 7)
        torch.testing.assert_close(folded(x), whole, rtol=1e-6, atol=1e-6)


def test_a_block_learns_in_all_its_parameters():
    block = ConvNeXtBlock(regular_type(DihedralGroup(4), 16), 5)
    block(features(block.in_type)).square().sum().backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("layer", [DepthwiseConv, FibreBatchNorm, FibreMajor])
def test_only_regular_fields_will_do(layer):
    field_type = FieldType(DihedralGroup(4), "2xregular+1xirrep(1,1)")
    arguments = (5,) if layer is DepthwiseConv else ()
    with pytest.raises(FieldTypeError, match="regular fields only"):
        layer(field_type, *arguments)
