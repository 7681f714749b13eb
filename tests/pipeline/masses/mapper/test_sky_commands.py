"""`equilens sky train` and `score`: one command from a held-out sky to cutout tiles."""

from __future__ import annotations

import json

import pytest

from equilens.tasks.cli import main

pytestmark = pytest.mark.usefixtures("capsys")


def run(capsys, *words: object) -> tuple[int, dict, str]:
    code = main([*map(str, words), "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else {}, said.err


def test_one_command_from_a_sky_to_tiles(toy_skies, trained_mapper, tmp_path, capsys):
    words = ("sky", "score", toy_skies[2], "--model", trained_mapper, "--out", tmp_path)
    code, facts, _ = run(capsys, *words)
    assert code == 0
    assert facts["n_tiles"] == 113 * facts["n_peaks"] > 0
    assert all((tmp_path / name).exists() for name in ("mass.zarr", "peaks.parquet", "tiles.csv"))


def test_a_finished_training_is_left_alone(toy_skies, trained_mapper, tmp_path, capsys):
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "batch_size = 8\nn_squares = 1\nmargin_pixels = 0\ngeometries = 2\n"
        "validation_patches = 16\nvalidations = 2\nlearning_rate = 5e-3\nema_decay = 0.9\n"
        "[size]\nscalars = 4\nvectors = 1\ntensors = 2\ndepth = 1\n"
    )
    words = ("sky", "train", *toy_skies[:2], "--held-out", toy_skies[2], "--out", trained_mapper)
    options = ("--settings", settings, "--patches-seen", 320)
    code, facts, _ = run(capsys, *words, *options)
    assert code == 0
    assert not facts["made_now"]
    code, _, complaint = run(capsys, *words, *options, "--seed", 5)
    assert code == 1
    assert "holds the weights of another training (config.seed: 0 there, 5 asked)" in complaint


def test_options_that_do_not_go_together_are_wrong_use(toy_skies, tmp_path, capsys):
    code, _, complaint = run(capsys, "sky", "score", toy_skies[2], "--out", tmp_path)
    assert code == 2
    assert "needs --model" in complaint
