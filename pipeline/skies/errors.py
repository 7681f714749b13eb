"""Errors that a user of simulated skies can meet."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType

from equilens.pipeline.errors import PipelineError


class SkyError(PipelineError):
    """A sky that can not be simulated as asked."""


class MissingExtraError(SkyError):
    """A package that only the extra `skies` brings."""


def needs(names: Sequence[str], purpose: str) -> list[ModuleType]:
    """Import modules of the extra `skies`.

    Raises
    ------
    MissingExtraError
        One is not installed.
    """
    try:
        return [import_module(name) for name in names]
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs {error.name or names[0]}: install it with "
            f"pip install 'equilens[skies]'"
        ) from error
