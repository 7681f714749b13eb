"""Weights on disk: round trip, and files that must be refused."""

import json
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from equilens.models import (
    ARCHITECTURES,
    InputSpec,
    build_finder,
    find_model,
    load_checkpoint,
    load_model,
    model_sha256,
    save_checkpoint,
    shipped_weights,
)
from equilens.models import checkpoint as checkpoint_module
from equilens.models.comparators import COMPARATORS
from equilens.models.errors import CheckpointError, UnsafeWeightsError
from equilens.models.testing import random_inputs

SPEC = InputSpec(("VIS",), 0.1, (37, 37))


@pytest.fixture(scope="module")
def finder():
    return build_finder("d4-resnet-nano", SPEC, seed=3).eval()


@pytest.fixture
def saved(finder, tmp_path):
    return save_checkpoint(tmp_path / "model.safetensors", finder, {"data": "toy", "n": 12})


def rewrite(path, tensors=None, **metadata):
    with safetensors.safe_open(path, framework="pt") as stored:
        header = stored.metadata() | metadata
        state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    safetensors.torch.save_file(state | (tensors or {}), path, header)


def test_round_trip(finder, saved):
    loaded, metadata = load_checkpoint(saved)
    inputs = random_inputs(SPEC, 3)
    assert torch.equal(loaded(*inputs), finder(*inputs))
    assert loaded.spec == SPEC
    assert not loaded.training
    assert metadata["card"] == {"data": "toy", "n": 12}
    assert metadata["architecture"] == "d4-resnet-nano"
    assert metadata["sha256"] == model_sha256(saved)
    assert len(model_sha256(saved)) == 64
    assert os.listdir(saved.parent) == [saved.name]


@pytest.mark.parametrize("name", [*ARCHITECTURES, *COMPARATORS])
def test_every_network_comes_back(name, tmp_path):
    spec = InputSpec(("VIS",), 0.1, (69, 69))
    finder = build_finder(name, spec).train()
    finder(*random_inputs(spec, 2)).sum().backward()
    saved = save_checkpoint(tmp_path / "model.safetensors", finder, {})
    loaded, _ = load_checkpoint(saved)
    for key, value in finder.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value), key


def test_models_are_found_by_path_folder_and_name(saved, tmp_path, monkeypatch):
    assert find_model(saved.parent) == find_model(saved) == saved
    assert load_model(saved.parent).spec == SPEC
    monkeypatch.setattr(checkpoint_module, "WEIGHTS_FOLDER", tmp_path)
    assert shipped_weights() == {"model": saved}
    assert find_model("model") == saved
    (tmp_path / "second.onnx").touch()
    with pytest.raises(CheckpointError, match="exactly one"):
        find_model(tmp_path)
    with pytest.raises(CheckpointError, match="no shipped weights of that name"):
        find_model("nowhere")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt", ".safetensors", ".onnx", ""])
@pytest.mark.parametrize("protocol", [2, 5, "zip"])
def test_pickles_are_refused_whatever_their_name(tmp_path, suffix, protocol):
    path = tmp_path / f"weights{suffix}"
    if protocol == "zip":
        torch.save({"w": torch.ones(2)}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb(tmp_path / "exploded"), protocol))
    with pytest.raises(UnsafeWeightsError, match="can run any code"):
        load_model(path)
    assert not (tmp_path / "exploded").exists()


class Bomb:
    """Touches a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


def test_foreign_and_damaged_files_are_refused(saved, tmp_path):
    foreign = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2)}, foreign)
    with pytest.raises(CheckpointError, match="declares format None"):
        load_checkpoint(foreign)
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_checkpoint(saved)
    with pytest.raises(CheckpointError, match="no weights file"):
        load_checkpoint(tmp_path / "absent.safetensors")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"architecture": "vgg"}, "cannot be built.*'vgg'"),
        ({"input_spec": "{"}, "damaged header"),
        ({"input_spec": json.dumps({"bands": ["g"], "colour": 1})}, "unknown keys"),
        ({"input_spec": json.dumps(InputSpec(("g", "r"), 0.1).to_dict())}, "does not fit"),
        ({"architecture": "d4-resnet-small"}, "does not fit"),
    ],
)
def test_headers_that_lie_are_refused(saved, header, message):
    rewrite(saved, **header)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    "tensors", [{"head.logit.bias": torch.tensor([torch.nan])}, {"extra": torch.ones(1)}]
)
def test_weights_that_do_not_fit_are_refused(saved, tensors):
    rewrite(saved, tensors)
    with pytest.raises(CheckpointError, match="1 tensors are missing, unknown, misshapen"):
        load_checkpoint(saved)


def test_size_and_suffix_are_bounded(saved, finder, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_module, "LARGEST_BYTES", 1000)
    with pytest.raises(CheckpointError, match="1000 at most"):
        load_checkpoint(saved)
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors, got 'model.pt'"):
        save_checkpoint(tmp_path / "model.pt", finder, {})
    monkeypatch.undo()
    other = tmp_path / "model.h5"
    other.write_bytes(b"\x89HDF")
    with pytest.raises(CheckpointError, match=r"\.safetensors or \.onnx, got 'model.h5'"):
        load_model(other)


def test_shipped_weights_load():
    for path in shipped_weights().values():
        finder, metadata = load_checkpoint(path)
        assert path.stat().st_size < 8e6
        assert metadata["card"]
        assert torch.isfinite(finder(*random_inputs(finder.spec, 2))).all()


@pytest.mark.skipif(not os.environ.get("EQUILENS_DATA"), reason="EQUILENS_DATA is not set")
def test_a_real_pickled_network_is_refused():
    folder = Path(os.environ["EQUILENS_DATA"]) / "weights"
    files = [path for path in folder.iterdir() if path.suffix in checkpoint_module.PICKLE_SUFFIXES]
    assert files
    for path in files:
        with pytest.raises(UnsafeWeightsError):
            load_model(path)
