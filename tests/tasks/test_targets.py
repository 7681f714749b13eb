import json
import shutil

import pytest

from equilens.tasks.engine import ProductTask, RemadeTask, luigi, run_tasks
from equilens.tasks.errors import TaskError
from equilens.tasks.targets import ManifestTarget


class WriteTask(ProductTask):
    path = luigi.Parameter()
    text = luigi.Parameter(default="made")

    def output(self):
        return luigi.LocalTarget(self.path)

    def make(self):
        with self.output().open("w") as file:
            file.write(self.text)


class CountingTask(RemadeTask):
    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path)

    def make(self):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write("made ")


class FailingTask(ProductTask):
    path = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(self.path)

    def make(self):
        raise TaskError("the disk is on fire")


class UnplannableTask(WriteTask):
    def complete(self):
        raise RuntimeError("no way to tell")


def test_a_store_exists_once_its_manifest_does(work):
    target = ManifestTarget(work / "sim.zarr", "cutouts")
    assert target.exists()
    (work / "sim.zarr" / "_manifest.json").unlink()
    assert (work / "sim.zarr" / "zarr.json").exists()
    assert not target.exists()


def test_a_torn_manifest_is_no_manifest(work):
    manifest = work / "sim.zarr" / "_manifest.json"
    manifest.write_bytes(manifest.read_bytes()[:100])
    assert not ManifestTarget(work / "sim.zarr", "cutouts").exists()


def test_a_store_of_another_kind_or_content_is_another_target(made):
    path = made / "sim.zarr"
    assert not ManifestTarget(path, "scores").exists()
    assert ManifestTarget(path, "cutouts", {"config.seed": 1, "survey": "bologna-space"}).exists()
    assert not ManifestTarget(path, "cutouts", {"config.seed": 2}).exists()
    assert not ManifestTarget(path, "cutouts", {"config.seed.deeper": 1}).exists()


def test_no_store_is_no_target(tmp_path):
    assert not ManifestTarget(tmp_path / "absent.zarr", "cutouts").exists()


def test_a_finished_product_is_left_alone_unless_it_is_to_be_replaced(tmp_path):
    path = tmp_path / "product"
    run_tasks([WriteTask(path=str(path), text="first")])
    run_tasks([WriteTask(path=str(path), text="second")])
    assert path.read_text() == "first"
    for _ in range(2):
        path.write_text("old")
        run_tasks([WriteTask(path=str(path), text="third", replace=True)])
        assert path.read_text() == "third"


def test_a_remade_product_is_made_once_in_every_run(tmp_path):
    path = tmp_path / "product"
    path.write_text("old ")
    for _ in range(2):
        first = CountingTask(path=str(path))
        run_tasks([first, WriteTask(path=str(tmp_path / "after"), after=(first,), replace=True)])
    assert path.read_text() == "old made made "


def test_what_comes_after_a_failure_is_not_made_and_the_failure_is_raised(tmp_path):
    failing = FailingTask(path=str(tmp_path / "never"))
    with pytest.raises(TaskError, match="on fire"):
        run_tasks([WriteTask(path=str(tmp_path / "after"), after=(failing,))])
    assert not (tmp_path / "after").exists()


def test_a_failure_of_luigi_itself_is_an_error(tmp_path):
    with pytest.raises(TaskError, match="not every task"):
        run_tasks([UnplannableTask(path=str(tmp_path / "x"))])


def test_requirements_are_made_first(tmp_path):
    first = WriteTask(path=str(tmp_path / "first"))
    run_tasks([WriteTask(path=str(tmp_path / "second"), after=(first,))])
    made = [(tmp_path / name).stat().st_mtime_ns for name in ("first", "second")]
    assert made == sorted(made)


def test_a_damaged_block_of_scores_is_scored_again(work):
    from equilens.pipeline.scores import ScoreStore
    from equilens.tasks.score import ScoreTask

    before = ScoreStore(work / "scores.zarr").combined()
    shutil.rmtree(work / "scores.zarr" / "scores" / "c")
    run_tasks(
        [
            ScoreTask(
                cutouts=str(work / "sim.zarr"),
                models=[str(work / "untrained.safetensors")],
                out=str(work / "scores.zarr"),
            )
        ]
    )
    assert (ScoreStore(work / "scores.zarr").combined() == before).all()
    assert json.loads((work / "scores.zarr" / "_manifest.json").read_text())["n_objects"] == 48
