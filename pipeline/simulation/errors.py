"""Errors of the simulator."""

from equilens.pipeline.errors import PipelineError


class SimulationError(PipelineError, ValueError):
    """A simulation was asked for something that it cannot make."""
