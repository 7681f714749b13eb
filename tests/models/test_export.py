"""Exported networks: the finder's logits, any batch, and a file that says what it is."""

import json
import math
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.models import ARCHITECTURES, InputSpec, build_finder, fold, load_model
from equilens.models.errors import ExportError, MissingExtraError
from equilens.models.export import (
    TOLERANCE,
    Verification,
    export_finder,
    read_metadata,
    verification_inputs,
    verify,
)
from equilens.models.onnx_graph import _copysign, _nanmedian
from equilens.models.random_weights import random_finder
from equilens.models.testing import random_inputs

SPEC = InputSpec(("g", "r"), 0.2, (33, 33))
NUMBERS = st.floats(-1e6, 1e6, width=32) | st.just(math.nan)


@pytest.fixture(scope="module")
def finder():
    return random_finder("d4-resnet-nano", SPEC, seed=3)


@pytest.fixture(scope="module")
def exported(finder):
    return export_finder(finder, "torch", sha256="abc", card={"data": "toy"})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(NUMBERS, min_size=1, max_size=9), min_size=1, max_size=4))
def test_medians_without_nanmedian(rows):
    longest = max(map(len, rows))
    values = torch.tensor([row + [math.nan] * (longest - len(row)) for row in rows])
    expected = values.nanmedian(dim=1, keepdim=True)[0]
    found, index = _nanmedian(values, 1, True)
    assert torch.equal(found.nan_to_num(7e7), expected.nan_to_num(7e7))
    known = ~found.isnan()
    assert torch.equal(values.gather(1, index)[known], found[known])
    assert torch.equal(_nanmedian(values, 1)[0].nan_to_num(7e7), expected[:, 0].nan_to_num(7e7))


def test_signs_without_copysign():
    sizes, signs = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([-0.0, -1.0, 0.0, 5.0])
    assert torch.equal(_copysign(sizes, signs), sizes.copysign(signs))


def test_the_program_gives_the_finders_logits(finder, exported, tmp_path):
    path = tmp_path / "finder.pt2"
    path.write_bytes(exported.data)
    program = torch.export.load(path).module()
    for n in (1, 2, 9):
        inputs = random_inputs(SPEC, n, seed=n)
        with torch.no_grad():
            expected = finder(*inputs)
        assert program(*inputs).shape == (n,)
        assert torch.allclose(program(*inputs), expected, atol=TOLERANCE * expected.abs().max())
    assert exported.verification.n == 32
    assert exported.verification.largest_logit > 0
    assert exported.verification.passed


def test_the_file_says_what_it_is(exported, tmp_path):
    path = tmp_path / "finder.pt2"
    path.write_bytes(exported.data)
    metadata = read_metadata(path)
    assert metadata == exported.metadata
    assert InputSpec.from_dict(json.loads(metadata["input_spec"])) == SPEC
    assert (metadata["architecture"], metadata["sha256"]) == ("d4-resnet-nano", "abc")
    assert json.loads(metadata["bands"]) == ["g", "r"]
    assert json.loads(metadata["card"]) == {"data": "toy"}
    assert "nJy" in json.loads(metadata["inputs"])["images"]
    (tmp_path / "other.pt2").write_bytes(b"nothing")
    with pytest.raises(ExportError, match="no torch file"):
        read_metadata(tmp_path / "other.pt2")


def test_exporting_leaves_the_finder_as_it_was(finder, exported):
    assert exported.verification.passed
    untouched = random_finder("d4-resnet-nano", SPEC, seed=3).state_dict()
    assert all(torch.equal(value, untouched[key]) for key, value in finder.state_dict().items())


def test_verification_inputs_hold_what_can_go_wrong():
    images, noise, mask, present = verification_inputs(SPEC)
    assert torch.isnan(images).any()
    assert mask[present].any()
    assert not present[2].any()
    assert torch.isnan(noise[~present]).all()


def test_another_network_is_not_let_through(finder):
    assert verify(finder, fold(finder)).passed
    with pytest.raises(ExportError, match="nothing was written"):
        verify(finder, random_finder("d4-resnet-nano", SPEC, seed=4))
    with pytest.raises(ExportError, match="off by"):
        verify(finder, lambda *inputs: finder(*inputs) + 1e-3)
    with pytest.raises(ExportError, match="off by nan"):
        verify(finder, lambda *inputs: finder(*inputs) * torch.nan)
    assert not Verification(4, 2e-5, 0.1).passed
    assert Verification(4, 2e-5, 3.0).passed


def test_what_cannot_be_exported(finder, monkeypatch):
    with pytest.raises(ExportError, match=r"one of \['torch', 'onnx'\], got 'keras'"):
        export_finder(finder, "keras")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"onnxscript is missing.*equilens\[onnx\]"):
        export_finder(finder, "onnx")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["torch", "onnx"])
@pytest.mark.parametrize("name", [n for n in ARCHITECTURES if "base" not in n])
def test_every_architecture_can_be_exported(name, form, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    finder = random_finder(name, SPEC)
    exported = export_finder(finder, form)
    assert exported.verification.passed
    if form == "onnx":
        path = tmp_path / "finder.onnx"
        path.write_bytes(exported.data)
        inputs = random_inputs(SPEC, 5)
        with torch.no_grad():
            expected = finder(*inputs)
        found = load_model(path)(*inputs)
        assert torch.allclose(found, expected, atol=TOLERANCE * expected.abs().max())


@pytest.mark.slow
def test_a_cutout_that_is_not_square_can_be_exported():
    spec = InputSpec(("g",), 0.2, (33, 47))
    assert export_finder(build_finder("d4-resnet-nano", spec), "torch").verification.passed
