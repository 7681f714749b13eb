"""`equilens train`: one command from nothing to weights, and options that do not go together."""

import json
from pathlib import Path

import pytest

from equilens.tasks.train import PART_OBJECTS, training_data_tasks

SETTINGS = """
validation_fraction = 0.3
validations = 2

[stopping]
decides = 0.4

[augmentation]
max_shift = 1
"""


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "short.toml"
    path.write_text(SETTINGS)
    return path


def test_from_nothing_to_a_committee(equilens_json, settings_file, tmp_path):
    words = ("train", "--survey", "bologna-space", "-n", "96", "--out", tmp_path / "out")
    words = (*words, "--images-seen", "32", "--batch-size", "16", "--settings", settings_file)
    words = (*words, "--members", "2", "--augment", "rich", "--mining", "0.5", "--loss", "tail")
    code, facts = equilens_json(*words)
    assert (code, facts["members"], facts["made_now"]) == (0, 2, True)
    out = Path(facts["weights"]).parent
    report = json.loads((out / "report.json").read_text())
    config = report["config"]
    assert config["augmentation"]["max_shift"] == 1
    assert config["augmentation"]["max_scale"] == 1.1
    assert config["mining"]["share"] == 0.5
    assert (config["loss"], config["bootstrap"], config["validation_fraction"]) == (
        "tail",
        True,
        0.3,
    )
    assert report["stores"][0]["n_objects"] == 96
    assert (out / "training.png").exists()
    stamp = (out / "data" / "part-000.zarr" / "_manifest.json").stat().st_mtime_ns
    again = equilens_json(*words)[1]
    assert (again["made_now"], again["sha256"]) == (False, facts["sha256"])
    assert (out / "data" / "part-000.zarr" / "_manifest.json").stat().st_mtime_ns == stamp


def test_data_are_simulated_in_parts_that_no_small_seed_makes(tmp_path):
    n = 2 * PART_OBJECTS + 10
    parts = training_data_tasks("bologna-space", n, 3, tmp_path)
    assert [part.n_objects for part in parts] == [PART_OBJECTS, PART_OBJECTS, 10]
    seeds = {part.seed for part in parts}
    assert len(seeds) == 3
    assert min(seeds) >= 2**32
    assert not seeds & {part.seed for part in training_data_tasks("bologna-space", n, 4, tmp_path)}


def test_fine_tuning_says_what_does_not_fit(equilens, made, tmp_path):
    words = ("train", "--survey", "bologna-space", "--data", made / "sim.zarr")
    words = (*words, "--out", tmp_path / "out")
    code, _, err = equilens(*words, "--freeze", "stem")
    assert code == 2
    assert "--from" in err
    assert equilens(*words, "--from", "no-such-weights")[0] == 2
    assert equilens(*words, "-n", "10")[0] == 2
    code, _, err = equilens(
        *words, "--from", made / "untrained.safetensors", "--architecture", "plain-resnet-nano"
    )
    assert code == 1
    assert "--architecture d4-resnet-nano" in err


def test_unknown_settings_are_named(equilens, made, tmp_path):
    (tmp_path / "wrong.toml").write_text("[mining]\nshares = 0.2\n")
    words = ("train", "--survey", "bologna-space", "--data", made / "sim.zarr")
    words = (*words, "--out", tmp_path / "out", "--settings", tmp_path / "wrong.toml")
    code, _, err = equilens(*words)
    assert code == 1
    assert "mining.shares is no setting" in err
    (tmp_path / "wrong.toml").write_text("no = toml = at all")
    code, _, err = equilens(*words)
    assert code == 2
    assert "is no TOML file" in err
