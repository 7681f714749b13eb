"""A challenge's submission, from a folder of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equilens.catalogs.truth import read_truth
from equilens.pipeline.challenge import (
    SOURCE,
    SUMMARY,
    SURVEYS,
    folder_state,
    same_run,
    write_challenge_products,
)
from equilens.pipeline.challenge_key import keyed_survey
from equilens.pipeline.ingest import ingest
from equilens.pipeline.provenance import sha256_file, write_json_atomic
from equilens.pipeline.surveys.registry import get_survey
from equilens.tasks.engine import ObjectParameter, RemadeTask, luigi
from equilens.tasks.errors import TaskError
from equilens.tasks.ingest import IngestTask
from equilens.tasks.score import ScoreTask


class ChallengeIngestTask(IngestTask):
    """Ingest a challenge's folder; the cutouts of other files are neither used nor overwritten."""

    def complete(self) -> bool:
        """Whether the cutouts are there, and the files are still those that they came from."""
        return self.made or (super().complete() and same_run(self._run(), self.state()))

    def make(self) -> None:
        """Ingest, then note from which files."""
        if not self.replace and self.output().exists():
            raise TaskError(
                f"{self._run()} holds a run of other files, or of files that changed since: "
                "add --replace, or choose another --out"
            )
        self.read_files()
        write_json_atomic(self._run() / SOURCE, self.state())

    def read_files(self) -> None:
        """Fill the store."""
        super().make()

    def state(self) -> dict[str, Any]:
        """What the store was made from."""
        return folder_state(self.source)

    def _run(self) -> Path:
        return Path(self.out).parent


class LabelledIngestTask(ChallengeIngestTask):
    """Ingest a challenge's folder with the labels of its key, to train on."""

    key = luigi.Parameter()

    def read_files(self) -> None:
        """Fill the store; what lacks an image or a label goes to quarantine."""
        ingest(
            self.source,
            keyed_survey(get_survey(self.survey), read_truth(self.key)),
            self.out,
            replace=self.replace,
            workers=self.workers,
            progress=self.progress,
        )

    def state(self) -> dict[str, Any]:
        """What the store was made from: also the key."""
        return {**folder_state(self.source), "key": sha256_file(self.key)}


class ChallengeTask(RemadeTask):
    """Write the submission of scored cutouts, and measure it where the key is known.

    Made anew each time: it is quick, and the key may be another one.
    """

    cutouts = luigi.Parameter()
    scores = luigi.Parameter()
    out = luigi.Parameter()
    truth = luigi.OptionalParameter(default=None)
    image_set = luigi.OptionalParameter(default=None)
    missing_as_lowest = luigi.BoolParameter(default=False)
    progress = ObjectParameter()

    def output(self) -> luigi.LocalTarget:
        """The summary, written last."""
        return luigi.LocalTarget(f"{self.out}/{SUMMARY}")

    def make(self) -> None:
        """Write submission, quarantine and summary."""
        write_challenge_products(
            self.cutouts,
            self.scores,
            self.out,
            self.truth,
            image_set=self.image_set,
            missing_as_lowest=self.missing_as_lowest,
        )


def challenge_tasks(
    folder: Path | str,
    image_set: str,
    out: Path | str,
    *,
    model: str,
    replace: bool = False,
    workers: int | None = None,
    progress: dict[str, Any] | None = None,
    **options: Any,
) -> ChallengeTask:
    """The whole way from a challenge's files to its submission."""
    survey, bars = SURVEYS[image_set], progress or {}
    cutouts, scores = f"{out}/cutouts.zarr", f"{out}/scores.zarr"
    ingest = ChallengeIngestTask(
        source=str(folder),
        survey=survey,
        out=cutouts,
        workers=workers,
        replace=replace,
        progress=bars.get("ingest"),
    )
    score = ScoreTask(
        cutouts=cutouts,
        models=[model],
        out=scores,
        workers=workers,
        replace=replace,
        progress=bars.get("score"),
        after=(ingest,),
    )
    return ChallengeTask(
        cutouts=cutouts,
        scores=scores,
        out=str(out),
        image_set=image_set,
        after=(score,),
        **options,
    )


def labelled_cutouts(
    folder: Path | str, image_set: str, key: Path | str, out: Path | str, **options: Any
) -> LabelledIngestTask:
    """A challenge's training set as a labelled store, ``cutouts.zarr`` in a folder."""
    return LabelledIngestTask(
        source=str(folder),
        survey=SURVEYS[image_set],
        out=f"{out}/cutouts.zarr",
        key=str(key),
        **options,
    )
