"""`equilens inject`: simulated arcs in given cutouts, and honest refusals."""

import pyarrow.csv
import pytest

from equilens.pipeline.stores import CutoutStore


@pytest.fixture(scope="module")
def background(tmp_path_factory):
    """Simulated cutouts stand in for real ones; a tenth are lenses, and labelled."""
    from equilens.tasks.cli import main

    out = tmp_path_factory.mktemp("background") / "sky.zarr"
    words = ["--survey", "bologna-space", "-n", "40", "--seed", "9", "--lens-fraction", "0.1"]
    assert main(["simulate", *words, "--out", str(out)]) == 0
    return out


def words(background, out, *more):
    return ("inject", background, "--survey", "bologna-space", "--out", out, "-n", "48", *more)


def test_a_store_with_truth_and_parents(background, tmp_path, equilens_json, equilens):
    out = tmp_path / "out.zarr"
    command = words(background, out, "--seed", "2", "--einstein-radius", "0.5", "1.5")
    code, facts = equilens_json(*command)
    assert (code, facts["n_objects"], facts["made_now"]) == (0, 48, True)
    store = CutoutStore(out)
    assert facts["fingerprint"] == store.fingerprint
    assert 16 <= facts["n_lenses"] <= 32
    assert facts["by_rule"]["known-lens"] >= 1
    truth = pyarrow.csv.read_csv(facts["truth"])
    assert truth["is_lens"].to_numpy().sum() == facts["n_lenses"]
    sky = CutoutStore(background)
    lenses = sky.facts("ids")[sky.facts("columns/is_lens") == 1]
    assert not set(lenses) & set(truth["background_id"].to_pylist())
    # the same again is there; anything else is not taken for it
    assert equilens_json(*command)[1]["made_now"] is False
    code, _, err = equilens(*words(background, out, "--seed", "3"))
    assert (code, "--replace" in err) == (1, True)
    code, printed, _ = equilens(*words(background, out, "--seed", "3", "--replace"))
    assert code == 0
    assert "injected 48 objects of bologna-space" in printed


def test_an_injected_store_is_not_taken_for_a_simulated_one(background, tmp_path, equilens):
    """Both keep seed, share of lenses and number of objects."""
    out = tmp_path / "out.zarr"
    assert equilens(*words(background, out, "--seed", "2"))[0] == 0
    same = ("--survey", "bologna-space", "-n", "48", "--seed", "2", "--lens-fraction", "0.5")
    code, _, err = equilens("simulate", *same, "--out", out)
    assert (code, "--replace" in err) == (1, True)


def test_a_split_holds_over_two_commands(background, tmp_path, equilens_json):
    used = []
    for side in ("training", "held-out"):
        more = ("--hold-out", "0.4", "--parents-from", side)
        code, _ = equilens_json(*words(background, tmp_path / f"{side}.zarr", *more))
        assert code == 0
        used.append(set(CutoutStore(tmp_path / f"{side}.zarr").manifest["config"]["parents"]))
    assert all(used)
    assert not used[0] & used[1]


def test_a_selection_function_of_what_was_injected(background, tmp_path, equilens_json):
    pytest.importorskip("onnxruntime")
    from equilens.models.inputs import InputSpec
    from equilens.pipeline.toy import write_mean_network

    out, scores = tmp_path / "out.zarr", tmp_path / "scores.zarr"
    assert equilens_json(*words(background, out, "-n", "300"))[0] == 0
    mean = write_mean_network(tmp_path / "mean.onnx", InputSpec(("VIS",), 0.1, (101, 101)))
    assert equilens_json("score", out, "--model", mean, "--out", scores)[0] == 0
    table = tmp_path / "selection.parquet"
    options = ("--out", table, "--bootstrap", "3", "--fpr", "0.1", "--columns", "arc_snr")
    code, facts = equilens_json("selection-function", scores, *options)
    assert code == 0
    denominator = facts["denominator"]
    assert denominator["n_counted"] == CutoutStore(out).facts("columns/is_lens").sum()
    # an object is drawn again with all that was injected into its parent, not alone
    assert denominator["n_parents"] == len(CutoutStore(out).manifest["config"]["parents"])


def test_wrong_use(background, tmp_path, equilens):
    out = tmp_path / "out.zarr"
    for more in (("--einstein-radius", "2", "1"), ("--max-shift", "-1"), ("--hold-out", "2")):
        assert equilens(*words(background, out, *more))[0] == 2
    code, _, err = equilens("inject", background, "--survey", "des-cube", "-n", "4", "--out", out)
    assert (code, err.count("\n")) == (1, 1)
    assert "name the survey" in err
    code, _, err = equilens(*words(background, out, "--parents-from", "held-out"))
    assert code == 1
    assert "other side of the split" in err
    code, _, err = equilens(
        "inject", tmp_path, "--survey", "bologna-space", "-n", "4", "--out", out
    )
    assert code == 1
    assert "never finished" in err
    assert not out.exists()
