"""From a night's objects and the nights before it to what people read; `summary.json` last."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from equilens.catalogs.export import write_catalog
from equilens.pipeline.nightly.baseline import Baseline
from equilens.pipeline.nightly.config import NightConfig
from equilens.pipeline.nightly.drift import DriftCheck, check_drift
from equilens.pipeline.nightly.folders import (
    CATALOGUE,
    CUMULATIVE,
    SIGHTINGS,
    SUMMARY,
    NightFolder,
)
from equilens.pipeline.nightly.history import Folded, Matching, fold_night, sightings
from equilens.pipeline.nightly.measures import Figure
from equilens.pipeline.nightly.verdict import (
    alarms,
    funnel,
    inspection_list,
    marked,
    reasons_against,
    sentinel_change,
)
from equilens.pipeline.provenance import provenance, sha256_file, write_json_atomic

FACTS, OBJECTS = "facts.json", "objects.parquet"
TABLES = ("quarantine.csv", "merged.csv")
REPEATS = {
    "visit": "scores of repeated visits are of different exposures: their mean and scatter count",
    "coadd": "repeated scores of overlapping coadds share pixels and are not independent: the "
    "latest stands for all, and no mean of them is more certain than one",
}


@dataclass(frozen=True)
class Products:
    """One night's products, made from its work folder and the nights before it.

    Attributes
    ----------
    facts : of the work folder
    identity : of everything that they depend on; in the folder's name
    """

    config: NightConfig
    folder: NightFolder
    facts: Mapping[str, Any]
    baseline: Baseline
    identity: str

    @classmethod
    def plan(cls, config: NightConfig, night: date, data_identity: str) -> Products:
        """The products of a night whose own objects are measured."""
        folder = NightFolder(config.out_path, night)
        facts = json.loads((folder.work(data_identity) / FACTS).read_text())
        baseline = Baseline.of(config, night, facts["parts"]["network"])
        return cls(config, folder, facts, baseline, baseline.identity(config, data_identity))

    @property
    def path(self) -> Path:
        return self.folder.products(self.identity)

    @property
    def work(self) -> Path:
        return self.folder.work(self.facts["data_identity"])

    def make(self) -> dict[str, Any]:
        """Cross-match, judge, and write everything but the report and the summary.

        Returns
        -------
        dict : the summary, that `finish` writes
        """
        folded = self._folded()
        catalogue = marked(folded.catalogue, self.config.inspect)
        figures = {n: Figure.from_dict(f) for n, f in self.facts["figures"].items()}
        checks = check_drift(figures, self.baseline.figures(), self.config.drift)
        last = self.baseline.comparable[-1] if self.baseline.comparable else None
        change = sentinel_change(self.facts["sentinels"], last["sentinels"] if last else None)
        listed = inspection_list(catalogue, self.facts["injections"])
        found = alarms(checks, change)
        reasons = reasons_against(self.config, self.facts, listed["n"], found)
        self.path.mkdir(parents=True, exist_ok=True)
        files = self._write(catalogue, folded, reasons)
        return {
            "night": self.folder.night.isoformat(),
            "survey": self.facts["survey"],
            "accepted": not reasons,
            "reasons": reasons,
            **{name: self.facts[name] for name in _COUNTS},
            "funnel": funnel(self.facts, catalogue),
            "inspect": listed,
            "crossmatch": _crossmatch(self.config, folded, last=self.baseline.last),
            "drift": _drift(checks, change, found, len(self.baseline.comparable)),
            "unit": self.config.unit,
            **{name: self.facts[name] for name in _CARRIED},
            "identity": self.identity,
            "files": files,
            "provenance": provenance(),
        }

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write the summary: the products are complete."""
        write_json_atomic(self.path / SUMMARY, summary)

    def _folded(self) -> Folded:
        before = self.baseline.cumulative(self.config.out_path)
        rules = Matching(
            self.config.crossmatch_radius_arcsec, self.config.match_ids, self.config.unit
        )
        return fold_night(
            None if before is None else pq.read_table(before),
            pq.read_table(self.work / OBJECTS),
            self.folder.night,
            rules,
        )

    def _write(
        self, catalogue: pa.Table, folded: Folded, reasons: list[str]
    ) -> dict[str, dict[str, str]]:
        """Tables whose bytes depend on the inputs alone; a rejected night joins no history."""
        about = {
            "night": self.folder.night.isoformat(),
            "unit": self.config.unit,
            "accepted": not reasons,
            "reasons": reasons,
            "network": self.facts["parts"]["network"],
        }
        tables = {CATALOGUE: catalogue}
        if not reasons:
            tables |= {
                CUMULATIVE: folded.cumulative,
                SIGHTINGS: sightings(catalogue),
            }
        files = {}
        for name, table in tables.items():
            path = write_catalog(table, self.path / name, {"table": Path(name).stem, **about})
            facts = {"path": str(path), "sha256": sha256_file(path)}
            files[path.stem] = facts
        for name in TABLES:
            (self.path / name).write_bytes((self.work / name).read_bytes())
            files[Path(name).stem] = {
                "path": str(self.path / name),
                "sha256": sha256_file(self.path / name),
            }
        return files


_COUNTS = ("n_found", "n_quarantined", "by_rule", "n_merged", "n_scored", "n_out_of_domain")
_CARRIED = (
    "network",
    "calibration",
    "sentinels",
    "injections",
    "figures",
    "instalments",
    "n_files",
    "listing",
    "data_identity",
    "parts",
)


def _crossmatch(
    config: NightConfig, folded: Folded, last: Mapping[str, Any] | None
) -> dict[str, Any]:
    sha256 = folded.cumulative["model_sha256"].to_pylist()
    current = folded.catalogue["model_sha256"][0].as_py()
    return {
        "n_updated": folded.n_updated,
        "n_new": folded.n_new,
        "n_id_conflicts": folded.n_id_conflicts,
        "n_cumulative": folded.cumulative.num_rows,
        "n_of_other_networks": sum(value != current for value in sha256),
        "radius_arcsec": config.crossmatch_radius_arcsec,
        "before": last["night"] if last else None,
        "repeats": REPEATS[config.unit],
    }


def _drift(
    checks: list[DriftCheck],
    change: Mapping[str, Any] | None,
    found: list[str],
    n_nights: int,
) -> dict[str, Any]:
    tested = sum(check.state != "untested" for check in checks)
    return {
        "n_nights": n_nights,
        "n_tested": tested,
        "n_untested": len(checks) - tested,
        "test": "Student t of one more night, two-sided, Bonferroni over the figures tested",
        "alarms": found,
        "sentinel_change": change,
        "checks": [check.to_dict() for check in checks],
    }


def figures_to_dict(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Figures for JSON."""
    return {name: asdict(figure) for name, figure in figures.items()}
