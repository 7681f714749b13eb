"""The quarantine table: objects that could not be used, why, and what to do about it.

Its IDs let an evaluation count a rejected lens as missed, and a submission give it a score.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from equilens.pipeline.errors import PipelineError, RejectedObject
from equilens.pipeline.provenance import write_atomic

MAX_VALUE_LENGTH = 500


@dataclass(frozen=True)
class Rule:
    """A requirement on every object, and what a user can do where it is not met."""

    name: str
    remedy: str

    def broken(self, value: str, file: object = "") -> RejectedObject:
        """The rejection to raise where `value` breaks this rule."""
        return RejectedObject(self.name, value, self.remedy, file)


# the rules that reading a file can break come with the rejection that `Survey.read` raises
DUPLICATE_ID = Rule("duplicate-id", "give each object its own ID; the first one stays")
IDENTICAL_BANDS = Rule("identical-bands", "get the files anew: two bands hold the same bytes")
CONSTANT_IMAGE = Rule("constant-image", "get the file anew: a band without any variation")
ALL_MASKED = Rule("all-masked", "cut the object from a tile that covers it")
MISSING_BAND = Rule("missing-band", "add the files, or raise max_missing_bands of the survey")
BAD_ZEROPOINT = Rule("no-zeropoint", "state the zero point in the header or in the survey")
ZERO_NOISE = Rule("zero-noise", "add the noise plane: neighbouring sky pixels never differ")
UNEXPECTED_ERROR = Rule("unexpected-error", "please report this error with the file")


@dataclass(frozen=True)
class QuarantineRow:
    """One rejected object.

    Attributes
    ----------
    id : of the object
    file : at fault, from the source folder on where it lies there; "" where there is none
    rule : that it breaks, such as ``truncated``
    value : what was found
    remedy : what a user can do about it
    """

    id: str
    file: str
    rule: str
    value: str
    remedy: str

    @classmethod
    def of(
        cls, object_id: str, rejection: RejectedObject, file: str = "", root: Path | None = None
    ) -> QuarantineRow:
        """The row for a rejection.

        Parameters
        ----------
        file : stands in where the rejection names none
        root : source folder; what lies in it is named from there, as the store names its files
        """
        value = " ".join(rejection.value.split())[:MAX_VALUE_LENGTH]
        at_fault = rejection.file or file
        if root is not None and Path(at_fault).is_relative_to(root):
            at_fault = str(Path(at_fault).relative_to(root))
        return cls(object_id, at_fault, rejection.rule, value, rejection.remedy)


COLUMNS = tuple(entry.name for entry in fields(QuarantineRow))


def count_by_rule(rows: Iterable[QuarantineRow]) -> dict[str, int]:
    """Rejected objects a rule, most frequent first."""
    return dict(Counter(row.rule for row in rows).most_common())


def write_quarantine(path: Path | str, rows: Iterable[QuarantineRow]) -> None:
    """Write the table as CSV, atomically; without rows it holds its header only."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(row) for row in rows)
    write_atomic(path, text.getvalue().encode(errors="surrogateescape"))


def read_quarantine(path: Path | str) -> list[QuarantineRow]:
    """Read the table that `write_quarantine` wrote.

    Raises
    ------
    PipelineError
        If the file is no quarantine table.
    """
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise PipelineError(
            f"{path}: a quarantine table has the columns {','.join(COLUMNS)}, "
            f"got {','.join(rows[0]) if rows else 'an empty file'}"
        )
    return [QuarantineRow(*row) for row in rows[1:]]
