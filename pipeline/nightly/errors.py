"""Errors of a night."""

from equilens.pipeline.errors import PipelineError


class NightError(PipelineError):
    """A night that can not be run, or not be finished."""


class NightConfigError(NightError):
    """A configuration of nights that can not be used as it stands."""


class EmptyNight(NightError):
    """A night without a single object: nothing has arrived yet, or nothing was observed."""
