"""A mapper's card: what it was trained on, how well it does on skies it never saw, its limits."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from equilens.models.checkpoint import TRAINED_WEIGHTS, model_sha256
from equilens.models.spherical.mapper_checkpoint import mapper_bytes
from equilens.models.spherical.mass_mapper import SphericalMassMapper
from equilens.pipeline.masses.mapper_state import MapperState
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.training_skies import TrainingSky
from equilens.pipeline.provenance import provenance, write_atomic, write_json_atomic

LIMITS = (
    "It was trained on simulated skies of one cosmology, one depth and one kind of mask: the "
    "linear filters adapt to another mask or depth, what was learned beyond them does not.",
    "Held-out figures are of patches of skies held out while training; whole skies are compared by "
    "`equilens sky evaluate`.",
    "The halo channel is an uncalibrated logit. It says where mass is, never that an arc is there.",
)

CARD = """# {name}

Mass mapper, {parameters:,} parameters, for skies of nside {nside}, shear in {bins} redshift bins.
sha256 of the weights: `{sha256}`.

## Data

Simulated skies to learn from: {n_skies}; {patches:,} patches of them in {steps:,} steps and
{elapsed_s:.0f} s. Skies held out, which decided nothing: {n_held_out}.

{skies}

## Held-out figures

On patches of the held-out skies, inside the mask.

| figure | value |
|---|---|
| mean squared error of κ, in units of κ's variance | {error:.4f} |
| the same of the Wiener filter that it starts from | {wiener_error:.4f} |
| ratio | {ratio:.4f} |
| share of pixels within one standard deviation | {coverage:.4f} |
| cross-entropy of the halo channel | {halo:.5f} |

## Inputs

Shear over its noise, counts and depth of each bin; Wiener-filtered κ of the mean galaxy and of
each bin, and matched-filtered signal-to-noise ratios of haloes, by spectra that lie in the weights
file. The mapper adds to the first κ what it learned.

## Limits

{limits}

## Specification

```json
{spec}
```

## Settings

```json
{settings}
```
"""


def mapper_card(
    identity: dict[str, Any],
    state: MapperState,
    figures: dict[str, float],
    taught: Sequence[TrainingSky],
    held_out: Sequence[TrainingSky],
) -> dict[str, Any]:
    """Facts for the card."""
    return {
        **identity,
        "stores": [{"name": sky.path.name, "fingerprint": sky.fingerprint} for sky in taught],
        "held_out_stores": [
            {"name": sky.path.name, "fingerprint": sky.fingerprint} for sky in held_out
        ],
        "sky": taught[0].facts,
        "steps": state.step,
        "patches_seen": state.patches,
        "elapsed_s": round(state.elapsed_s, 1),
        "figures": figures,
        "limits": list(LIMITS),
        "provenance": provenance(),
    }


def write_mapper(
    out: Path, network: nn.Module, prior: ConvergencePrior, card: dict[str, Any]
) -> Path:
    """Write weights, card and report into a folder; returns the weights' path."""
    assert isinstance(network, SphericalMassMapper)
    weights = out / TRAINED_WEIGHTS
    write_atomic(weights, mapper_bytes(network, {"spectra": torch.from_numpy(prior.spectra)}, card))
    report = {
        **card,
        "sha256": model_sha256(weights),
        "parameters": sum(p.numel() for p in network.parameters()),
        "spec": network.spec.to_dict(),
    }
    write_json_atomic(out / "report.json", report)
    write_atomic(out / "card.md", card_text(report).encode())
    return weights


def card_text(report: dict[str, Any]) -> str:
    """The card as Markdown."""
    figures = report["figures"]
    skies = (
        f"- {one['name']}, fingerprint `{one['fingerprint'][:16]}`" for one in report["stores"]
    )
    return CARD.format(
        **{name: report[name] for name in ("name", "parameters", "sha256", "steps", "elapsed_s")},
        **{name: figures[name] for name in ("error", "wiener_error", "coverage", "halo")},
        ratio=figures["error"] / figures["wiener_error"],
        nside=report["spec"]["nside"],
        bins=report["spec"]["n_bins"],
        patches=report["patches_seen"],
        n_skies=len(report["stores"]),
        n_held_out=len(report["held_out_stores"]),
        skies="\n".join(skies),
        limits="\n".join(f"- {line}" for line in report["limits"]),
        spec=json.dumps(report["spec"], indent=2),
        settings=json.dumps(report["config"], indent=2),
    )


def read_log(path: Path) -> list[dict[str, float]]:
    """Lines of a training's log as numbers."""
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
