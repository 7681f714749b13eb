"""Types of command-line arguments: what is wrong with them is wrong use, exit code 2."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    from equilens.pipeline.surveys.survey import Survey


def existing_path(text: str) -> Path:
    """A file or folder that is there."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text} does not exist")
    return path


def existing_file(text: str) -> Path:
    """A file that is there."""
    path = existing_path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"{text} is a folder, a file is needed")
    return path


def share(text: str) -> float:
    """A number from 0 to 1."""
    return _number(text, float, 0, 1)


def positive(text: str) -> int:
    """A whole number from 1."""
    return int(_number(text, int, 1, float("inf")))


def positive_float(text: str) -> float:
    """A number above 0."""
    return _number(text, float, 5e-324, float("inf"))


def _number(text: str, kind: type, low: float, high: float) -> float:
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no {kind.__name__}") from None
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text} must lie between {low} and {high}")
    return value


def known_survey(name_or_toml: str) -> Survey:
    """The survey that the command line names.

    Raises
    ------
    UsageError
        If there is none of that name, or it does not load.
    """
    from equilens.pipeline.errors import SurveyError
    from equilens.pipeline.surveys.registry import get_survey

    try:
        return get_survey(name_or_toml)
    except SurveyError as error:
        raise UsageError(str(error)) from error


def known_model(name_or_path: str) -> str:
    """The network that the command line names; whether it can be used is the guard's to say.

    Raises
    ------
    UsageError
        If there is none, or more than one.
    """
    from equilens.models.errors import CheckpointError
    from equilens.models.user_models import find_model

    try:
        find_model(name_or_path)
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    return name_or_path


def batch_size(text: str) -> int:
    """A power of two up to 256."""
    value = positive(text)
    if value > 256 or value & (value - 1):
        raise argparse.ArgumentTypeError(f"{text} is no power of two up to 256")
    return value


def add_scored_truth(parser: argparse.ArgumentParser, also: str = "") -> None:
    """Declare a ScoreStore, and ``--truth`` for its objects.

    Parameters
    ----------
    also : what the key should hold beside IDs and labels
    """
    parser.add_argument("scores", type=existing_path, metavar="SCORES.zarr")
    holds = f"IDs, is_lens and {also}" if also else "IDs and is_lens"
    parser.add_argument(
        "--truth",
        type=existing_file,
        metavar="KEY",
        help=f"key with {holds}; by default the truth that a simulated store carries",
    )


def add_missing_as_lowest(parser: argparse.ArgumentParser) -> None:
    """Declare ``--missing-as-lowest``."""
    parser.add_argument(
        "--missing-as-lowest",
        action="store_true",
        help="count objects of the key that have no score as missed",
    )


def add_tolerance(parser: argparse.ArgumentParser) -> None:
    """Declare ``--tolerance``."""
    parser.add_argument(
        "--tolerance",
        type=share,
        default=0.05,
        metavar="SHARE",
        help="quarantined share above which the exit code is 3 (default 0.05)",
    )


def settings_file(path: Path | None) -> dict[str, Any]:
    """The tables of a TOML file of settings; none without a file.

    Raises
    ------
    UsageError
        It is no TOML file.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML file: {error}") from error
