"""The nights before: what a night's cross-match and its alarms stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from equilens.pipeline.nightly.config import NightConfig
from equilens.pipeline.nightly.folders import CUMULATIVE, NightFolder, finished_nights
from equilens.pipeline.nightly.inputs import FORMAT
from equilens.pipeline.nightly.measures import Figure
from equilens.pipeline.provenance import fingerprint


@dataclass(frozen=True)
class Baseline:
    """Accepted nights before one night, the latest last.

    Attributes
    ----------
    summaries : of all of them that are needed
    comparable : of those that the same network scored; the only ones that figures compare with
    """

    summaries: tuple[Mapping[str, Any], ...]
    comparable: tuple[Mapping[str, Any], ...]

    @classmethod
    def of(cls, config: NightConfig, night: date, network: str) -> Baseline:
        """The accepted nights before `night`, as they stand now."""
        accepted = []
        for folder in finished_nights(config.out_path):
            if folder.night >= night:
                break
            summary = folder.summary()
            if summary is not None and summary["accepted"]:
                accepted.append(summary)
        same = [
            summary
            for summary in accepted
            if summary["parts"]["network"] == network and summary["unit"] == config.unit
        ]
        return cls(tuple(accepted), tuple(same[-config.drift.nights :]))

    @property
    def last(self) -> Mapping[str, Any] | None:
        """The accepted night right before."""
        return self.summaries[-1] if self.summaries else None

    def cumulative(self, out: Path) -> Path | None:
        """The cumulative table of the night right before."""
        if self.last is None:
            return None
        folder = NightFolder(out, date.fromisoformat(self.last["night"]))
        return folder.products(self.last["identity"]) / CUMULATIVE

    def figures(self) -> list[dict[str, Figure]]:
        """Figures of each comparable night."""
        return [
            {name: Figure.from_dict(facts) for name, facts in summary["figures"].items()}
            for summary in self.comparable
        ]

    def identity(self, config: NightConfig, data_identity: str) -> str:
        """Of everything that a night's products depend on."""
        last = self.last
        return fingerprint(
            {
                "format": FORMAT,
                "data": data_identity,
                "rules": config.rules_of_comparison(),
                "before": last["files"]["cumulative"]["sha256"] if last else "",
                "compared": [(s["night"], s["data_identity"]) for s in self.comparable],
            }
        )
