"""Surveys by name: every installed package may bring some through an entry point.

Group ``equilens.surveys``; an entry is a `Survey` or a function that returns one.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from equilens.pipeline.errors import SurveyError
from equilens.pipeline.surveys.loading import load_survey
from equilens.pipeline.surveys.survey import Survey

GROUP = "equilens.surveys"
OWN_DISTRIBUTION = "equilens"


@dataclass(frozen=True)
class SurveyEntry:
    """One registered survey, or why it can not be used.

    Attributes
    ----------
    name : of the entry point
    origin : distribution that brings it
    survey : None where loading failed
    error : why; "" where it did not
    """

    name: str
    origin: str
    survey: Survey | None
    error: str = ""


def list_surveys() -> tuple[SurveyEntry, ...]:
    """All registered surveys by name; a broken plugin is an entry with its error."""
    shown = [_load(point) for point in _points()]
    taken = [
        SurveyEntry(point.name, _origin(point), None, f"{OWN_DISTRIBUTION} has a survey so named")
        for point in entry_points(group=GROUP)
        if _origin(point) != OWN_DISTRIBUTION
        and any(entry.name == point.name and entry.origin == OWN_DISTRIBUTION for entry in shown)
    ]
    return tuple(sorted((*shown, *taken), key=lambda entry: entry.name))


def get_survey(name_or_path: str | Path) -> Survey:
    """The survey of that name, or the one that a ``.toml`` file defines.

    Raises
    ------
    SurveyError
        If there is none, or it does not load.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        return load_survey(text)
    points = _points()
    for point in points:
        if point.name == text:
            entry = _load(point)
            if entry.survey is None:
                raise SurveyError(f"survey {text!r} from {entry.origin}: {entry.error}")
            return entry.survey
    raise SurveyError(
        f"no survey is called {text!r}: known are {', '.join(point.name for point in points)}; "
        "or give the path of a .toml file"
    )


def _points() -> list[EntryPoint]:
    found: dict[str, EntryPoint] = {}
    # an editable install can be listed twice; the first of a name counts, as on sys.path, but no
    # plugin takes the name of a survey that is in the tree
    points = entry_points(group=GROUP)
    for point in sorted(points, key=lambda point: _origin(point) != OWN_DISTRIBUTION):
        found.setdefault(point.name, point)
    return sorted(found.values(), key=lambda point: point.name)


def _origin(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "?"


def _load(point: EntryPoint) -> SurveyEntry:
    origin = _origin(point)
    try:
        loaded = point.load()
        survey = loaded() if callable(loaded) else loaded
    # whatever a foreign plugin raises, it is that plugin's row in the list and no one else's
    except Exception as error:
        return SurveyEntry(point.name, origin, None, f"{type(error).__name__}: {error}")
    if not isinstance(survey, Survey):
        return SurveyEntry(point.name, origin, None, f"gives a {type(survey).__name__}, no Survey")
    if survey.name != point.name:
        message = f"survey calls itself {survey.name!r}: both names must agree"
        return SurveyEntry(point.name, origin, None, message)
    return SurveyEntry(point.name, origin, survey)
