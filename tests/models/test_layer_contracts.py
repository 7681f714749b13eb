"""What every layer promises beside its symmetry: one state dict, pickling, compiling, exporting,
bf16, channels-last. A new layer is one line in ``LAYERS``."""

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from equilens.models import InputSpec, build_finder
from equilens.models.fields import FieldType, regular_type, trivial_type
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.planar.blockdiagonal import FibreBatchNorm, FibreMajor
from equilens.models.planar.blocks import ConvNorm, ResidualBlock
from equilens.models.planar.convnext import ConvNeXtBlock, Downsampling
from equilens.models.planar.convolutions import (
    GroupConv,
    LiftingConv,
    PointwiseConv,
    SteerableConv,
)
from equilens.models.planar.depthwise import DepthwiseConv
from equilens.models.planar.invariants import NormPooling
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
    SkyFade,
)
from equilens.models.testing import random_inputs

D4, C8 = DihedralGroup(4), CyclicGroup(8)
SCALARS, FIELDS, TURNED = trivial_type(D4, 3), regular_type(D4, 16), regular_type(C8, 16)
MIXED = FieldType(D4, "2xtrivial+irrep(1,0)+2xirrep(1,1)+quotient(C2)")
SPEC = InputSpec(("VIS", "Y"), 0.1, (37, 37))
SIDE, BATCH = 9, 3

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "lifting": lambda: LiftingConv(SCALARS, FIELDS, 5, stride=2, bias=True),
    "group": lambda: GroupConv(FIELDS, FIELDS, 3, padding=1, bias=True),
    "group harmonic": lambda: GroupConv(TURNED, TURNED, 3, padding=1, bias=True),
    "steerable": lambda: SteerableConv(MIXED, FIELDS, 3, padding=1),
    "implicit": lambda: SteerableConv(FIELDS, FIELDS, 3, padding=1, kernel="implicit"),
    "depthwise": lambda: DepthwiseConv(FIELDS, 3, padding=1),
    "pointwise": lambda: PointwiseConv(FIELDS, MIXED, bias=True),
    "convnext": lambda: ConvNeXtBlock(FIELDS, 3),
    "downsampling": lambda: Downsampling(FIELDS, FIELDS),
    "fibre major": lambda: FibreMajor(FIELDS),
    "fibre norm": lambda: FibreBatchNorm(FIELDS),
    "norm pooling": lambda: NormPooling(MIXED),
    "silu": lambda: PointwiseNonlinearity(FIELDS),
    "norm": lambda: NormNonlinearity(MIXED),
    "gated": lambda: GatedNonlinearity(MIXED),
    "batch norm": lambda: FieldBatchNorm(FIELDS),
    "batch norm mixed": lambda: FieldBatchNorm(MIXED),
    "group pooling": lambda: GroupPooling(FIELDS),
    "group pooling smooth": lambda: GroupPooling(FIELDS, smooth=True),
    "ring pooling": lambda: RingPooling(SIDE),
    "disc pooling": lambda: DiscPooling(SIDE),
    "sky fade": lambda: SkyFade(SIDE, 2.0),
    "blur pooling": lambda: BlurPooling(),
    "conv norm": lambda: ConvNorm(FIELDS, MIXED, 3),
    "residual": lambda: ResidualBlock(FIELDS),
}
FINDERS = {
    "d4-resnet-nano": lambda: build_finder("d4-resnet-nano", SPEC),
    "c8-resnet-nano": lambda: build_finder("c8-resnet-nano", SPEC),
}
ALL = LAYERS | FINDERS


def inputs_of(module: nn.Module, batch: int = BATCH, seed: int = 0) -> tuple[Tensor, ...]:
    """A batch for a finder, or a square map of as many channels as a layer takes."""
    if hasattr(module, "spec"):
        return random_inputs(module.spec, batch, seed)
    channels = module.in_type.channels if hasattr(module, "in_type") else FIELDS.channels
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(batch, channels, SIDE, SIDE, generator=generator),)


def lively(build: Callable[[], nn.Module]) -> nn.Module:
    """A module whose parameters, statistics among them, are neither 0 nor 1."""
    torch.manual_seed(0)
    module = build()
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if "running" in name or "norm" in name or "bias" in name or name in ("scale", "shift"):
                tensor.copy_(0.5 + torch.rand(tensor.shape))
    return module


def gradients(module: nn.Module, call: Callable, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The output and the gradients of a fixed weighting of it, by input and parameter."""
    images = inputs[0].detach().clone(memory_format=torch.preserve_format).requires_grad_()
    module.zero_grad(set_to_none=True)
    output = call(images, *inputs[1:])
    weighting = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
    (output * weighting).sum().backward()
    return [output.detach(), images.grad, *(p.grad for p in module.parameters())]


def assert_all_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Within ``tolerance`` of each tensor's largest element."""
    for one, other in zip(found, expected, strict=True):
        one, other = one.detach().float(), other.detach().float()
        # a forbidden kernel's coefficients are empty; the soft maximum's disc holds −∞
        largest = float(other[other.isfinite()].abs().max()) if other.numel() else 1.0
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance * largest)


def check_state_dict(build: Callable[[], nn.Module]) -> None:
    """Equal keys in training and evaluation, and a trained state loads into either."""
    module = lively(build)
    inputs = inputs_of(module)
    module.train()(*inputs)
    trained = copy.deepcopy(module.state_dict())
    evaluated = module.eval().state_dict()
    assert list(trained) == list(evaluated)
    assert all(torch.equal(value, evaluated[key]) for key, value in trained.items())
    expected = module(*inputs)
    for training in (True, False):
        other = build().train(training)
        other.load_state_dict(trained, strict=True)
        assert torch.equal(other.eval()(*inputs), expected)


def check_copies(build: Callable[[], nn.Module]) -> None:
    """Pickled and deep-copied modules give the same, in training as well."""
    module = lively(build)
    inputs = inputs_of(module)
    for training in (True, False):
        twins = [pickle.loads(pickle.dumps(module)), copy.deepcopy(module)]
        expected = module.train(training)(*inputs)
        assert all(torch.equal(twin.train(training)(*inputs), expected) for twin in twins)


def check_compiles(build: Callable[[], nn.Module], backend: str, training: bool) -> None:
    """One graph, forward and backward, that agrees with eager, running statistics included."""
    torch.compiler.reset()
    module, twin = (lively(build).train(training) for _ in range(2))
    inputs = inputs_of(module)
    compiled = torch.compile(twin, fullgraph=True, backend=backend)
    expected = gradients(module, module, inputs)
    assert_all_close(gradients(twin, compiled, inputs), expected, 1e-4)
    assert_all_close(list(twin.buffers()), list(module.buffers()), 1e-5)


def check_half_precision(build: Callable[[], nn.Module]) -> None:
    """bf16 parameters, and autocast, forward and backward, near float32."""
    for training in (True, False):
        module = lively(build).train(training)
        inputs = inputs_of(module)
        low = copy.deepcopy(module).bfloat16()
        narrow = tuple(x.bfloat16() if x.is_floating_point() else x for x in inputs)
        mixed = copy.deepcopy(module)
        expected = gradients(module, module, inputs)[0]
        found = gradients(low, low, narrow)
        assert found[0].dtype == torch.bfloat16
        assert_all_close(found[:1], [expected], 0.1)
        with torch.autocast("cpu", torch.bfloat16):
            cast = gradients(mixed, mixed, inputs)
        assert_all_close(cast[:1], [expected], 0.1)
        assert all(tensor.isfinite().all() for tensor in [*found, *cast])


def check_exports(build: Callable[[], nn.Module]) -> None:
    """One exported graph serves batches of any size."""
    module = lively(build).eval()
    inputs = inputs_of(module)
    shapes = tuple({0: torch.export.Dim("batch", min=2, max=64)} for _ in inputs)
    program = torch.export.export(module, inputs, dynamic_shapes=shapes)
    for batch in (2, BATCH, 7):
        other = inputs_of(module, batch, seed=1)
        assert_all_close([program.module()(*other)], [module(*other)], 1e-5)


def check_channels_last(build: Callable[[], nn.Module]) -> None:
    """The same numbers, and maps that stay channels-last."""
    for training in (True, False):
        module, twin = (lively(build).train(training) for _ in range(2))
        rows, *rest = inputs_of(module)
        pixels = rows.contiguous(memory_format=torch.channels_last)
        found = gradients(twin, twin, (pixels, *rest))
        assert_all_close(found, gradients(module, module, (rows, *rest)), 1e-4)
        for tensor in found[:2]:
            last = tensor.ndim != 4 or tensor.is_contiguous(memory_format=torch.channels_last)
            assert last, f"a map left channels-last: strides {tensor.stride()}"


# compiling and exporting a whole finder takes several seconds
COMPILED = [*LAYERS, *(pytest.param(name, marks=pytest.mark.slow) for name in FINDERS)]


@pytest.mark.parametrize("name", ALL)
def test_state_dicts_agree_in_training_and_evaluation(name):
    check_state_dict(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_pickled_and_copied_modules_give_the_same(name):
    check_copies(ALL[name])


@pytest.mark.parametrize("name", COMPILED)
def test_one_compiled_graph_forward_and_backward(name):
    check_compiles(ALL[name], "aot_eager", training=True)


@pytest.mark.parametrize("name", ["batch norm mixed", "residual", *COMPILED[-2:]])
def test_one_compiled_graph_in_evaluation(name):
    check_compiles(ALL[name], "aot_eager", training=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("name", ["batch norm mixed", "residual"])
def test_compiled_by_inductor(name):
    check_compiles(ALL[name], "inductor", training=True)


@pytest.mark.parametrize("name", ALL)
def test_half_precision(name):
    check_half_precision(ALL[name])


@pytest.mark.parametrize("name", COMPILED)
def test_exported_graphs_serve_any_batch(name):
    check_exports(ALL[name])


@pytest.mark.parametrize("name", ALL)
def test_channels_last(name):
    check_channels_last(ALL[name])


class Faulty(nn.Module):
    """A 1×1 convolution that breaks the promise of its name."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.in_type, self.fault = FIELDS, fault
        self.weight = nn.Parameter(torch.eye(16)[:, :, None, None] + 0.1)
        if fault == "pickles no function":
            self.function = lambda features: features

    def train(self, mode: bool = True) -> nn.Module:
        if self.fault == "expands for evaluation" and not mode:
            self.register_buffer("expanded", self.weight.detach().clone())
        return super().train(mode)

    def forward(self, features: Tensor) -> Tensor:
        if self.fault == "branches on data" and features.sum() > 0:
            features = features + 1
        if self.fault == "widens":
            features = features.float()
        if self.fault == "fixes the batch":
            features = features.view(BATCH, 16, SIDE, SIDE)
        if self.fault == "reorders":
            features = features.contiguous()
        return nn.functional.conv2d(features, self.weight)


@pytest.mark.parametrize(
    ("fault", "check", "error"),
    [
        ("expands for evaluation", check_state_dict, AssertionError),
        ("pickles no function", check_copies, (AttributeError, pickle.PicklingError)),
        ("branches on data", lambda build: check_compiles(build, "aot_eager", True), RuntimeError),
        ("widens", check_half_precision, RuntimeError),
        ("fixes the batch", check_exports, (RuntimeError, ValueError)),
        ("reorders", check_channels_last, AssertionError),
    ],
)
def test_a_broken_promise_is_noticed(fault, check, error):
    check(lambda: Faulty("none"))
    with pytest.raises(error):
        check(lambda: Faulty(fault))
