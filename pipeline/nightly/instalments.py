"""A night's cutouts and scores, instalment by instalment: late files cost only themselves.

An instalment is what had arrived since the last run: one CutoutStore and its scores. An object
whose files changed is in a later instalment again, and an object counts only in the last one that
holds its files as they are now.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from equilens.pipeline.errors import IngestError
from equilens.pipeline.fits.primary import MAX_BYTES
from equilens.pipeline.ingest import ingest
from equilens.pipeline.nightly.discovery import Discovery
from equilens.pipeline.nightly.folders import SHORT
from equilens.pipeline.nightly.inputs import NightInputs
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.quarantine import QuarantineRow, read_quarantine, write_quarantine
from equilens.pipeline.scoring import ScoreSummary, score
from equilens.pipeline.stores import MANIFEST, CutoutStore
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.survey import Survey

PLAN = "plan.parquet"
QUARANTINE = "quarantine.csv"


@dataclass(frozen=True)
class InstalmentSurvey(Survey):
    """A survey of which only some objects are found."""

    whole: Survey | None = None
    refs: tuple[ObjectRef, ...] = field(default=(), repr=False, compare=False)

    @classmethod
    def of(cls, survey: Survey, refs: tuple[ObjectRef, ...]) -> InstalmentSurvey:
        """`survey`, of which `refs` are found."""
        same = {entry.name: getattr(survey, entry.name) for entry in fields(Survey)}
        return cls(**same, whole=survey, refs=refs)

    def discover(self, source: Path | str, night: object | None = None) -> Iterator[ObjectRef]:
        """The chosen objects, wherever they are looked for."""
        return iter(self.refs)

    def read(self, ref: ObjectRef, max_bytes: int = MAX_BYTES) -> RawCutout:
        """As the whole survey does."""
        assert self.whole is not None
        return self.whole.read(ref, max_bytes)

    def __reduce__(self) -> tuple[Any, ...]:
        # workers only read: they need not be sent the list of all objects with every batch
        return InstalmentSurvey.of, (self.whole, ())


@dataclass(frozen=True)
class Instalment:
    """One instalment on disk.

    Attributes
    ----------
    folder : of the survey's cutouts of the night
    number : from 0
    stamps : of its objects, when they were ingested
    """

    folder: Path
    number: int
    stamps: dict[str, str]

    @property
    def cutouts(self) -> Path:
        return self.folder / f"{self.number:03d}.zarr"

    def scores(self, model_sha256: str) -> Path:
        """Scores of one network."""
        return self.folder / f"{self.number:03d}.scores-{model_sha256[:SHORT]}.zarr"

    @property
    def all_rejected(self) -> Path:
        """Quarantine table of an instalment that has no usable object."""
        return self.folder / f"{self.number:03d}.rejected.csv"

    @property
    def is_ingested(self) -> bool:
        return (self.cutouts / MANIFEST).exists() or self.all_rejected.exists()

    @property
    def has_cutouts(self) -> bool:
        return (self.cutouts / MANIFEST).exists()

    def rejected(self, model_sha256: str) -> list[QuarantineRow]:
        """Everything that ingest and scoring put into quarantine."""
        if self.all_rejected.exists():
            return read_quarantine(self.all_rejected)
        return read_quarantine(self.scores(model_sha256) / QUARANTINE)


def read_plan(folder: Path) -> list[Instalment]:
    """The instalments there are, in order; none before the first run."""
    file = folder / PLAN
    if not file.exists():
        return []
    table = pq.read_table(file)
    stamps: dict[int, dict[str, str]] = {}
    columns = (table[name].to_pylist() for name in ("instalment", "id", "stamp"))
    for number, name, stamp in zip(*columns, strict=True):
        stamps.setdefault(number, {})[name] = stamp
    return [Instalment(folder, number, stamps[number]) for number in sorted(stamps)]


def plan_instalments(folder: Path, discovery: Discovery) -> list[Instalment]:
    """Put what no finished instalment holds as it is now into a new one, and write the plan."""
    finished = [part for part in read_plan(folder) if part.is_ingested]
    held = current_instalment(finished, discovery)
    rest = {name: stamp for name, stamp in discovery.stamps.items() if name not in held}
    if rest:
        number = max((part.number for part in finished), default=-1) + 1
        finished.append(Instalment(folder, number, rest))
        _write_plan(folder, finished)
    return finished


def current_instalment(parts: list[Instalment], discovery: Discovery) -> dict[str, int]:
    """For each object, the number of the last instalment that holds its files as they are now."""
    return {
        name: part.number
        for part in parts
        for name, stamp in part.stamps.items()
        if discovery.stamps.get(name) == stamp
    }


def ingest_instalment(part: Instalment, inputs: NightInputs) -> int:
    """Ingest one instalment, if that was not done; returns how many objects were read.

    A store that a crash left unfinished is begun anew, one that no longer matches its checksums is
    made again. Sightings are not merged yet: another instalment may hold a better one.
    """
    if part.all_rejected.exists() or (part.has_cutouts and not _is_damaged(part, inputs)):
        return 0
    refs = tuple(ref for ref in inputs.discovery.refs if ref.id in part.stamps)
    try:
        found = ingest(
            "the night's files",
            InstalmentSurvey.of(inputs.survey, refs),
            part.cutouts,
            replace=True,
            workers=inputs.config.compute.workers,
            merge_radius_arcsec=0,
        )
    except IngestError:
        table = part.cutouts / QUARANTINE
        if not table.exists():
            raise
        rows = read_quarantine(table)
        shutil.rmtree(part.cutouts)
        write_quarantine(part.all_rejected, rows)
        return len(refs)
    return found.n_found


def score_instalment(part: Instalment, inputs: NightInputs) -> ScoreSummary | None:
    """Score what is not scored yet; None where there is nothing that could be."""
    if not part.has_cutouts:
        return None
    compute = inputs.config.compute
    return score(
        part.cutouts,
        inputs.weights,
        part.scores(inputs.model_sha256),
        replace=True,
        scheduler=compute.scheduler,
        workers=compute.workers,
        device=compute.device,
    )


def _is_damaged(part: Instalment, inputs: NightInputs) -> bool:
    """Whether pixels changed on disk; asked only where they are still to be scored."""
    if (part.scores(inputs.model_sha256) / MANIFEST).exists():
        return False
    return bool(CutoutStore(part.cutouts).verify())


def _write_plan(folder: Path, parts: list[Instalment]) -> None:
    rows = [(part.number, name, stamp) for part in parts for name, stamp in part.stamps.items()]
    names = ("instalment", "id", "stamp")
    table = pa.table({name: [row[k] for row in rows] for k, name in enumerate(names)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(folder / PLAN, sink.getvalue().to_pybytes())
