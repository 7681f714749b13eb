"""Objects seen twice in overlapping tiles: the better sighting stays, a table keeps the other."""

from __future__ import annotations

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np

from equilens.catalogs.deduplicate import merge_by_position
from equilens.pipeline.provenance import write_atomic


@dataclass
class Sightings:
    """What deciding between sightings takes, gathered batch by batch in store order."""

    ids: list[str]
    files: list[str]
    ra: list[float]
    dec: list[float]
    n_masked: list[int]

    @classmethod
    def none(cls) -> Sightings:
        return cls([], [], [], [], [])

    def add(self, facts: dict[str, np.ndarray], n_masked: np.ndarray) -> None:
        """Append a batch's accepted objects."""
        self.ids += facts["ids"].tolist()
        self.files += facts["source_file"].tolist()
        self.ra += facts["ra"].tolist()
        self.dec += facts["dec"].tolist()
        self.n_masked += n_masked.tolist()


@dataclass(frozen=True)
class MergedRow:
    """An object that another one stands for.

    Attributes
    ----------
    id, kept_id : the one merged away, and the one that stays
    separation_arcsec : between their positions
    file : that held the one merged away
    """

    id: str
    kept_id: str
    separation_arcsec: float
    file: str


def merge_sightings(
    sightings: Sightings, radius_arcsec: float
) -> tuple[np.ndarray, np.ndarray, list[MergedRow]]:
    """Decide which objects stand for which.

    Two objects of one file are two objects; of several sightings the one with the fewest masked
    pixels stays, the first at equality.

    Returns
    -------
    rows to drop, rows that stand for others, and the table of what was merged
    """
    nowhere = np.zeros(0, dtype=np.int64)
    if not radius_arcsec > 0 or not np.isfinite(sightings.ra).any():
        return nowhere, nowhere, []
    merged = merge_by_position(
        sightings.ra,
        sightings.dec,
        radius_arcsec,
        priority=-np.asarray(sightings.n_masked, dtype=np.float64),
        tile=np.asarray(sightings.files),
    )
    pairs = merged.merged_rows()
    table = [
        MergedRow(
            sightings.ids[gone],
            sightings.ids[kept],
            round(float(merged.separation_arcsec[gone]), 4),
            sightings.files[gone],
        )
        for gone, kept in pairs
    ]
    return pairs[:, 0], np.unique(pairs[:, 1]), table


def write_merged(path: Path | str, rows: list[MergedRow]) -> None:
    """Write the table of merged objects as CSV, atomically."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(entry.name for entry in fields(MergedRow))
    writer.writerows(astuple(row) for row in rows)
    write_atomic(path, text.getvalue().encode(errors="surrogateescape"))
