"""`equilens export-model`: files that other programs run, and equilens too."""

import json
import stat
import sys

import numpy as np
import pytest
import torch

from equilens.models import InputSpec, build_finder, fold, load_checkpoint, save_checkpoint
from equilens.models.export import ExportedFinder, Verification, read_metadata
from equilens.models.fold import FoldedFinder
from equilens.models.networks import LensFinder
from equilens.models.random_weights import random_finder
from equilens.models.testing import random_inputs
from equilens.pipeline.networks import ready_network
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.toy import toy_cutouts, write_toy_store

SPEC = InputSpec(("a", "b"), 0.1, (33, 33))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lively.safetensors"
    return save_checkpoint(path, random_finder("d4-resnet-nano", SPEC, seed=5), {"data": "toy"})


def test_an_onnx_file_scores_like_its_weights(equilens_json, weights, tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    out = tmp_path / "new" / "finder.onnx"
    code, facts = equilens_json("export-model", weights, "--format", "onnx", "--out", out)
    assert (code, facts["n_verified"], facts["n_bytes"]) == (0, 32, out.stat().st_size)
    assert (
        facts["largest_difference"] <= facts["tolerance"] <= 1e-5 * max(1, facts["largest_logit"])
    )
    graph = onnx.load(out)
    named = {value.name: value.type.tensor_type.shape.dim for value in graph.graph.input}
    assert list(named) == ["images", "noise", "mask", "band_present"]
    assert all(axes[0].dim_param == "N" for axes in named.values())
    assert [value.name for value in graph.graph.output] == ["logits"]
    metadata = {entry.key: entry.value for entry in graph.metadata_props}
    assert metadata["sha256"] == facts["sha256"] == load_checkpoint(weights)[1]["sha256"]
    assert json.loads(metadata["card"]) == {"data": "toy"}
    # torch's exporter notes where each operation stands in whose folders
    assert b".py" not in out.read_bytes()
    store = write_toy_store(tmp_path / "toy.zarr", toy_cutouts(100, missing_share=0.3)).path
    for model, scores in ((weights, "own"), (out, "graph")):
        code, _ = equilens_json("score", store, "--model", model, "--out", tmp_path / scores)
        assert code == 0
    own, by_graph = (ScoreStore(tmp_path / name).scores() for name in ("own", "graph"))
    assert own.std() > 0.1
    np.testing.assert_allclose(by_graph, own, rtol=0, atol=1e-5 * max(1, np.abs(own).max()))


def test_a_torch_program_and_what_is_said_of_it(equilens, weights, tmp_path):
    out = tmp_path / "finder.pt2"
    words = ("export-model", weights, "--format", "torch", "--out", out)
    code, printed, _ = equilens(*words)
    assert code == 0
    assert "verified on 32 random cutouts: logits differ by" in printed
    assert read_metadata(out)["architecture"] == "d4-resnet-nano"
    assert stat.S_IMODE(out.stat().st_mode) & 0o044
    assert [path.name for path in tmp_path.iterdir()] == ["finder.pt2"]
    finder = load_checkpoint(weights)[0]
    inputs = random_inputs(SPEC, 3)
    found = torch.export.load(out).module()(*inputs)
    with torch.no_grad():
        assert torch.allclose(found, finder(*inputs), atol=1e-5)


@pytest.fixture
def quick_export(monkeypatch):
    """Exporting takes seconds; what happens around it does not need it."""

    def export(finder, form, **said):
        return ExportedFinder(form, b"new", {}, Verification(1, 0.0, 1.0))

    monkeypatch.setattr("equilens.models.export.export_finder", export)


def test_a_file_that_exists_is_kept(equilens, weights, tmp_path, quick_export):
    out = tmp_path / "finder.pt2"
    out.write_bytes(b"precious")
    words = ("export-model", weights, "--format", "torch", "--out", out)
    code, _, err = equilens(*words)
    assert (code, out.read_bytes()) == (1, b"precious")
    assert "--replace" in err
    assert equilens(*words, "--replace")[0] == 0
    assert out.read_bytes() == b"new"


def test_wrong_use(equilens, weights, tmp_path, quick_export):
    words = ("export-model", weights, "--out", tmp_path / "finder.onnx", "--format")
    code, _, err = equilens(*words, "torch")
    assert code == 2
    assert "must end in .pt2" in err
    assert equilens(*words, "keras")[0] == 2
    code, _, err = equilens("export-model", "nowhere", *words[2:], "onnx")
    assert code == 2
    assert "nowhere" in err
    (tmp_path / "there.onnx").write_bytes(b"")
    code, _, err = equilens("export-model", tmp_path / "there.onnx", *words[2:], "onnx")
    assert code == 2
    assert "already" in err


def test_nothing_is_written_where_the_check_fails_or_a_package_lacks(
    equilens, weights, tmp_path, monkeypatch
):
    out = tmp_path / "finder.onnx"
    words = ("export-model", weights, "--format", "onnx", "--out", out)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    code, _, err = equilens(*words)
    assert (code, err.count("\n")) == (1, 1)
    assert "pip install equilens[onnx]" in err
    for step in ("_program", "_archive"):
        monkeypatch.setattr(f"equilens.models.export.{step}", lambda *_: b"")
    monkeypatch.setattr(
        "equilens.models.export.load_exported", lambda *_: lambda images, *rest: images[:, 0, 0, 0]
    )
    words = ("export-model", weights, "--format", "torch", "--out", tmp_path / "finder.pt2")
    code, _, err = equilens(*words)
    assert code == 1
    assert "nothing was written" in err
    assert not list(tmp_path.iterdir())


def test_scoring_runs_the_folded_network_alone(equilens_json, tmp_path, monkeypatch):
    finder = build_finder("d4-resnet-nano", SPEC, seed=77)
    path = save_checkpoint(tmp_path / "w.safetensors", finder, {})
    batch = toy_cutouts(64)
    store = write_toy_store(tmp_path / "toy.zarr", batch).path

    def refuse(self, *inputs):
        raise AssertionError("the unfolded finder was run")

    monkeypatch.setattr(LensFinder, "forward", refuse)
    out = tmp_path / "scores"
    code, facts = equilens_json("score", store, "--model", path, "--out", out, "--workers", "1")
    assert code == 0
    network = ready_network(str(path.resolve()), facts["sha256"], "cpu")
    assert isinstance(network, FoldedFinder)
    arrays = (batch.images, batch.noise_njy, batch.mask, batch.band_present)
    with torch.inference_mode():
        expected = fold(finder)(*map(torch.from_numpy, arrays)).double().numpy()
    np.testing.assert_allclose(ScoreStore(out).scores()[:, 0], expected, rtol=1e-5)
