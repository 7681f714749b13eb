"""`equilens models` and its check: cost, classification, and a verdict that can be bad."""

from pathlib import Path

import pytest

from equilens.models import ARCHITECTURES, InputSpec, build_finder, save_checkpoint
from equilens.models.random_weights import random_finder
from equilens.pipeline.toy import toy_cutouts, write_mean_network, write_toy_store
from equilens.tasks.commands.models import _classification

SAMPLE = Path(__file__).resolve().parents[2] / "pipeline" / "sample"
SPEC = InputSpec(("a", "b"), 0.1, (33, 33))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lively.safetensors"
    return save_checkpoint(path, random_finder("d4-resnet-nano", SPEC, seed=5), {})


@pytest.fixture
def small_scenes(monkeypatch):
    """Random scenes of the command are 101 pixels wide, which takes a while."""
    monkeypatch.setattr("equilens.tasks.commands.models.reference_spec", lambda: SPEC)


def test_an_architecture_by_name(equilens_json, equilens, small_scenes):
    words = ("models", "check", "d4-convnext-nano", "-n", "3")
    code, facts = equilens_json(*words)
    assert (code, facts["passed"], facts["group"]) == (0, True, "D4")
    assert facts["weights"] == "random, seed 0"
    assert facts["control"] == "plain-convnext-nano"
    rows = {row["move"]: row for row in facts["rows"]}
    assert {row["n"] for row in rows.values()} == {3}
    assert rows["90°"]["worst_object"] in {"scene 0", "scene 1", "scene 2"}
    assert rows["90°"]["errors"]["finder"] <= facts["tolerances"]["finder"]
    assert rows["90°"]["errors"]["plain control"] > 1e-2
    assert "finder bf16" not in rows["45°"]["errors"]
    code, printed, _ = equilens(*words, "--no-bf16")
    assert code == 0
    assert "passed: invariant under D4" in " ".join(printed.split())
    assert "bf16" not in printed


def test_a_plain_network_ends_with_code_1(equilens_json, small_scenes):
    # what stands before `check` counts as well
    code, facts = equilens_json("models", "check", "plain-resnet-nano", "-n", "3", "--no-bf16")
    assert (code, facts["passed"]) == (1, False)
    assert facts["verdict"].startswith("FAILED: not invariant under D4: 90°")


def test_options_before_and_after_the_word_check(capsys):
    from equilens.tasks.cli import build_parser

    for words in (["models", "--json", "check", "x"], ["models", "check", "x", "--json"]):
        args = build_parser().parse_args(words)
        assert (args.json, args.debug, args.run.__name__) == (True, False, "run_check")
    assert build_parser().parse_args(["models"]).run.__name__ == "run_models"


def test_own_weights_on_own_cutouts(equilens_json, weights, tmp_path):
    batch = toy_cutouts(8, missing_share=0.3)
    store = write_toy_store(tmp_path / "toy.zarr", batch).path
    words = ("models", "check", weights, "--images", store, "-n", "6", "--no-bf16")
    code, facts = equilens_json(*words)
    assert (code, facts["passed"], facts["n_objects"]) == (0, True, 6)
    assert facts["images"] == str(store)
    assert {row["worst_object"] for row in facts["rows"][:7]} <= set(batch.ids[:6])
    # random weights of a network made for the store's own bands
    code, facts = equilens_json("models", "check", "plain-resnet-nano", *words[3:])
    assert (code, facts["passed"]) == (1, False)


def test_survey_files(equilens_json, equilens, tmp_path):
    spec = InputSpec(("VIS", "NIR_Y", "NIR_J", "NIR_H"), 0.1)
    path = save_checkpoint(
        tmp_path / "w.safetensors", build_finder("d4-resnet-nano", spec, seed=2), {}
    )
    words = ("models", "check", path, "--images", SAMPLE / "euclid_q1" / "lens")
    code, facts = equilens_json(*words, "--survey", "euclid-mer", "--no-bf16")
    assert (code, facts["n_objects"]) == (0, 3), facts["verdict"]
    code, _, err = equilens(*words)
    assert code == 1
    assert "name the survey" in err


def test_a_graph_of_ones_own_is_held_to_d4(equilens_json, tmp_path):
    pytest.importorskip("onnxruntime")
    store = write_toy_store(tmp_path / "toy.zarr", toy_cutouts(4)).path
    graph = write_mean_network(tmp_path / "mean.onnx", SPEC)
    code, facts = equilens_json("models", "check", graph, "--images", store)
    assert (code, facts["group"], facts["architecture"]) == (0, "D4", "onnx")
    assert set(facts["rows"][0]["errors"]) == {"graph", "plain control"}


def test_wrong_use(equilens, weights, tmp_path):
    code, _, err = equilens("models", "check", "vgg")
    assert code == 2
    assert "d4-resnet-nano" in err
    assert "euclid-mer" in err
    assert equilens("models", "check", weights, "-n", "1")[0] == 2
    assert equilens("models", "check", weights, "--images", tmp_path / "none")[0] == 2
    assert equilens("models", "--card", "euclid-mer", "--table")[0] == 2
    other = write_toy_store(tmp_path / "toy.zarr", toy_cutouts(4, bands=1)).path
    code, _, err = equilens("models", "check", weights, "--images", other)
    assert code == 1
    assert "b is not there" in err


def test_cost_beside_the_plain_twin(equilens_json, monkeypatch):
    names = ("d4-resnet-nano", "plain-resnet-nano", "d4-convnext-nano", "plain-convnext-nano")
    few = {name: ARCHITECTURES[name] for name in names}
    monkeypatch.setattr("equilens.models.networks.ARCHITECTURES", few)
    code, facts = equilens_json("models")
    networks = {network["name"]: network for network in facts["networks"]}
    assert code == 0
    assert all(network["flops"] == 2 * network["macs"] for network in facts["networks"])
    ours, plain = networks["d4-resnet-nano"], networks["plain-resnet-nano"]
    assert ours["plain_twin"] == "plain-resnet-nano"
    assert ours["flops_of_twin"] == ours["flops"] / plain["flops"] <= 1
    assert ours["parameters_of_twin"] == ours["parameters"] / plain["parameters"] < 0.2
    assert networks["d4-convnext-nano"]["flops_of_twin"] < 0.9
    assert "plain_twin" not in plain


def test_the_classification(equilens, monkeypatch):
    from equilens.models import classification

    quick = tuple(row for row in classification.PUBLISHED if row.lacking or row.fields == "trivial")
    monkeypatch.setattr(classification.classification, "__defaults__", (quick,))
    code, printed, _ = equilens("models", "--table")
    assert code == 0
    assert printed.splitlines()[0].split()[:4] == ["G", "H", "G/H", "ρ"]
    assert "Cohen et al. 2018, 1801.10130" in printed
    monkeypatch.setattr(classification, "GRID_TOLERANCE", -1.0)
    broken = _classification()
    assert broken.code == 1
    assert [row["works"] for row in broken.facts["rows"]] == [False] * len(quick)
