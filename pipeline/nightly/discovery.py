"""What has arrived for a night: its objects, each with a stamp of the files it lies in.

No pixel is read. A file counts as the same while its path, size and time of change stay; a night
with late, changed or withdrawn files so has another fingerprint.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from glob import has_magic, iglob
from pathlib import Path

from equilens.pipeline.errors import SurveyError
from equilens.pipeline.nightly.config import NIGHT
from equilens.pipeline.nightly.errors import NightError
from equilens.pipeline.surveys.objects import ObjectRef
from equilens.pipeline.surveys.survey import Survey


@dataclass(frozen=True)
class Discovery:
    """The objects of a night.

    Attributes
    ----------
    refs : in the order of the survey's discovery
    stamps : id → hash of where its pixels are; an ID that appears twice has one stamp for both
    fingerprint : of all of them
    n_files : distinct ones
    n_found : objects
    listing : hash of the folder's listing, where that alone decides what is found; else ""
    """

    refs: tuple[ObjectRef, ...]
    stamps: dict[str, str]
    fingerprint: str
    n_files: int
    n_found: int
    listing: str = ""


def discover_night(survey: Survey, source: str, night: date) -> Discovery:
    """Find the objects of a night.

    Parameters
    ----------
    source : path with ``{night}`` in it, or a folder with a folder of the night's name below it

    Raises
    ------
    NightError
        The place where nights arrive is not there at all: a night without files is an empty one.
    """
    # before the objects: what arrives in between is then found as a change
    listing = list_night(survey, source, night)
    place = _place(source, night)
    named = NIGHT in source
    if named and not _holds_files(place):
        return stamped([])
    try:
        found = stamped(survey.discover(place, None if named else night.isoformat()))
    except SurveyError:
        # a folder of all nights holds none of this one; files that no survey knows are an error
        if named:
            raise
        return stamped([])
    return replace(found, listing=listing)


def list_night(survey: Survey, source: str, night: date) -> str:
    """Hash of a night's folder: names, sizes and times; "" where a folder does not say it all.

    Ten times quicker than finding objects, and enough to see that nothing changed. A manifest
    names files elsewhere, and a survey that brings its own discovery may look anywhere.

    Raises
    ------
    NightError
        The place where nights arrive is not there.
    """
    arrivals = _arrivals(source)
    if not arrivals.exists():
        raise NightError(
            f"source {source}: {arrivals} does not exist: mount it, or correct source in the "
            "configuration"
        )
    place = _place(source, night)
    own_rules = type(survey).discover is not Survey.discover
    if own_rules or NIGHT not in source or not place.is_dir():
        return ""
    digest = hashlib.sha256()
    for line in sorted(_lines(str(place.resolve()))):
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def stamped(refs: Iterable[ObjectRef]) -> Discovery:
    """A discovery of these objects."""
    files: dict[str, str] = {}
    parts: dict[str, hashlib.blake2b] = {}
    kept = tuple(refs)
    for ref in kept:
        digest = parts.setdefault(ref.id, hashlib.blake2b(digest_size=16))
        root = "" if ref.root is None else os.path.join(ref.root, "")
        for band, path in ref.files:
            name = str(path)
            if name not in files:
                files[name] = f"{name.removeprefix(root)}\0{_stamp(name)}"
            digest.update(f"{band}\0{files[name]}\0".encode(errors="surrogateescape"))
        rest = (ref.index, ref.ra, ref.dec, sorted(ref.columns.items()))
        digest.update(repr(rest).encode(errors="surrogateescape"))
    stamps = {name: digest.hexdigest() for name, digest in parts.items()}
    whole = hashlib.sha256()
    for name in sorted(stamps):
        whole.update(f"{name}\0{stamps[name]}\0".encode(errors="surrogateescape"))
    return Discovery(kept, stamps, whole.hexdigest(), len(files), len(kept))


def _place(source: str, night: date) -> Path:
    return Path(source.replace(NIGHT, night.isoformat()))


def _arrivals(source: str) -> Path:
    """The part of a source that is there before any night."""
    fixed = []
    for part in Path(source).parts:
        if NIGHT in part or has_magic(part):
            break
        fixed.append(part)
    return Path(*fixed)


def _holds_files(place: Path) -> bool:
    if has_magic(str(place)):
        return next(iglob(str(place), recursive=True), None) is not None
    return place.is_file() or any(path.is_file() for path in place.rglob("*"))


def _lines(folder: str) -> Iterable[str]:
    """Every file below a folder with its stamp; hidden ones are nobody's objects."""
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _lines(entry.path)
        else:
            yield f"{entry.path}\0{_stamp(entry.path)}\n"


def _stamp(path: str) -> str:
    try:
        facts = os.stat(path)
    except OSError:
        return "absent"
    return f"{facts.st_size}\0{facts.st_mtime_ns}"
