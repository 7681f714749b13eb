"""Surveys from TOML: a survey whose cutouts are plain FITS needs no code.

Every key is a field of `Survey`, `Band`, `Layout` or `MaskRule`; a key that is none is an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from equilens.pipeline.errors import SurveyError
from equilens.pipeline.surveys.survey import Band, Layout, MaskRule, Survey

LARGEST_BYTES = 2**20


def load_survey(path: Path | str) -> Survey:
    """Read a survey from a TOML file.

    Raises
    ------
    SurveyError
        If the file is missing, no TOML, or has unknown, missing or wrong keys.
    """
    try:
        # a folder or a named pipe has no size to trust
        if not Path(path).is_file():
            raise FileNotFoundError("no such file")
        with open(path, "rb") as file:
            data = file.read(LARGEST_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise SurveyError(f"survey file {path}: can not be read ({error})") from None
    if len(data) > LARGEST_BYTES:
        raise SurveyError(f"survey file {path}: over {LARGEST_BYTES} bytes; surveys take a few KB")
    return parse_survey(text, str(path))


def parse_survey(text: str, origin: str = "survey") -> Survey:
    """As `load_survey`, from the text itself; `origin` names it in errors."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SurveyError(f"{origin}: not valid TOML: {error}") from None
    try:
        return _survey(content)
    except (SurveyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SurveyError(f"{origin}: {error}") from None


def _survey(content: dict[str, Any]) -> Survey:
    values = dict(content)
    _check_keys(values, Survey, "survey")
    values["bands"] = tuple(
        _build(Band, table, f"bands[{index}]")
        for index, table in enumerate(_expect(values["bands"], list, "bands"))
    )
    layout = dict(_expect(values["layout"], dict, "layout"))
    tokens = _expect(layout.get("band_tokens", {}), dict, "layout.band_tokens")
    values["layout"] = _build(Layout, {**layout, "band_tokens": tuple(tokens.items())}, "layout")
    if "mask_rule" in values:
        rule = dict(_expect(values["mask_rule"], dict, "mask_rule"))
        if "values" in rule:
            rule["values"] = tuple(float(value) for value in rule["values"])
        values["mask_rule"] = _build(MaskRule, rule, "mask_rule")
    shape = _expect(values["shape"], list, "shape")
    if len(shape) != 2 or not all(type(side) is int for side in shape):
        raise SurveyError(f"shape must be two whole numbers [ny, nx], got {shape}")
    values["shape"] = tuple(shape)
    return Survey(**values)


def _build(kind: type, table: Any, where: str) -> Any:
    table = _expect(table, dict, where)
    _check_keys(table, kind, where)
    for key, value in table.items():
        _check_type(kind, key, value, where)
    return kind(**table)


def _check_keys(table: Mapping[str, Any], kind: type, where: str) -> None:
    allowed = {entry.name: entry for entry in fields(kind)}
    for key in table:
        if key not in allowed:
            raise SurveyError(f"{where}: unknown key {key!r}; allowed are {', '.join(allowed)}")
    missing = [
        name
        for name, entry in allowed.items()
        if entry.default is MISSING and entry.default_factory is MISSING and name not in table
    ]
    if missing:
        raise SurveyError(
            f"{where}: key {missing[0]!r} is missing; needed are {', '.join(missing)}"
        )
    for key, value in table.items():
        _check_type(kind, key, value, where)


def _check_type(kind: type, key: str, value: Any, where: str) -> None:
    # annotations are text here; only the plain ones need a check, the rest is built above
    annotation = next(entry.type for entry in fields(kind) if entry.name == key)
    expected: dict[str, type | tuple[type, ...]] = {
        "str": str,
        "int": int,
        "float": (int, float),
        "float | None": (int, float),
    }
    wanted = expected.get(str(annotation))
    if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
        raise SurveyError(f"{where}: {key} must be of type {annotation}, got {value!r}")


def _expect(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise SurveyError(f"{where} must be a {kind.__name__}, got {value!r}")
    return value
