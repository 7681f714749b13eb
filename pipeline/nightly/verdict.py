"""What a night amounts to: its funnel, the list to inspect, and whether it is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from equilens.pipeline.nightly.config import InspectRule, NightConfig
from equilens.pipeline.nightly.drift import DriftCheck
from equilens.pipeline.nightly.trust import false_positives

SENTINEL_LIMIT = 1e-3
"""Largest change of a sentinel's logit from night to night that rounding may cause."""


def marked(catalogue: pa.Table, rule: InspectRule) -> pa.Table:
    """The catalogue with a column ``inspect``: who is for people to look at."""
    chosen = catalogue["rank"].to_numpy() <= rule.top
    if rule.threshold is not None:
        chosen &= catalogue["score"].to_numpy() >= rule.threshold
    return catalogue.append_column("inspect", pa.array(chosen))


def inspection_list(catalogue: pa.Table, injected: Mapping[str, Any]) -> dict[str, Any]:
    """Size of the list to inspect, and how many of it are expected to be no lenses.

    By probability: the sum of 1 - p, as good as the calibration and its share of lenses. By
    injections: the rate of injected non-lenses above the list's lowest score, for all objects;
    half of them carry pasted light, so that it errs to the high side.
    """
    table = catalogue.filter(catalogue["inspect"])
    facts: dict[str, Any] = {
        "n": table.num_rows,
        "lowest_score": None,
        "false_positives_by_probability": None,
        "false_positives_by_injections": None,
    }
    if not table.num_rows:
        return facts
    facts["lowest_score"] = lowest = float(np.min(table["score"].to_numpy()))
    if "probability" in table.column_names:
        chance = np.asarray(table["probability"].to_numpy(zero_copy_only=False), np.float64)
        facts["false_positives_by_probability"] = float(np.nansum(1 - chance))
    facts["false_positives_by_injections"] = false_positives(
        dict(injected), lowest, catalogue.num_rows, table.num_rows
    )
    return facts


def funnel(facts: Mapping[str, Any], catalogue: pa.Table) -> list[dict[str, Any]]:
    """Objects left after each cut, from what arrived to what is new on the list."""
    listed = catalogue.filter(catalogue["inspect"])
    inside = sum(not text for text in catalogue["out_of_domain"].to_pylist())
    steps = {
        "found": facts["n_found"],
        "not in quarantine": facts["n_found"] - facts["n_quarantined"],
        "one sighting an object": catalogue.num_rows,
        "inside the training domain": inside,
        "to inspect": listed.num_rows,
        "of these, not seen on earlier nights": sum(n == 1 for n in listed["n_nights"].to_pylist()),
        "of these, inside the training domain": sum(
            n == 1 and not text
            for n, text in zip(
                listed["n_nights"].to_pylist(), listed["out_of_domain"].to_pylist(), strict=True
            )
        ),
    }
    return [{"step": step, "n": int(n)} for step, n in steps.items()]


def sentinel_change(
    now: Mapping[str, Any], before: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Largest change of a sentinel's score since the last accepted night of the same network."""
    if before is None or "absent" in now or "absent" in before:
        return None
    if now["fingerprint"] != before["fingerprint"]:
        return None
    pairs = zip(now["scores"], before["scores"], strict=True)
    changes = [
        0.0 if a is None and b is None else np.inf if a is None or b is None else abs(a - b)
        for a, b in pairs
    ]
    worst = float(max(changes))
    return {"largest": worst, "limit": SENTINEL_LIMIT, "n": len(changes)}


def alarms(checks: Sequence[DriftCheck], change: Mapping[str, Any] | None) -> list[str]:
    """Every alarm of a night, in words."""
    found = [str(check) for check in checks if check.state == "alarm"]
    if change is not None and change["largest"] > change["limit"]:
        found.append(
            f"sentinel_scores: the same network gives scores that differ by up to "
            f"{change['largest']:.3g} for the same {change['n']} cutouts (limit "
            f"{change['limit']:g}): software or hardware changed"
        )
    return found


def reasons_against(
    config: NightConfig,
    facts: Mapping[str, Any],
    n_listed: int,
    found_alarms: Sequence[str],
) -> list[str]:
    """Why a night is not accepted; nothing where it is."""
    rule, reasons = config.acceptance, []
    share = facts["n_quarantined"] / facts["n_found"] if facts["n_found"] else 0.0
    if share > config.tolerance:
        reasons.append(
            f"{facts['n_quarantined']} of {facts['n_found']} objects ({share:.1%}) are quarantined,"
            f" tolerance is {config.tolerance:.1%}: see quarantine.csv"
        )
    if facts["n_scored"] < rule.least_objects:
        reasons.append(
            f"{facts['n_scored']} objects have a score, acceptance.least_objects is "
            f"{rule.least_objects}: run again once more files have arrived"
        )
    outside = facts["n_out_of_domain"] / facts["n_scored"] if facts["n_scored"] else 0.0
    if outside > rule.most_out_of_domain:
        reasons.append(
            f"{outside:.1%} of the objects lie outside of the training domain, "
            f"acceptance.most_out_of_domain is {rule.most_out_of_domain:.1%}: use a network that "
            "was trained for these conditions"
        )
    if rule.largest_list is not None and n_listed > rule.largest_list:
        reasons.append(
            f"{n_listed} objects are to be inspected, acceptance.largest_list is "
            f"{rule.largest_list}: raise inspect.threshold, or the limit"
        )
    if rule.alarms == "refuse":
        reasons += [f"drift: {alarm}" for alarm in found_alarms]
    return reasons
