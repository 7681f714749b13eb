"""One night from files to catalogue, stage by stage; every stage does only what is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from equilens.catalogs.calibration_result import read_calibration
from equilens.catalogs.export import write_catalog
from equilens.pipeline.ingest.merging import write_merged
from equilens.pipeline.nightly.config import NightConfig
from equilens.pipeline.nightly.errors import EmptyNight
from equilens.pipeline.nightly.folders import NightFolder
from equilens.pipeline.nightly.inputs import NightInputs
from equilens.pipeline.nightly.instalments import (
    Instalment,
    ingest_instalment,
    plan_instalments,
    score_instalment,
)
from equilens.pipeline.nightly.measures import labelled_figures, object_figures
from equilens.pipeline.nightly.notify import notify
from equilens.pipeline.nightly.objects import gather_objects
from equilens.pipeline.nightly.page import write_page
from equilens.pipeline.nightly.products import FACTS, OBJECTS, Products, figures_to_dict
from equilens.pipeline.nightly.publish import (
    bring_later_up_to_date,
    publish,
    sweep_work,
    tell_all_nights,
)
from equilens.pipeline.nightly.runs import alone, lock_night, log_run
from equilens.pipeline.nightly.summary import brief
from equilens.pipeline.nightly.trust import score_injections, score_sentinels
from equilens.pipeline.provenance import sha256_file, write_json_atomic
from equilens.pipeline.quarantine import count_by_rule, read_quarantine, write_quarantine
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.stores import CutoutStore

STAGES = (
    "discover",
    "ingest",
    "score",
    "merge",
    "sentinels",
    "inject",
    "measure",
    "crossmatch",
    "report",
    "publish",
)


class NightRun:
    """One run of one night: it holds the night's lock from `discover` to `publish`.

    Parameters
    ----------
    config : of the survey's nights
    night : its date
    before_stage : called with the name of each stage before it starts
    """

    inputs: NightInputs
    parts: list[Instalment]
    products: Products

    def __init__(
        self,
        config: NightConfig,
        night: date,
        before_stage: Callable[[str], None] | None = None,
    ) -> None:
        self.config, self.before_stage = config, before_stage
        self.folder = NightFolder(config.out_path, night)
        self.seconds: dict[str, float] = {}
        self.summary: dict[str, Any] = {}
        self.n_read = 0
        self._began = time.monotonic()
        self._held = ExitStack()
        self._is_alone = False

    def run(self) -> dict[str, Any]:
        """All stages in order; returns the summary."""
        for name in STAGES:
            self.stage(name)
        return self.summary

    def stage(self, name: str) -> None:
        """Run one stage; what it raises ends the run, is logged and told."""
        began = time.monotonic()
        try:
            if self.before_stage is not None:
                self.before_stage(name)
            getattr(self, f"_{name}")()
        except BaseException as error:
            self._fail(name, error)
            raise
        self.seconds[name] = round(time.monotonic() - began, 3)
        if name == STAGES[-1]:
            self._end()

    @property
    def work(self) -> Path:
        """Where what is made of this night alone goes."""
        return self.folder.work(self.inputs.data_identity)

    @cached_property
    def is_measured(self) -> bool:
        """Whether everything up to the night's own figures is there, and sound."""
        try:
            facts = json.loads((self.work / FACTS).read_text())
            return facts["objects_sha256"] == sha256_file(self.work / OBJECTS)
        except (OSError, ValueError):
            return False

    def _discover(self) -> None:
        self._held.callback(lock_night(self.folder))
        self._is_alone = True
        self.inputs = inputs = NightInputs.find(self.config, self.folder.night)
        if not inputs.discovery.n_found:
            raise EmptyNight(
                f"night {self.folder.night}: no object in {self.config.source}; run again once "
                "files have arrived"
            )
        if self.config.calibration:
            # before hours of scoring, not after
            fitted = read_calibration(self.config.calibration).calibration
            fitted.check_model(inputs.model_sha256)
        folder = self.folder.cutouts(inputs.survey_identity)
        self.parts = plan_instalments(folder, inputs.discovery)

    def _ingest(self) -> None:
        self.n_read = sum(ingest_instalment(part, self.inputs) for part in self.parts)

    def _score(self) -> None:
        for part in self.parts:
            score_instalment(part, self.inputs)

    def _merge(self) -> None:
        if self.is_measured:
            return
        found = gather_objects(self.parts, self.inputs)
        self.work.mkdir(parents=True, exist_ok=True)
        write_quarantine(self.work / "quarantine.csv", found.quarantine)
        write_merged(self.work / "merged.csv", found.merged)
        write_catalog(found.table, self.work / OBJECTS)

    def _sentinels(self) -> None:
        if not self.is_measured:
            known = score_sentinels(self.inputs, self.work)
            write_json_atomic(self.work / "sentinels.json", known)

    def _inject(self) -> None:
        if not self.is_measured:
            known = score_injections(self.inputs, self.parts, self._objects(), self.work)
            write_json_atomic(self.work / "injections.json", known)

    def _measure(self) -> None:
        if not self.is_measured:
            write_json_atomic(self.work / FACTS, self._facts())

    def _crossmatch(self) -> None:
        # the history is one for all nights
        history = alone(self.config.out_path / "history", "the history")
        self._held.enter_context(history)
        identity = self.inputs.data_identity
        self.products = Products.plan(self.config, self.folder.night, identity)
        self.summary = self.products.make()

    def _report(self) -> None:
        if self.config.report:
            write_page(self.products, self.summary)

    def _publish(self) -> None:
        self.summary |= {"n_read": self.n_read, "seconds": dict(self.seconds), "problems": []}
        publish(self.products, self.summary)
        sweep_work(self.products.work)
        self.summary["problems"] = bring_later_up_to_date(self.config, self.folder)
        tell_all_nights(self.config)

    def _end(self) -> None:
        facts = brief(self.summary)
        self.summary["problems"] += notify(self.config.notify, {"outcome": "done", **facts})
        outcome = "done" if self.summary["accepted"] else "not accepted"
        noted = ("identity", "data_identity", "n_found", "n_scored", "n_read", "problems")
        log_run(
            self.folder,
            outcome,
            time.monotonic() - self._began,
            stages=self.seconds,
            reasons=self.summary["reasons"],
            **{name: self.summary[name] for name in noted},
        )
        self._held.close()

    def _fail(self, stage: str, error: BaseException) -> None:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        if self._is_alone:
            night = self.folder.night.isoformat()
            outcome = "empty" if isinstance(error, EmptyNight) else "failed"
            seconds = time.monotonic() - self._began
            log_run(self.folder, outcome, seconds, stage=stage, error=text)
            notify(self.config.notify, {"outcome": outcome, "night": night, "error": text})
        self._held.close()

    def _objects(self) -> pa.Table:
        return pq.read_table(self.work / OBJECTS)

    def _facts(self) -> dict[str, Any]:
        """What the night's own objects say, with all that it depends on."""
        table, inputs = self._objects(), self.inputs
        rows = read_quarantine(self.work / "quarantine.csv")
        n_found = inputs.discovery.n_found
        figures = object_figures(table, n_found, len(rows))
        known = {
            kind: json.loads((self.work / f"{kind}.json").read_text())
            for kind in ("sentinels", "injections")
        }
        night = table["score"].to_numpy()
        for kind, name in (("sentinels", "sentinel"), ("injections", "injected")):
            if "absent" not in known[kind]:
                labels, scores = known[kind]["labels"], known[kind]["scores"]
                values = [float("nan") if value is None else value for value in scores]
                figures |= labelled_figures(name, labels, values, night)
        calibration = self.config.calibration
        return {
            "night": inputs.night.isoformat(),
            "survey": inputs.survey.name,
            "data_identity": inputs.data_identity,
            "parts": inputs.parts(),
            "network": self._network(),
            "calibration": read_calibration(calibration).summary() if calibration else None,
            "n_found": n_found,
            "n_files": inputs.discovery.n_files,
            "listing": inputs.discovery.listing,
            "n_quarantined": len(rows),
            "by_rule": count_by_rule(rows),
            "n_merged": n_found - len(rows) - table.num_rows,
            "n_scored": table.num_rows,
            "n_out_of_domain": sum(bool(text) for text in table["out_of_domain"].to_pylist()),
            "figures": figures_to_dict(figures),
            **known,
            "instalments": [self._instalment(part) for part in self.parts],
            "objects_sha256": sha256_file(self.work / OBJECTS),
        }

    def _network(self) -> dict[str, Any]:
        scored = next(part for part in self.parts if part.has_cutouts)
        return ScoreStore(scored.scores(self.inputs.model_sha256)).manifest["network"]

    def _instalment(self, part: Instalment) -> dict[str, Any]:
        """Where a part of the night lies, from the night's folder on."""
        stores = (part.cutouts, part.scores(self.inputs.model_sha256))
        names = [str(path.relative_to(self.folder.path)) for path in stores]
        n_shards = CutoutStore(part.cutouts).n_shards if part.has_cutouts else 0
        return {
            "number": part.number,
            "n_found": len(part.stamps),
            "n_shards": n_shards,
            "cutouts": names[0] if part.has_cutouts else None,
            "scores": names[1] if part.has_cutouts else None,
        }


def run_night(config: NightConfig, night: date) -> dict[str, Any]:
    """Run one night, without Luigi: the same stages, for a notebook."""
    return NightRun(config, night).run()
