"""Errors that a user of equilens.catalogs can meet."""


class CatalogError(Exception):
    """Base of all errors raised by equilens.catalogs."""


class ScoreError(CatalogError):
    """Labels or scores that no metric can be computed from."""


class TruthError(CatalogError):
    """A truth key that can not be read without guessing."""


class SubmissionError(CatalogError):
    """A submission that can not be read, or does not fit its truth key."""


class SchemaError(CatalogError):
    """Columns that do not make a candidate catalogue."""


class ExportError(CatalogError):
    """A table that can not be written in, or read from, the format asked for."""


class PositionError(CatalogError):
    """Sky positions or radii out of their range."""


class CalibrationError(CatalogError):
    """Scores that no calibration fits, or a calibration of another network."""


class SelectionError(CatalogError):
    """Lenses that no selection function fits, or a table it can not be evaluated for."""
