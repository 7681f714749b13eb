"""What an ingest would do: objects, bytes and expected failures, from names, sizes and headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import BLOCK, MAX_HEADER_BYTES, Cards
from equilens.pipeline.fits.primary import NotPlain, check_size, header_span, layout_of
from equilens.pipeline.ingest.summary import IngestSummary
from equilens.pipeline.quarantine import DUPLICATE_ID, MISSING_BAND, QuarantineRow, count_by_rule
from equilens.pipeline.surveys.objects import ObjectRef
from equilens.pipeline.surveys.survey import Survey

_FITS, _GZIP = b"SIMPLE", b"\x1f\x8b"
# most headers of cutouts fit; a longer one costs a second read
_FIRST_READ = 4 * BLOCK


def plan(
    survey: Survey, refs: Iterable[ObjectRef], tolerance: float
) -> tuple[IngestSummary, list[QuarantineRow]]:
    """Judge objects without reading a pixel.

    Parameters
    ----------
    survey : that the objects belong to
    refs : as discovered
    tolerance : largest share of rejected objects that is still a success

    Returns
    -------
    The summary of a dry run, and a row for each expected failure
    """
    verdicts: dict[Path, RejectedObject | int] = {}
    seen: set[str] = set()
    rejected: list[QuarantineRow] = []
    n_found = 0
    for ref in refs:
        n_found += 1
        fault = _fault(survey, ref, seen, verdicts)
        seen.add(ref.id)
        if fault is not None:
            rejected.append(QuarantineRow.of(ref.id, fault, ref.source_file, ref.root))
    n_objects = n_found - len(rejected)
    ny, nx = survey.shape
    summary = IngestSummary(
        survey=survey.name,
        n_found=n_found,
        n_objects=n_objects,
        n_quarantined=len(rejected),
        n_merged=0,
        by_rule=count_by_rule(rejected),
        n_bytes_read=sum(size for size in verdicts.values() if isinstance(size, int)),
        # before compression: float32 pixels and one bit of mask each
        n_bytes_written=n_objects * len(survey.bands) * ny * (4 * nx + -(-nx // 8)),
        tolerance=tolerance,
        dry_run=True,
    )
    return summary, rejected


def _fault(
    survey: Survey, ref: ObjectRef, seen: set[str], verdicts: dict[Path, RejectedObject | int]
) -> RejectedObject | None:
    if ref.fault is not None:
        return ref.fault
    if ref.id in seen:
        return duplicate(ref)
    lacking = [name for name in survey.band_names if name not in dict(ref.files)]
    faults = []
    for path in dict.fromkeys(path for _, path in ref.files):
        if path not in verdicts:
            verdicts[path] = _judge(path)
        if isinstance(verdict := verdicts[path], RejectedObject):
            faults.append(verdict)
    if faults:
        return faults[0]
    if survey.layout.kind == "file-per-band" and len(lacking) > survey.max_missing_bands:
        return MISSING_BAND.broken(f"no file for {', '.join(lacking)}", ref.source_file)
    return None


def duplicate(ref: ObjectRef) -> RejectedObject:
    """The fault of a reference whose ID appeared before."""
    return DUPLICATE_ID.broken(f"ID {ref.id!r} appeared before", ref.source_file)


def _judge(path: Path) -> RejectedObject | int:
    """Size of a file that looks sound, else what is wrong with it."""
    try:
        with open(path, "rb") as file:
            size = path.stat().st_size
            for _ in _walk(file, size):
                pass
            return size
    except RejectedObject as fault:
        return fault.at(path)
    except OSError as error:
        text = error.strerror or str(error)
        return RejectedObject("missing-file", text, "restore the file, or its permissions", path)


def _walk(file: BinaryIO, size: int) -> Iterator[int]:
    """Offsets of the HDUs, each checked against the size; ends where astropy has to read on."""
    magic = file.read(6)
    if magic[:2] == _GZIP:
        return
    if magic != _FITS:
        raise RejectedObject("not-fits", f"begins with {magic!r}", "give a FITS file")
    start = 0
    while start < size:
        head = _read_at(file, start, _FIRST_READ)
        if start and not head.startswith(b"XTENSION"):
            return
        cards, end = _header(file, head, start)
        try:
            layout = layout_of(cards)
        except NotPlain:
            return
        check_size(layout, start + end, size)
        yield start
        start += end + layout.n_padded


def _header(file: BinaryIO, head: bytes, start: int) -> tuple[Cards, int]:
    """Cards of the header at `start`, and its length."""
    try:
        last, end = header_span(head)
    except RejectedObject:
        if len(head) < _FIRST_READ:
            raise
        head = _read_at(file, start, MAX_HEADER_BYTES + BLOCK)
        last, end = header_span(head)
    return Cards.from_bytes(head[:last]), end


def _read_at(file: BinaryIO, start: int, n_bytes: int) -> bytes:
    file.seek(start)
    return file.read(n_bytes)
