"""Errors that a user of equilens.pipeline.masses can meet."""

from equilens.pipeline.errors import PipelineError, SkyMapError


class ShearError(SkyMapError):
    """A store that holds no usable shear."""


class PriorError(PipelineError):
    """Spectra that are no prior of the convergence of these skies."""


class WienerError(PipelineError):
    """A Wiener filter that did not converge, or that was asked for the impossible."""


class HaloFilterError(PipelineError):
    """Halo profiles or filter scales that no matched filter can be built of."""


class PeakError(PipelineError):
    """Maps that no peaks can be found in, or peaks of another sky."""


class SpectrumError(SkyMapError):
    """A map that has no unambiguous angular power spectrum."""


class SkyEvaluationError(PipelineError):
    """Mass maps, peaks, skies and truths that do not belong together."""
