"""The last night as Prometheus metrics, in the text format of node_exporter's collector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from equilens.pipeline.provenance import write_atomic

Sample = tuple[Mapping[str, str], float]


def write_metrics(path: Path | str, summary: Mapping[str, Any]) -> None:
    """Write the file, so that a reader sees all of it or what was there before."""
    write_atomic(path, metrics_text(summary).encode())


def metrics_text(summary: Mapping[str, Any]) -> str:
    """Every metric with its help, type and samples.

    The night is a value, not a label: a label would leave a series behind for each night.
    """
    lines = []
    for short, about, samples in _metrics(summary):
        name = f"equilens_night_{short}"
        lines += [f"# HELP {name} {about}", f"# TYPE {name} gauge"]
        lines += [f"{name}{_labels(labels)} {value:.10g}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _metrics(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Sample]]]:
    survey = {"survey": summary["survey"]}

    def one(value: float) -> list[Sample]:
        return [(survey, float(value))]

    def each(label: str, values: Mapping[str, float]) -> list[Sample]:
        return [({**survey, label: key}, float(value)) for key, value in values.items()]

    start = datetime.fromisoformat(summary["night"]).replace(tzinfo=UTC)
    seconds = summary["seconds"]
    total = sum(seconds.values())
    yield "date_timestamp_seconds", "Start of the night's date, UTC.", one(start.timestamp())
    written = datetime.fromisoformat(summary["provenance"]["created_utc"]).timestamp()
    yield "finished_timestamp_seconds", "When its products were made.", one(written)
    yield "accepted", "1 if the night was accepted.", one(summary["accepted"])
    yield "objects_found", "Objects that arrived.", one(summary["n_found"])
    yield "objects_scored", "Objects with a score, one sighting each.", one(summary["n_scored"])
    yield "objects_merged", "Sightings that another one stands for.", one(summary["n_merged"])
    rules = each("rule", summary["by_rule"]) or [({**survey, "rule": "none"}, 0.0)]
    yield "objects_quarantined", "Rejected objects by rule.", rules
    outside = summary["n_out_of_domain"]
    yield "objects_out_of_domain", "Objects the network was not trained for.", one(outside)
    yield "objects_new", "Objects not seen on earlier nights.", one(summary["crossmatch"]["n_new"])
    yield "objects_to_inspect", "Length of the list to inspect.", one(summary["inspect"]["n"])
    yield "drift_alarms", "Alarms of drift.", one(len(summary["drift"]["alarms"]))
    yield "shards", "Shards of cutouts.", one(sum(p["n_shards"] for p in summary["instalments"]))
    yield "instalments", "Parts in which the night arrived.", one(len(summary["instalments"]))
    yield "stage_seconds", "Latency of each stage in the last run.", each("stage", seconds)
    rate = summary["n_read"] / total if total else 0.0
    yield "objects_per_second", "Objects read and scored by the last run, a second.", one(rate)


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
