"""Users' own ONNX graphs behind a finder's call."""

import json
import sys

import numpy as np
import pytest
import torch

from equilens.models import InputSpec, OnnxFinder, load_model
from equilens.models.errors import CheckpointError, MissingExtraError
from equilens.models.testing import random_inputs
from equilens.pipeline.networks import describe_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SPEC = InputSpec(("g", "r"), 0.2, (33, 33))
INT64, FLOAT, BOOL = onnx.TensorProto.INT64, onnx.TensorProto.FLOAT, onnx.TensorProto.BOOL


def write_graph(
    path, *, batch="N", image_name="images", mask_type=BOOL, spec=SPEC, keepdims=0, card=None
):
    """A graph whose logit is the mean image over bands and pixels plus the masked fraction."""
    make = onnx.helper
    inputs = [
        make.make_tensor_value_info(image_name, FLOAT, [batch, 2, 33, 33]),
        make.make_tensor_value_info("mask", mask_type, [batch, 2, 33, 33]),
    ]
    nodes = [
        make.make_node("Cast", ["mask"], ["bad"], to=FLOAT),
        make.make_node("Add", [image_name, "bad"], ["total"]),
        make.make_node("Flatten", ["total"], ["flat"]),
        make.make_node("ReduceMean", ["flat", "axes"], ["logits"], keepdims=keepdims),
    ]
    axes = onnx.numpy_helper.from_array(np.array([1]), "axes")
    shape = [batch, 1] if keepdims else [batch]
    output = make.make_tensor_value_info("logits", FLOAT, shape)
    graph = make.make_graph(nodes, "mean", inputs, [output], [axes])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    stated = {"input_spec": None if spec is None else spec.to_dict(), "card": card}
    make.set_model_props(model, {k: json.dumps(v) for k, v in stated.items() if v is not None})
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("mask_type", [BOOL, FLOAT])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_graphs_run_like_finders(tmp_path, batch, mask_type, keepdims):
    path = write_graph(tmp_path / "mean.onnx", batch=batch, mask_type=mask_type, keepdims=keepdims)
    model = load_model(path)
    images, noise, mask, present = random_inputs(SPEC, 6)
    expected = (images + mask.float()).mean(dim=(1, 2, 3))
    assert torch.allclose(model(images, noise, mask, present), expected, atol=1e-4)
    assert model.spec == SPEC
    assert model(images[:0], noise[:0], mask[:0], present[:0]).shape == (0,)


def test_the_specification_may_stand_beside_the_graph(tmp_path):
    path = write_graph(tmp_path / "mean.onnx", spec=None)
    with pytest.raises(CheckpointError, match=r"does not say what it was made for.*mean\.json"):
        load_model(path)
    (tmp_path / "mean.json").write_text(json.dumps({"input_spec": SPEC.to_dict()}))
    assert load_model(path).spec == SPEC
    (tmp_path / "mean.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_model(path)
    assert OnnxFinder(path, SPEC).spec == SPEC


def test_the_card_beside_the_graph_comes_before_its_own(tmp_path):
    path, beside = tmp_path / "mean.onnx", tmp_path / "mean.json"
    write_graph(path)
    assert OnnxFinder(path).card == {}
    write_graph(path, card={"name": "inside"})
    assert OnnxFinder(path).card == {"name": "inside"}
    beside.write_text(json.dumps({"card": {"name": "beside"}}))
    assert OnnxFinder(path).card == {"name": "beside"}
    beside.write_text("{}")
    assert OnnxFinder(path).card == {}
    for wrong in ("[]", '{"card": 3}', "no JSON"):
        beside.write_text(wrong)
        with pytest.raises(CheckpointError, match="a card that cannot be read"):
            OnnxFinder(path)


def test_a_graph_is_opened_once_for_all_that_it_says(tmp_path, monkeypatch):
    path = write_graph(tmp_path / "mean.onnx", card={"name": "mean"})
    opened = []
    start = OnnxFinder.__init__
    monkeypatch.setattr(OnnxFinder, "__init__", lambda *a, **k: opened.append(a[1]) or start(*a))
    network = describe_network(path)
    assert opened == [path]
    assert (network.card, network.spec, network.name) == ({"name": "mean"}, SPEC, "mean")
    assert network.architecture == "onnx"


def test_graphs_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"images is required.*'pixels'"):
        load_model(write_graph(tmp_path / "a.onnx", image_name="pixels"))
    with pytest.raises(CheckpointError, match="float32 or bool"):
        load_model(write_graph(tmp_path / "b.onnx", mask_type=INT64))
    (tmp_path / "c.onnx").write_bytes(b"\x08nonsense")
    with pytest.raises(CheckpointError, match="not a readable ONNX graph"):
        load_model(tmp_path / "c.onnx")


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    path = write_graph(tmp_path / "mean.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install equilens\[onnx\]"):
        load_model(path)
