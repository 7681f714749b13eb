"""Where nights keep what.

::

    OUT/nights/2026-11-20/current ──► products/IDENTITY   catalogue, cumulative, report, summary
                          runs.jsonl                      every run there was
                          cutouts/SURVEY/000.zarr         what arrived, instalment by instalment
                          work/DATA/                      objects, sentinels, injections, figures
        history/night=2026-11-20/sightings.parquet        who was seen, under their lasting names
        latest ──► nights/…/current                       of the last accepted night
        sentinels/                                        the fixed set

What a product depends on is hashed into its folder's name, so other inputs, another network or
other rules never meet in one folder. ``current`` changes in one step, when all of it is there.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

SUMMARY = "summary.json"
CATALOGUE = "catalogue.parquet"
CUMULATIVE = "cumulative.parquet"
SIGHTINGS = "sightings.parquet"
SHORT = 12


@dataclass(frozen=True)
class NightFolder:
    """The folder of one night below `out`."""

    out: Path
    night: date

    @property
    def path(self) -> Path:
        return self.out / "nights" / self.night.isoformat()

    @property
    def current(self) -> Path:
        """Link to the products that count."""
        return self.path / "current"

    @property
    def runs(self) -> Path:
        """Log of runs, one JSON object a line."""
        return self.path / "runs.jsonl"

    @property
    def sightings(self) -> Path:
        """The night's part of the history."""
        return self.out / "history" / f"night={self.night.isoformat()}" / SIGHTINGS

    def cutouts(self, survey: str) -> Path:
        """What arrived, by fingerprint of the survey's definition."""
        return self.path / "cutouts" / survey[:SHORT]

    def work(self, data: str) -> Path:
        """What was made of the night alone, by fingerprint of all that it depends on."""
        return self.path / "work" / data[:SHORT]

    def products(self, identity: str) -> Path:
        """What was made of the night and those before it."""
        return self.path / "products" / identity[:SHORT]

    def summary(self) -> dict[str, Any] | None:
        """The summary that counts; None where the night was never finished."""
        try:
            return json.loads((self.current / SUMMARY).read_text())
        except (OSError, ValueError):
            return None


def finished_nights(out: Path) -> list[NightFolder]:
    """Nights that were finished at least once, in order."""
    found = (out / "nights").glob("[0-9]*")
    nights = sorted(path.name for path in found if (path / "current" / SUMMARY).is_file())
    return [NightFolder(out, date.fromisoformat(name)) for name in nights]


def point(link: Path, target: Path) -> None:
    """Let a symbolic link lead to a folder, in one step."""
    temporary = link.with_name(f".{link.name}.{uuid.uuid4().hex}")
    temporary.symlink_to(os.path.relpath(target, link.parent), target_is_directory=True)
    os.replace(temporary, link)
