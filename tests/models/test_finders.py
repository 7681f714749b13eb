"""Whole finders: invariance, missing data, folding, pickling, export, cost, training."""

import copy
import pickle

import pytest
import torch
from torch import nn

from equilens.models import ARCHITECTURES, InputSpec, build_finder, finder_cost, fold
from equilens.models.cost import blank_inputs
from equilens.models.errors import ArchitectureError, EquivarianceError
from equilens.models.groups import DihedralGroup
from equilens.models.planar.blockdiagonal import FibreBatchNorm
from equilens.models.planar.normalization import FieldBatchNorm
from equilens.models.testing import assert_equivariant, random_inputs

SPEC = InputSpec(("VIS", "Y"), 0.1, (53, 53))
NAMES = [
    # the base size is the same code, wider
    pytest.param(name, marks=pytest.mark.slow) if name.endswith("base") else name
    for name in ARCHITECTURES
]
SYMMETRIC = [name for name in NAMES if "plain" not in str(name)]
NORMS = (FieldBatchNorm, FibreBatchNorm)


def lively(name, spec=SPEC, seed=0):
    """A finder with random normalisation, so that no branch is silenced at the start."""
    finder = build_finder(name, spec, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in finder.modules():
            if isinstance(layer, NORMS):
                for tensor in (layer.weight, layer.running_var):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
                for tensor in (layer.bias, layer.running_mean):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return finder.eval()


def without_logit(finder):
    """The same network up to the pooled invariants that the last layers weigh."""
    shortened = copy.deepcopy(finder)
    shortened.head.hidden = shortened.head.logit = nn.Identity()
    return shortened


@pytest.mark.parametrize("name", SYMMETRIC)
def test_logits_are_invariant_with_masks_and_missing_bands(name):
    finder = lively(name)
    inputs = random_inputs(SPEC, 4)
    group = finder.architecture.group
    # logits of a random network nearly cancel, which magnifies rounding
    assert_equivariant(finder, group, *inputs, tolerance=1e-5)
    assert_equivariant(fold(finder), group, *inputs, tolerance=1e-5)
    assert_equivariant(without_logit(finder), group, *inputs, tolerance=1e-6)
    # folded sums run in another order: 0.5e-6 to 1.6e-6 with these weights, most for the small ones
    assert_equivariant(without_logit(fold(finder)), group, *inputs, tolerance=2e-6)
    doubled = [x.double() if x.is_floating_point() else x for x in inputs]
    assert_equivariant(finder.double(), group, *doubled, tolerance=1e-12)


def test_the_plain_twin_is_not_invariant():
    with pytest.raises(EquivarianceError):
        assert_equivariant(
            lively("plain-resnet-nano"), DihedralGroup(4), *random_inputs(SPEC, 4), tolerance=1e-2
        )


@pytest.mark.parametrize("shape", [(91, 91), (119, 119), (33, 47)])
def test_any_odd_shape_works(shape):
    spec = InputSpec(("g",), 0.2, shape)
    finder = lively("d4-resnet-nano", spec)
    inputs = random_inputs(spec, 2)
    assert finder(*inputs).shape == (2,)
    if shape[0] == shape[1]:
        assert_equivariant(without_logit(finder), DihedralGroup(4), *inputs, tolerance=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_folding_is_exact_and_picklable(name):
    finder = lively(name)
    inputs = random_inputs(SPEC, 6)
    folded = fold(finder)
    with torch.no_grad():
        logits = finder(*inputs)
        difference = (folded(*inputs) - logits).abs().max() / logits.abs().max()
        copied = pickle.loads(pickle.dumps(folded))(*inputs)
    assert float(difference) < 1e-5
    assert torch.equal(copied, folded(*inputs))
    assert not any(isinstance(layer, NORMS) for layer in folded.modules())
    assert any(isinstance(layer, NORMS) for layer in finder.modules())


@pytest.mark.parametrize("name", ["d4-resnet-nano", "d4-convnext-nano"])
def test_the_dense_form_is_of_plain_layers_and_exact(name):
    finder = lively(name)
    inputs = random_inputs(SPEC, 6)
    dense = fold(finder, dense=True)
    with torch.no_grad():
        logits = finder(*inputs)
        assert float((dense(*inputs) - logits).abs().max() / logits.abs().max()) < 1e-5
    assert_equivariant(without_logit(dense), DihedralGroup(4), *inputs, tolerance=2e-6)
    weighted = {type(layer) for layer in dense.features.modules() if list(layer.parameters(False))}
    assert weighted <= {nn.Conv2d, nn.Linear}


@pytest.mark.parametrize(("size", "saving"), [("nano", 1.1), ("small", 1.8), ("base", 3.7)])
def test_block_diagonal_layers_save_arithmetic(size, saving):
    spec = InputSpec(("g", "r", "i", "z"), 0.2)
    ours = build_finder(f"d4-convnext-{size}", spec)
    twin = build_finder(ours.architecture.twin, spec)
    assert finder_cost(twin).macs / finder_cost(ours).macs > saving


def test_a_missing_band_and_a_bad_noise_give_finite_logits():
    finder = lively("d4-resnet-nano")
    images, noise, mask, present = random_inputs(SPEC, 4)
    present[:], noise[:], mask[:] = False, torch.nan, True
    logits = finder(images, noise, mask, present)
    assert torch.isfinite(logits).all()
    assert torch.allclose(logits, logits[0].expand(4))


def test_the_network_tells_a_missing_band_from_sky():
    finder = lively("d4-resnet-nano")
    images, noise, mask, present = blank_inputs(SPEC, 2)
    present[1, 1] = False
    with torch.no_grad():
        sky, missing = finder(images, noise, mask, present).tolist()
    assert abs(sky - missing) > 1e-4


def test_rows_of_a_batch_are_independent():
    finder = lively("d4-resnet-nano")
    inputs = random_inputs(SPEC, 5)
    with torch.no_grad():
        whole = finder(*inputs)
        single = torch.cat([finder(*(x[k : k + 1] for x in inputs)) for k in range(5)])
    assert torch.allclose(whole, single, rtol=1e-4, atol=1e-5)


def test_seeds_decide_the_weights_and_leave_the_global_state():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second, other = (build_finder("d4-resnet-nano", SPEC, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(1), expected)
    key = "stem.0.conv.kernel.coefficients.0"
    assert torch.equal(first.state_dict()[key], second.state_dict()[key])
    assert not torch.equal(first.state_dict()[key], other.state_dict()[key])
    assert all("table" not in name for name in first.state_dict())


def test_the_layout_of_published_weights_stays():
    """Checkpoints refer to these names and shapes."""
    state = build_finder("d4-resnet-nano", InputSpec(("g", "r", "i", "z"), 0.2)).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert len(shapes) == 56
    assert shapes["stem.0.conv.kernel.coefficients.0"] == (3, 12, 25)
    assert shapes["stages.2.2.second.conv.kernel.coefficients.0"] == (16, 16, 72)
    assert shapes["stages.1.0.norm.running_var"] == (8,)
    assert shapes["head.hidden.weight"] == (64, 256)


def test_cost_of_the_nano_network():
    cost = finder_cost(build_finder("d4-resnet-nano", InputSpec(("g", "r", "i", "z"), 0.2)))
    assert cost.parameters == 80467
    stem = 24 * 12 * 25 * 49**2
    halvings = 9 * (24 * 32 * 25**2 + 32 * 64 * 13**2 + 64 * 128 * 7**2)
    residual = 2 * 9 * (32**2 * 25**2 + 64**2 * 13**2 + 128**2 * 7**2)
    head = 32 * 64 * 49 + 3 * 64 * 49 + 256 * 64 + 64
    assert cost.macs == stem + halvings + residual + head
    assert cost.training_bytes > cost.inference_bytes > 4 * 24 * 49**2


def test_export_gives_the_same_logits():
    folded = fold(lively("d4-resnet-nano"))
    inputs = random_inputs(SPEC, 2)
    exported = torch.export.export(folded, inputs)
    assert torch.allclose(exported.module()(*inputs), folded(*inputs), atol=1e-6)


def test_unknown_architectures_are_refused():
    with pytest.raises(ArchitectureError, match=r"must be one of .*d4-resnet-nano.*got 'vgg'"):
        build_finder("vgg", SPEC)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d4-resnet-nano", "plain-resnet-nano"])
def test_a_finder_learns_32_images_by_heart(name):
    images, noise, mask, present = random_inputs(SPEC, 32)
    labels = (torch.arange(32) % 2).float()
    finder = build_finder(name, SPEC).train()
    optimizer = torch.optim.AdamW(finder.parameters(), 3e-3)
    for _ in range(60):
        logits = finder(images, noise, mask, present)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


@pytest.mark.slow
def test_the_finder_compiles_without_graph_breaks():
    finder = build_finder("d4-resnet-nano", SPEC)
    inputs = random_inputs(SPEC, 2)
    compiled = torch.compile(finder, fullgraph=True, backend="aot_eager")
    compiled(*inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in finder.parameters())
