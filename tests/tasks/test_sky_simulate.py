"""`equilens sky simulate` as a user types it."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from equilens.pipeline.skies.matter_power import MatterPower
from equilens.pipeline.skymaps import SkyMapStore
from equilens.tasks.commands.sky_simulate import add_simulate
from equilens.tasks.console import Outcome
from equilens.tasks.errors import UsageError


def run(*words: object) -> Outcome:
    parser = argparse.ArgumentParser()
    add_simulate(parser.add_subparsers(), argparse.ArgumentParser(add_help=False))
    args = parser.parse_args(["simulate", *map(str, words)])
    return args.run(args)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for spectra, and a bent power law in place of CAMB's."""
    k, z = np.geomspace(1e-4, 20, 200), np.linspace(0, 3, 31)
    shape = 3e6 * k / (1 + (k / 0.015) ** 1.9) ** 1.4
    power = MatterPower(k, z, shape / (1 + z[:, None]) ** 1.5)
    monkeypatch.setattr("equilens.pipeline.skies.matter_power._run_camb", lambda _: power)
    return tmp_path / "cache"


def test_skies_are_made_once_and_by_seed(tmp_path: Path, cache: Path):
    words = ["--nside", 16, "--gaussian", "--bins", 1, "--cache", cache, "--n-skies", 2]
    first = run("--out", tmp_path / "sky.zarr", *words, "--seed", 5)
    assert [Path(sky["store"]).name for sky in first.facts["skies"]] == ["sky_0.zarr", "sky_1.zarr"]
    assert all(sky["made_now"] for sky in first.facts["skies"])
    again = run("--out", tmp_path / "sky.zarr", *words, "--seed", 5)
    assert not any(sky["made_now"] for sky in again.facts["skies"])
    one = run("--out", tmp_path / "alone.zarr", *words[:-2], "--seed", 6)
    assert "simulated" in one.text
    alone, second = (SkyMapStore.open(tmp_path / name) for name in ("alone.zarr", "sky_1.zarr"))
    for name in ("G1_BIN1", "G2_BIN1"):
        np.testing.assert_array_equal(alone.read(name), second.read(name))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nside", 48], "nearest are 32 and 64"),
        (["--survey", "hst"], "got 'hst'"),
        (["--cosmology", "eds"], "got 'eds'"),
        (["--galactic-latitude", 95], "got 95"),
        (["--bins", 30], "got 30"),
    ],
)
def test_wrong_use_is_told_before_anything_is_made(words: list, message: str, tmp_path: Path):
    with pytest.raises(UsageError, match=message):
        run("--out", tmp_path / "sky.zarr", *words)
    assert not list(tmp_path.iterdir())
