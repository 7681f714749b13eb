import json
import shutil

import pytest

from equilens.models import InputSpec, build_finder, save_checkpoint
from equilens.tasks.cli import main


@pytest.fixture
def equilens(capsys):
    """Run a command in this process; gives exit code, stdout and stderr."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def equilens_json(equilens):
    """Run a command with --json; gives exit code and the object it printed."""

    def run(*words):
        code, out, err = equilens(*words, "--json")
        assert out, err
        return code, json.loads(out)

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with a simulated store, untrained weights of its survey, and scores."""
    folder = tmp_path_factory.mktemp("made")
    spec = InputSpec(("VIS",), 0.1)
    weights = folder / "untrained.safetensors"
    save_checkpoint(weights, build_finder("d4-resnet-nano", spec, seed=1), {"name": "untrained"})
    store, scores = folder / "sim.zarr", folder / "scores.zarr"
    simulate = ["simulate", "--survey", "bologna-space", "-n", "48", "--seed", "1"]
    assert main([*simulate, "--out", str(store)]) == 0
    assert main(["score", str(store), "--model", str(weights), "--out", str(scores)]) == 0
    return folder


@pytest.fixture
def work(made, tmp_path):
    """A copy of what was made, to spoil."""
    return shutil.copytree(made, tmp_path / "work")
