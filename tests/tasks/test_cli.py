"""What holds for every command: exit codes, error lines, JSON, speed of the door."""

import subprocess
import sys
import time

import pytest

from equilens.tasks.cli import FAMILIES, build_parser, main
from equilens.tasks.console import plain, quarantine_code
from equilens.tasks.errors import TaskError

COMMANDS = (
    "demo",
    "surveys",
    "ingest",
    "cut",
    "ingest-map",
    "simulate",
    "inject",
    "oracle-bound",
    "train",
    "score",
    "evaluate",
    "calibrate",
    "selection-function",
    "rank",
    "score-simulated",
    "plan",
    "challenge",
    "models",
    "export",
    "export-model",
    "show",
    "lenscat",
)


def command(*words):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "equilens.tasks.cli", *words],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_version_is_quick_and_loads_nothing_heavy():
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        done = command("--version")
        seconds.append(time.perf_counter() - started)
    assert done.returncode == 0
    assert done.stdout.startswith("equilens ")
    # a second on an idle machine; four leave room for a busy one
    assert min(seconds) < 4
    code = (
        "import sys; from equilens.tasks.cli import build_parser; build_parser(); "
        "sys.exit(bool({'torch', 'luigi', 'zarr', 'numpy', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_showing_and_exporting_take_no_torch():
    code = (
        "import sys; import equilens.pipeline.report.mosaics, equilens.pipeline.scores; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_exit_codes_reach_the_shell(tmp_path):
    wrong = command("surveys", "check", "no-such-survey")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("equilens: error: no survey is called 'no-such-survey'")
    assert wrong.stderr.count("\n") == 1
    (tmp_path / "lenses.csv").write_text("name,ra\nA,1\n")
    failed = command("lenscat", "renew", str(tmp_path / "lenses.csv"), "--out", "x.parquet")
    assert failed.returncode == 1
    assert "is not lenscat's catalog.csv" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        build_parser().parse_args([name, "--help"])
    assert exit_.value.code == 0
    assert name in capsys.readouterr().out
    assert len(FAMILIES) == len(set(FAMILIES))


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nonsense",),
        ("export-model", "no-such", "--format", "onnx", "--out", "x.onnx"),
        ("models", "check", "no-such"),
        ("simulate", "--survey", "bologna-space", "-n", "0", "--out", "x"),
        ("simulate", "--survey", "no-such", "-n", "2", "--out", "x"),
        ("ingest", "no-such-folder", "--survey", "bologna-space", "--out", "x"),
        ("ingest", ".", "--survey", "bologna-space"),
        ("ingest", ".", "--survey", "bologna-space", "--out", "x", "--tolerance", "7"),
        ("cut", ".", "--survey", "euclid-mer", "--out", "x"),
        ("ingest-map", "no-such.fits", "--out", "x"),
        ("score", "no-such.zarr", "--model", "m", "--out", "x"),
        ("evaluate", "no-such.zarr", "--out", "x"),
        ("challenge", "score", "no-such.csv", "--truth", "no-such.csv"),
        ("challenge", "run", ".", "--set", "sea", "--out", "x"),
        ("models", "--card", "no-such"),
        ("show", "1", "no-such.zarr"),
        ("lenscat", "renew", "no-such.csv", "--out", "x"),
        ("export", ".", "--out", "x.docx"),
        ("export", ".", "--out", "x.csv", "--top", "3", "--threshold", "1"),
        ("train", "--survey", "bologna-space", "--data", "no-such.zarr", "--out", "x"),
    ],
)
def test_wrong_use_is_code_2_and_one_line(equilens, words):
    code, out, err = equilens(*words)
    assert code == 2
    assert out == ""
    assert err.startswith("equilens: error: ")
    assert err.count("\n") == 1


def test_our_errors_fail_with_one_line(equilens, tmp_path, made):
    code, _, err = equilens("show", "nobody", made / "sim.zarr")
    assert (code, err.count("\n")) == (1, 1)
    assert "nobody" in err
    code, _, err = equilens("score", tmp_path, "--model", "m", "--out", tmp_path / "s.zarr")
    assert (code, err.count("\n")) == (1, 1)


def test_what_nobody_expected_asks_for_debug(equilens, monkeypatch):
    def explode(args):
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr("equilens.tasks.commands.surveys.run_list", explode)
    code, out, err = equilens("surveys", "list")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "by nought" in err
    assert "--debug" in err
    code, _, err = equilens("surveys", "list", "--debug")
    assert code == 1
    assert "Traceback" in err


def test_a_failed_task_is_exit_code_1(monkeypatch, made, capsys):
    def fail(*args, **options):
        raise TaskError("the disk is full")

    monkeypatch.setattr("equilens.tasks.evaluate.evaluate", fail)
    assert main(["evaluate", str(made / "scores.zarr"), "--out", "x"]) == 1
    assert capsys.readouterr().err == "equilens: error: the disk is full\n"


@pytest.mark.parametrize(
    ("n_rejected", "n_all", "tolerance", "code"),
    [(0, 0, 0.05, 0), (1, 20, 0.05, 0), (2, 20, 0.05, 3), (1, 2000, 0.0, 3), (20, 20, 1.0, 0)],
)
def test_tolerance(n_rejected, n_all, tolerance, code):
    assert quarantine_code(n_rejected, n_all, tolerance) == code


def test_json_holds_no_nan():
    numpy = pytest.importorskip("numpy")
    values = {"a": float("nan"), "b": numpy.float32(2), "c": numpy.array([1, numpy.inf])}
    assert plain(values) == {"a": None, "b": 2.0, "c": [1.0, None]}
