"""Find a survey's objects: below a folder, by a glob, or from a manifest.

What is wrong with a single object becomes that object's `fault`, so that it can be counted and
named; only a source without any object is an error.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from equilens.pipeline.errors import RejectedObject, SurveyError
from equilens.pipeline.surveys.objects import ObjectRef
from equilens.pipeline.surveys.paths import outside_source

if TYPE_CHECKING:
    from equilens.pipeline.surveys.survey import Layout, Survey

MANIFEST_SUFFIXES = (".csv", ".parquet")
Match = tuple[str, str, Path]  # id, band ("" where the file holds all), path


def discover_objects(
    survey: Survey, source: Path | str, night: object | None = None
) -> Iterator[ObjectRef]:
    """The objects of `source`, in order of their paths; see `Survey.discover`."""
    path = Path(source)
    if path.suffix.lower() in MANIFEST_SUFFIXES:
        # worker processes import this file, and start in half the time without pyarrow
        from equilens.pipeline.surveys.manifests import manifest_refs

        return manifest_refs(survey, path)
    root, paths = _candidates(path)
    if night is not None:
        paths = [p for p in paths if str(night) in p.relative_to(root).parts[:-1]]
    matches = [match for p in paths if (match := match_path(survey, p)) is not None]
    if not matches:
        raise SurveyError(_nothing_found(survey, source, root, paths, night))
    return _refs(survey, root, matches)


def match_path(survey: Survey, path: Path) -> Match | None:
    """Object and band that a file holds by its name; None for other files."""
    expression, depth, tokens = _expression(survey.layout, survey.band_names)
    found = expression.fullmatch(path.name if depth == 1 else "/".join(path.parts[-depth:]))
    if found is None:
        return None
    groups = found.groupdict()
    band = tokens[groups["band"]] if groups.get("band") else ""
    return groups.get("id", ""), band, path


@lru_cache(maxsize=64)
def _expression(
    layout: Layout, bands: tuple[str, ...]
) -> tuple[re.Pattern[str], int, dict[str, str]]:
    tokens = {layout.token(band): band for band in bands}
    # the longest token first: of `i` and `ical`, the first would hide the second
    choices = "|".join(re.escape(token) for token in sorted(tokens, key=len, reverse=True))
    text = re.escape(layout.pattern)
    for field, group in (("id", r"[^/]+"), ("band", choices)):
        mark = re.escape(f"{{{field}}}")
        text = text.replace(mark, f"(?P<{field}>{group})", 1).replace(mark, f"(?P={field})")
    return re.compile(text + r"(?:\.gz|\.fz)?"), layout.pattern.count("/") + 1, tokens


def _candidates(source: Path) -> tuple[Path, list[Path]]:
    if source.is_dir():
        root = source.resolve()
        return root, list(_walk(root))
    if source.is_file():
        return source.resolve().parent, [source.resolve()]
    if not glob.has_magic(str(source)):
        raise SurveyError(
            f"source {source} does not exist; give a folder, a glob, or a .csv or .parquet manifest"
        )
    fixed = list(_before_magic(source.parts))
    root = Path(*fixed).resolve() if fixed else Path.cwd()
    found = (Path(os.path.abspath(p)) for p in glob.glob(str(source), recursive=True))
    return root, sorted(path for path in found if not path.is_dir() and path.is_relative_to(root))


def _before_magic(parts: Iterable[str]) -> Iterator[str]:
    for part in parts:
        if glob.has_magic(part):
            return
        yield part


def _walk(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def _refs(survey: Survey, root: Path, matches: list[Match]) -> Iterator[ObjectRef]:
    order = {band: index for index, band in enumerate(survey.band_names)}
    for identifier, files in _grouped(survey, matches):
        paths = dict.fromkeys(path for _, path in files)
        fault = next((f for path in paths if (f := outside_source(path, root))), None)
        files = tuple(sorted(files, key=lambda pair: order[pair[0]]))
        ref = ObjectRef(identifier, files, root=root, fault=fault)
        if survey.layout.kind == "object-cube" and fault is None:
            yield from cube_refs(survey, ref)
        else:
            yield ref


def _grouped(
    survey: Survey, matches: list[Match]
) -> Iterator[tuple[str, tuple[tuple[str, Path], ...]]]:
    """Gather the bands of each object, which may lie in one folder or in one folder a band."""
    if not any(band for _, band, _ in matches):
        for identifier, _, path in matches:
            yield identifier, tuple((band, path) for band in survey.band_names)
        return
    folders: dict[tuple[str, Path], dict[str, list[Path]]] = {}
    for identifier, band, path in matches:
        folders.setdefault((identifier, path.parent), {}).setdefault(band, []).append(path)
    objects: dict[str, list[dict[str, Path]]] = {}
    for (identifier, _), bands in folders.items():
        for copy in _copies(bands):
            known = objects.setdefault(identifier, [])
            # another folder with other bands completes an object; with the same ones repeats it
            home = next((entry for entry in known if not entry.keys() & copy.keys()), None)
            if home is None:
                known.append(copy)
            else:
                home.update(copy)
    for identifier, copies in objects.items():
        for copy in copies:
            yield identifier, tuple(copy.items())


def _copies(bands: dict[str, list[Path]]) -> list[dict[str, Path]]:
    """Files of one object in one folder; a second one (x.fits and x.fits.gz) is a second object."""
    count = max(len(paths) for paths in bands.values())
    return [
        {band: paths[k] for band, paths in bands.items() if k < len(paths)} for k in range(count)
    ]


def cube_refs(survey: Survey, ref: ObjectRef) -> Iterator[ObjectRef]:
    """The objects in a set of cubes, one a row; a single faulty one where it can not be read."""
    from equilens.pipeline.surveys.cubes import count_objects

    try:
        count = count_objects(ref)
    except RejectedObject as fault:
        yield ObjectRef(ref.id or "cube", ref.files, None, ref.columns, root=ref.root, fault=fault)
        return
    names = {"id": ref.id, "ID": ref.id.upper().replace("_", "-")}
    for index in range(count):
        identifier = survey.layout.object_id.format(index=index, **names)
        yield ObjectRef(identifier, ref.files, index, ref.columns, root=ref.root)


def _nothing_found(
    survey: Survey, source: Path | str, root: Path, paths: list[Path], night: object | None
) -> str:
    where = f"{source}" + (f", night {night}" if night is not None else "")
    seen = ", ".join(str(path.relative_to(root)) for path in paths[:3]) or "no file at all"
    return (
        f"{where}: no file named like {survey.layout.pattern!r} (survey {survey.name!r}, bands "
        f"{', '.join(survey.band_names)}); found {seen}. Choose another survey, or list the files "
        "in a CSV manifest with columns id and path"
    )
