"""A challenge's key and its images: who lacks the other, and images that carry their label.

Real keys list objects whose images were never written, and folders hold images that the key does
not name. Neither may pass in silence: the first stay in every denominator, the second in none.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from dataclasses import replace as replace_fields
from pathlib import Path
from typing import Any

import numpy as np

from equilens.catalogs.challenge_curves import QUANTITIES
from equilens.catalogs.reading import find_column
from equilens.catalogs.truth import Truth
from equilens.pipeline.fits.primary import MAX_BYTES
from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.quarantine import QuarantineRow, Rule
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.survey import Survey

MISSING_IMAGE = Rule("missing-image", "get its files, or take its row out of the key")
NO_KEY_ROW = Rule("no-key-row", "add its row to the key: an image without a label trains nothing")
EXAMPLES = 5


@dataclass(frozen=True)
class KeyMatch:
    """How a key and a folder of images fit together.

    Attributes
    ----------
    n_key, n_images : objects of each
    without_image : IDs of the key that no file has, in the key's order
    without_row : IDs of files that the key does not name, in the files' order
    """

    n_key: int
    n_images: int
    without_image: tuple[str, ...]
    without_row: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Counts, and the first IDs of each kind; all are in the table of `write_unmatched`."""
        return {
            "n_key": self.n_key,
            "n_images": self.n_images,
            "n_without_image": len(self.without_image),
            "without_image": list(self.without_image[:EXAMPLES]),
            "n_without_row": len(self.without_row),
            "without_row": list(self.without_row[:EXAMPLES]),
        }

    def quarantine_rows(self) -> list[QuarantineRow]:
        """A row for each object of the key that no file has."""
        return [
            QuarantineRow.of(name, MISSING_IMAGE.broken("the key names it, no file does"))
            for name in self.without_image
        ]


def match_key(key_ids: Iterable[str], image_ids: Iterable[str]) -> KeyMatch:
    """Compare the IDs of a key with those of the images, as text, exactly."""
    key, images = dict.fromkeys(key_ids), dict.fromkeys(image_ids)
    return KeyMatch(
        len(key),
        len(images),
        tuple(name for name in key if name not in images),
        tuple(name for name in images if name not in key),
    )


def write_unmatched(path: Path | str, match: KeyMatch) -> None:
    """Every ID that one side lacks, as CSV; without any it holds its header only."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("id", "lacks"))
    writer.writerows((name, "image") for name in match.without_image)
    writer.writerows((name, "row in the key") for name in match.without_row)
    write_atomic(path, text.getvalue().encode(errors="surrogateescape"))


@dataclass(frozen=True)
class KeyedSurvey(Survey):
    """A survey whose objects carry their row of a key, so that a store of them can train.

    An image without a row, and a row without an image, are objects with a fault: ingest
    quarantines them.

    Attributes
    ----------
    plain : the survey that reads
    labels : by ID, the columns that each object carries; all have the same names
    """

    plain: Survey | None = None
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def discover(self, source: Path | str, night: object | None = None) -> Iterator[ObjectRef]:
        """The survey's objects with their labels, then the key's objects that have no file."""
        assert self.plain is not None
        unknown = dict.fromkeys(next(iter(self.labels.values())))
        seen = set()
        for ref in self.plain.discover(source, night):
            seen.add(ref.id)
            columns, fault = self.labels.get(ref.id, unknown), ref.fault
            if ref.id not in self.labels and fault is None:
                fault = NO_KEY_ROW.broken("the key has no such ID", ref.source_file)
            yield replace_fields(ref, columns={**ref.columns, **columns}, fault=fault)
        for name, columns in self.labels.items():
            if name not in seen:
                fault = MISSING_IMAGE.broken("the key names it, no file does")
                yield ObjectRef(name, (), columns=columns, fault=fault)

    def read(self, ref: ObjectRef, max_bytes: int = MAX_BYTES) -> RawCutout:
        """Read as the survey does."""
        assert self.plain is not None
        return self.plain.read(ref, max_bytes)

    def __reduce__(self) -> tuple[Callable[[Survey], Survey], tuple[Survey | None]]:
        """Worker processes only read: a key of 100,000 rows need not travel with each batch."""
        return _itself, (self.plain,)


def _itself(survey: Survey) -> Survey:
    return survey


def keyed_survey(survey: Survey, truth: Truth) -> KeyedSurvey:
    """The survey with ``is_lens`` and the quantities that a key gives as columns of its objects."""
    names = {"is_lens": truth.is_lens.astype(np.int64).tolist()}
    for quantity in QUANTITIES:
        column = find_column(truth.columns, quantity.key_columns)
        if column is not None and truth.columns[column].dtype.kind in "iuf":
            names[quantity.name] = truth.columns[column].astype(np.float64).tolist()
    rows = zip(*names.values(), strict=True)
    labels = {
        name: dict(zip(names, row, strict=True)) for name, row in zip(truth.ids, rows, strict=True)
    }
    values = {entry.name: getattr(survey, entry.name) for entry in fields(Survey)}
    return KeyedSurvey(**values, plain=survey, labels=labels)
