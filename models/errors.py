"""Errors that a user of equilens.models can meet."""


class ModelError(Exception):
    """Base of all errors raised by equilens.models."""


class GroupError(ModelError, ValueError):
    """A symmetry group, or an element of one, that does not exist."""


class FieldTypeError(ModelError, ValueError):
    """A representation or field type that does not fit the group or the layer."""


class KernelError(ModelError, ValueError):
    """A kernel that cannot be built for the asked size, basis or representations."""


class InputSpecError(ModelError, ValueError):
    """An impossible input specification, or images that do not match it."""


class ArchitectureError(ModelError, ValueError):
    """An architecture name that is not known."""


class CheckpointError(ModelError, ValueError):
    """A weights file that cannot be read as what it claims to be."""


class UnsafeWeightsError(CheckpointError):
    """A weights file in a format that executes code when loaded; never opened."""


class MissingExtraError(ModelError, ImportError):
    """An optional dependency that this model needs is not installed."""


class EquivarianceError(ModelError, AssertionError):
    """A module that does not commute with its group within the tolerance."""


class ExportError(ModelError, RuntimeError):
    """An exported network that does not give the finder's logits."""


class HarmonicError(ModelError, ValueError):
    """A spherical-harmonic transform asked for degrees, grids or maps that it cannot have."""


class PixelError(ModelError, ValueError):
    """A HEALPix resolution or set of pixels that does not exist or does not fit."""
