"""Errors of a plan."""

from equilens.pipeline.errors import PipelineError


class PlanError(PipelineError):
    """A plan that can not be made of these numbers."""


class RatesError(PlanError):
    """Rates that are missing, damaged, or of other cutouts or another device."""
