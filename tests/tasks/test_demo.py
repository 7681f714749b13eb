"""The demonstration's measured sections: there where the scores allow them, explained where not."""

from pathlib import Path

import pytest

from equilens.catalogs.calibration_result import read_calibration
from equilens.catalogs.errors import CalibrationError
from equilens.pipeline.demo import DemoFolder, _absences, made_or_none, unless_impossible
from equilens.tasks.demo import DemoSelectionTask, demo_tasks
from equilens.tasks.engine import run_tasks


def test_a_product_that_can_not_be_made_leaves_a_reason(tmp_path):
    folder = DemoFolder(tmp_path)
    folder.calibration.write_text("of an earlier run")
    with unless_impossible(folder.calibration):
        raise CalibrationError("the scores separate the classes")
    assert not folder.calibration.exists()
    assert made_or_none(folder.calibration, read_calibration) is None
    assert _absences(folder) == ["There is no calibration: the scores separate the classes."]


def test_a_product_that_is_made_clears_the_reason(tmp_path):
    folder = DemoFolder(tmp_path)
    with unless_impossible(folder.calibration):
        raise CalibrationError("too few")
    with unless_impossible(folder.calibration):
        folder.calibration.write_text("made")
    assert made_or_none(folder.calibration, Path.read_text) == "made"
    assert _absences(folder) == []


def test_only_scores_that_allow_none_are_forgiven(tmp_path):
    with pytest.raises(OSError, match="disk"), unless_impossible(tmp_path / "product"):
        raise OSError("disk full")


def test_few_simulated_lenses_allow_no_selection_function(made, tmp_path):
    folder = DemoFolder(tmp_path)
    run_tasks([DemoSelectionTask(scores=str(made / "scores.zarr"), out=str(folder.selection))])
    assert not folder.selection.exists()
    (reason,) = _absences(folder)
    assert "selection function" in reason
    assert "lenses" in reason


def test_the_report_comes_after_all_that_is_measured(tmp_path):
    report = demo_tasks(tmp_path, n_simulated=8, seed=0)
    names = {type(task).__name__ for task in report.deps()}
    assert {
        "EvaluateTask",
        "DemoCalibrateTask",
        "DemoSelectionTask",
        "RankTask",
        "ExportTask",
        "SkyScoreTask",
    } <= names
    without = demo_tasks(tmp_path, n_simulated=8, seed=0, with_sky=False)
    assert "SkyScoreTask" not in {type(task).__name__ for task in without.deps()}
