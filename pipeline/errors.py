"""Errors that a user of equilens.pipeline can meet."""


class PipelineError(Exception):
    """Base of all errors raised by equilens.pipeline."""


class StoreError(PipelineError):
    """A store is missing, incomplete, of another kind, or would be overwritten."""


class SurveyError(PipelineError):
    """A survey definition, or the plugin that brings it, is not usable."""


class RejectedObject(PipelineError):
    """One object can not be used; ingest writes it as a row of the quarantine table.

    Attributes
    ----------
    rule : short name of the requirement that failed, such as ``truncated``
    value : what was found
    remedy : what a user can do about it
    file : the file at fault; "" where there is none
    """

    def __init__(self, rule: str, value: str, remedy: str, file: object = "") -> None:
        self.rule = rule
        self.value = value
        self.remedy = remedy
        self.file = str(file)
        super().__init__(f"{self.file or 'object'}: {rule}: {value}; {remedy}")

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        """Workers send rejections back; an exception pickles by `args` otherwise."""
        return type(self), (self.rule, self.value, self.remedy, self.file)

    def at(self, file: object) -> "RejectedObject":
        """The same rejection, naming the file, where it did not name one yet."""
        return RejectedObject(self.rule, self.value, self.remedy, self.file or file)


class SkyMapError(PipelineError):
    """A sky map, or what was asked of it, is not usable."""


class MapFileError(SkyMapError):
    """The file is not a whole FITS file with one HEALPix table."""


class MapStatementError(SkyMapError):
    """Frame, units, ordering or nside are unstated, unknown, or stated in two ways."""


class MapPixelError(SkyMapError):
    """The pixels do not make up one HEALPix sky."""


class MapFrameError(SkyMapError):
    """A value that depends on the frame's axes was asked for along other axes."""


class TrainingError(PipelineError):
    """A training set, configuration or interrupted run that cannot be trained on."""


class ScoringError(PipelineError):
    """A store that a network cannot score, or scores that cannot be written."""


class EvaluationError(PipelineError):
    """Scores and truth that cannot be compared."""


class DomainError(ScoringError):
    """Cutouts that the asked network was not made for."""


class IngestError(PipelineError):
    """An ingest that can not run, or that accepted no object at all."""
