"""What an ingest did, in numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did, or with `dry_run` would do.

    Attributes
    ----------
    survey : name
    n_found, n_objects, n_quarantined, n_merged : found, stored, rejected, merged into another
    by_rule : rejected objects for each rule, most frequent first
    n_bytes_read, n_bytes_written : of the files read, and of the store
    seconds : wall-clock time
    tolerance : largest share of rejected objects that is still a success
    store, quarantine : paths; None for a dry run
    dry_run : nothing was written, and failures that only pixels show are not counted
    """

    survey: str
    n_found: int
    n_objects: int
    n_quarantined: int
    n_merged: int
    by_rule: dict[str, int] = field(default_factory=dict)
    n_bytes_read: int = 0
    n_bytes_written: int = 0
    seconds: float = 0.0
    tolerance: float = 0.05
    store: Path | None = None
    quarantine: Path | None = None
    dry_run: bool = False

    @property
    def quarantined_fraction(self) -> float:
        """Share of the objects found that were rejected."""
        return self.n_quarantined / self.n_found if self.n_found else 0.0

    @property
    def within_tolerance(self) -> bool:
        """Whether no more was rejected than the tolerance allows."""
        return self.quarantined_fraction <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """For JSON; paths as text."""
        values = asdict(self) | {"within_tolerance": self.within_tolerance}
        return {k: str(v) if isinstance(v, Path) else v for k, v in values.items()}

    def __str__(self) -> str:
        verb = "would store" if self.dry_run else "stored"
        parts = [f"{self.survey}: {verb} {self.n_objects} of {self.n_found} objects"]
        if self.n_merged:
            parts.append(f"merged {self.n_merged}")
        rules = ", ".join(f"{count} {rule}" for rule, count in self.by_rule.items())
        parts.append(f"quarantined {self.n_quarantined}" + (f" ({rules})" if rules else ""))
        parts.append(f"read {self.n_bytes_read / 1e6:.1f} MB")
        if not self.dry_run:
            parts.append(f"wrote {self.n_bytes_written / 1e6:.1f} MB in {self.seconds:.1f} s")
        return "; ".join(parts)
