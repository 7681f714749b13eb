"""From survey files to a CutoutStore: the whole of an ingest, in one function."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace as replace_fields
from itertools import chain, islice
from pathlib import Path

from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.errors import IngestError
from equilens.pipeline.ingest.batches import Outcome, read_each
from equilens.pipeline.ingest.merging import (
    MergedRow,
    Sightings,
    merge_sightings,
    write_merged,
)
from equilens.pipeline.ingest.plan import duplicate, plan
from equilens.pipeline.ingest.summary import IngestSummary
from equilens.pipeline.ingest.workers import IN_PROCESS_BELOW, read_here, read_there
from equilens.pipeline.quarantine import (
    QuarantineRow,
    count_by_rule,
    write_quarantine,
)
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.surveys.objects import ObjectRef
from equilens.pipeline.surveys.survey import Survey
from equilens.pipeline.surveys.tiles import CutPlan, cut_tile, plan_cuts

DEFAULT_MERGE_RADIUS_ARCSEC = 0.5
DEFAULT_TOLERANCE = 0.05
QUARANTINE_FILE = "quarantine.csv"
MERGED_FILE = "merged.csv"

Progress = Callable[[int, int | None], None]


def ingest(
    source: Path | str,
    survey: Survey,
    out: Path | str,
    *,
    replace: bool = False,
    workers: int | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    dry_run: bool = False,
    progress: Progress | None = None,
    merge_radius_arcsec: float = DEFAULT_MERGE_RADIUS_ARCSEC,
    night: object | None = None,
    positions: Path | str | None = None,
) -> IngestSummary:
    """Read, calibrate and store the objects of a survey; one bad object never stops the rest.

    The store holds two tables beside its arrays: ``quarantine.csv``, a row for each rejected
    object, and ``merged.csv``, a row for each object that another sighting of it stands for.
    Objects keep the order in which they were found, whatever the number of workers.

    Parameters
    ----------
    source : folder, glob, file, or a CSV or Parquet manifest
    survey : what the files are
    out : path of the store
    replace : overwrite a finished store
    workers : processes that read; all cores by default. They are spawned: a script that calls
        this with more than a few hundred objects needs ``if __name__ == "__main__":``
    tolerance : largest share of rejected objects that counts as a success; see the summary's
        `within_tolerance`
    dry_run : judge names, sizes and headers only, and write nothing
    progress : called with the number of objects done, and the number of all where that is known
    merge_radius_arcsec : two objects of different files within it are one, seen twice; 0 for never
    night : take only files with a folder of this name above them
    positions : CSV or Parquet table with id, ra and dec: `source` holds tiles to cut these from

    Raises
    ------
    IngestError
        If nothing was found, or everything was rejected.
    StoreError
        If the store exists and `replace` is not set, or another process writes it.
    SurveyError
        If there is nothing to read at all.
    """
    started = time.perf_counter()
    cuts = None if positions is None else plan_cuts(survey, source, positions)
    refs = _found(survey, source, night) if cuts is None else _planned(cuts)
    if dry_run:
        return plan(survey, refs, tolerance)[0]
    run = _Run(survey, refs, progress)
    with CutoutWriter(
        out,
        survey=survey.name,
        bands=survey.band_names,
        shape=survey.shape,
        config={"survey_version": survey.version, "merge_radius_arcsec": merge_radius_arcsec},
        replace=replace,
    ) as writer:
        run.fill(writer, _n_cores() if workers is None else workers, cuts)
        run.merge(writer, merge_radius_arcsec)
        run.finish(writer, str(source))
        n_objects = writer.n_objects
    return IngestSummary(
        survey=survey.name,
        n_found=run.n_found,
        n_objects=n_objects,
        n_quarantined=len(run.rejected),
        n_merged=len(run.merged),
        by_rule=count_by_rule(run.rejected),
        n_bytes_read=sum(run.n_bytes.values()),
        n_bytes_written=_folder_bytes(writer.path),
        seconds=time.perf_counter() - started,
        tolerance=tolerance,
        store=writer.path,
        quarantine=writer.path / QUARANTINE_FILE,
    )


def _found(survey: Survey, source: Path | str, night: object | None) -> Iterator[ObjectRef]:
    refs = iter(survey.discover(source, night))
    first = next(refs, None)
    if first is None:
        raise IngestError(f"no object of survey {survey.name!r} in {source}: check both")
    return chain([first], refs)


class _Run:
    """One ingest on its way: what was found, rejected and merged so far."""

    def __init__(
        self, survey: Survey, refs: Iterator[ObjectRef], progress: Progress | None
    ) -> None:
        self.survey, self.progress = survey, progress
        self.head = list(islice(refs, IN_PROCESS_BELOW))
        self.total = len(self.head) if len(self.head) < IN_PROCESS_BELOW else None
        self.refs = chain(self.head, refs)
        self.rejected: list[QuarantineRow] = []
        self.merged: list[MergedRow] = []
        self.sightings = Sightings.none()
        self.n_bytes: dict[str, int] = {}
        self.n_found = self.n_done = 0

    def fill(self, writer: CutoutWriter, workers: int, cuts: CutPlan | None) -> None:
        """Read every object into the store."""
        columns = tuple(self.head[0].columns)
        if cuts is not None:
            batches = read_here(self.survey, self._cut(cuts), columns)
        elif self.total is not None or workers <= 1:
            batches = read_here(self.survey, read_each(self.survey, self._unique()), columns)
        else:
            batches = read_there(self.survey, self._unique(), columns, workers)
        # where writing fails, workers end here and not with the interpreter
        with closing(batches):
            for result, batch in batches:
                writer.append(batch)
                self.rejected += result.rejected
                self.sightings.add(result.facts, result.n_masked)
                self.n_bytes |= result.n_bytes
                self.n_done += len(result) + len(result.rejected)
                if self.progress is not None:
                    self.progress(self.n_done, self.total)

    def merge(self, writer: CutoutWriter, radius_arcsec: float) -> None:
        """Let the better sighting of each object stand for the others."""
        gone, kept, self.merged = merge_sightings(self.sightings, radius_arcsec)
        writer.add_flag(kept, CutoutFlag.MERGED_DUPLICATE)
        writer.drop(gone)

    def finish(self, writer: CutoutWriter, source: str) -> None:
        """Write the tables of what is not in the store, and refuse a store without objects."""
        write_quarantine(writer.path / QUARANTINE_FILE, self.rejected)
        write_merged(writer.path / MERGED_FILE, self.merged)
        if not writer.n_objects:
            rules = ", ".join(f"{n} {rule}" for rule, n in count_by_rule(self.rejected).items())
            raise IngestError(
                f"all {self.n_found} objects of {source} were rejected ({rules}): "
                f"see {writer.path / QUARANTINE_FILE}"
            )
        writer.record(
            n_found=self.n_found,
            n_quarantined=len(self.rejected),
            n_merged=len(self.merged),
        )

    def _unique(self) -> Iterator[ObjectRef]:
        """References in order; one whose ID came before carries that as its fault."""
        seen: set[str] = set()
        for ref in self.refs:
            self.n_found += 1
            if ref.id in seen and ref.fault is None:
                ref = replace_fields(ref, fault=duplicate(ref))
            seen.add(ref.id)
            yield ref

    def _cut(self, cuts: CutPlan) -> Iterator[Outcome]:
        """Objects of a cut plan, tile by tile."""
        seen: set[str] = set()
        cut = chain.from_iterable(cut_tile(self.survey, part) for part in cuts.cuts)
        for ref, outcome in chain(cut, read_each(self.survey, cuts.uncovered)):
            self.n_found += 1
            yield ref, duplicate(ref) if ref.id in seen else outcome
            seen.add(ref.id)


def _planned(cuts: CutPlan) -> Iterator[ObjectRef]:
    return chain(*(part.objects for part in cuts.cuts), cuts.uncovered)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _folder_bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
