"""The house keeps its own rules: packaging, layers, names, sizes."""

import configparser
import doctest
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("catalogs", "models", "pipeline", "tasks")


def subpackages() -> set[str]:
    return {
        "equilens." + ".".join(file.parent.relative_to(ROOT).parts)
        for room in ROOMS
        for file in (ROOT / room).rglob("__init__.py")
    }


def modules() -> list[str]:
    names = []
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            names.append("equilens." + ".".join(p for p in parts if p != "__init__"))
    return names


def configuration() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_subpackage_is_listed():
    # an unlisted subpackage works in an editable install and vanishes from the wheel
    listed = set(configuration()["options"]["packages"].split())
    assert listed == subpackages()


def test_top_level_holds_what_the_design_says():
    tracked = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).split()
    folders = {name.split("/")[0] for name in tracked if "/" in name}
    assert folders <= {*ROOMS, "tests", "deploy", ".ci"}


def test_imports_run_downward_only():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", "setup.cfg"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_an_import_that_climbs_is_caught(tmp_path):
    for room, text in {"upper": "", "lower": "import upper"}.items():
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(text)
    (tmp_path / "rules.cfg").write_text(
        "[importlinter]\nroot_packages =\n    upper\n    lower\n"
        "[importlinter:contract:layers]\nname = layers\ntype = layers\n"
        "layers =\n    upper\n    lower\n"
    )
    command = [str(Path(sys.executable).with_name("lint-imports")), "--config", "rules.cfg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "lower is not allowed to import upper" in done.stdout


@pytest.mark.parametrize("name", modules())
def test_every_module_imports_and_its_examples_hold(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_no_room_is_imported_by_its_folder_name():
    # a second copy under a bare name makes Luigi register every task twice
    assert not set(ROOMS) & set(sys.modules)


def test_files_and_functions_stay_small():
    long = [
        f"{file.relative_to(ROOT)}: {n}"
        for room in ROOMS
        for file in (ROOT / room).rglob("*.py")
        if (n := len(file.read_text().splitlines())) > 400
    ]
    assert not long


def test_shipped_files_stay_small():
    samples = sum(f.stat().st_size for f in (ROOT / "pipeline/sample").rglob("*") if f.is_file())
    assert samples < 15e6
    weights = {f.name: f.stat().st_size for f in (ROOT / "models/weights").glob("*.safetensors")}
    assert all(size < 8e6 for size in weights.values()), json.dumps(weights)


@pytest.mark.parametrize("room", [*ROOMS, "tests", "deploy"])
def test_each_folder_says_what_lives_there(room):
    assert (ROOT / room / "README.md").stat().st_size > 200
