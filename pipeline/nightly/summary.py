"""A night's summary in short: one line for machines, one for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SHORT = (
    "night",
    "survey",
    "accepted",
    "reasons",
    "n_found",
    "n_quarantined",
    "by_rule",
    "n_merged",
    "n_scored",
    "n_out_of_domain",
    "funnel",
    "inspect",
    "crossmatch",
    "unit",
    "network",
    "identity",
    "data_identity",
    "files",
    "n_read",
    "seconds",
    "problems",
)


def brief(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary without its lists of figures and scores."""
    facts = {name: summary[name] for name in _SHORT}
    drift = summary["drift"]
    facts["drift"] = {name: drift[name] for name in ("n_nights", "n_tested", "alarms")}
    for kind in ("sentinels", "injections"):
        known = summary[kind]
        absent = {"absent": known["absent"]} if "absent" in known else {}
        facts[kind] = absent or {
            "n_lenses": sum(known["labels"]),
            "n_nonlenses": len(known["labels"]) - sum(known["labels"]),
        }
    return facts


def sentence(summary: Mapping[str, Any]) -> str:
    """What became of the night, in one line."""
    verdict = "accepted" if summary["accepted"] else "NOT ACCEPTED"
    match, drift = summary["crossmatch"], summary["drift"]
    alarms = f"{len(drift['alarms'])} alarms" if drift["n_tested"] else "drift not tested"
    why = f" ({'; '.join(summary['reasons'])})" if summary["reasons"] else ""
    return (
        f"night {summary['night']} {verdict}{why}: {summary['n_found']:,} found, "
        f"{summary['n_quarantined']:,} quarantined, {summary['n_merged']:,} merged, "
        f"{summary['n_scored']:,} scored; {match['n_new']:,} new, {match['n_updated']:,} seen "
        f"before; {expected_text(summary)}; {alarms}"
    )


def expected_text(summary: Mapping[str, Any]) -> str:
    """The list to inspect, and how many of it are expected to be no lenses."""
    listed = summary["inspect"]
    parts = []
    if (by_chance := listed["false_positives_by_probability"]) is not None:
        parts.append(f"{by_chance:.1f} by calibrated probability")
    if (found := listed["false_positives_by_injections"]) is not None:
        parts.append(
            f"{found['expected']:.3g} [{found['low']:.3g}, {found['high']:.3g}] by "
            f"{found['n_nonlenses']} injected non-lenses"
        )
    known = f"expected to be no lenses: {', or '.join(parts)}"
    unknown = "their false positives are unknown without a calibration or injections"
    return f"{listed['n']:,} to inspect, {known if parts else unknown}"


def drift_text(summary: Mapping[str, Any]) -> str:
    """Alarms, or how many nights there are to compare with."""
    drift = summary["drift"]
    if drift["alarms"]:
        return f"{len(drift['alarms'])} alarms: {'; '.join(drift['alarms'])}"
    if not drift["n_tested"]:
        return (
            f"drift is not tested: {drift['n_nights']} accepted nights of this network before "
            "this one are too few"
        )
    return f"no alarm in {drift['n_tested']} figures against {drift['n_nights']} nights"
