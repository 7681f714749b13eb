"""The model card: what a finder was trained on, how well it does on what it never saw, limits."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from equilens.catalogs.evaluation import evaluate_scores
from equilens.models.checkpoint import model_sha256, save_checkpoint
from equilens.pipeline.domain import measure_domain
from equilens.pipeline.errors import SurveyError
from equilens.pipeline.provenance import provenance, write_atomic, write_json_atomic
from equilens.pipeline.surveys.registry import get_survey
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.data import TrainingSet
from equilens.pipeline.training.predict import predict
from equilens.pipeline.training.state import TrainingState

LIMITS = (
    "Figures are of held-out cutouts of the same kind as the training's; real sky holds what "
    "no simulation does, and figures there are lower until they are measured there.",
    "Scores are uncalibrated logits: they rank, they are no probabilities.",
    "Cutouts outside the training domain below are flagged when they are scored.",
)

CARD = """# {name}

`{architecture}`, {parameters:,} parameters, for {bands} at {scale:.3g}" a pixel.
sha256 of the weights: `{sha256}`.

## Data

{data}

Trained on {lenses} lenses and {nonlenses} non-lenses; {images_seen:,} cutouts shown in
{steps:,} steps and {elapsed_s:.0f} s.

## Held-out figures

Cutouts of parents that the training never saw, and that decided nothing in it.

| figure | value | 95 % interval | N |
|---|---|---|---|
{figures}

## Training domain

At most {max_missing_bands} bands missing.

| band | PSF FWHM (arcsec) | noise a pixel (nJy) |
|---|---|---|
{ranges}

## Limits

{limits}

## Settings

```json
{settings}
```
"""


def training_card(
    name: str,
    data: TrainingSet,
    identity: dict[str, Any],
    state: TrainingState,
    config: TrainConfig,
    out: Path,
) -> dict[str, Any]:
    """Facts for the card; scores the held-out objects of every shard.

    The scores go to ``held_out.csv``. No choice was made by them, neither of a step nor of a
    setting, so that the figures are fair.
    """
    how = config.augmentation
    domain = measure_domain(
        data.tables,
        data.first.band_names,
        generic_bands(data.first.survey_name, data.first.band_names),
        max_depth=how.max_depth,
        max_missing_bands=how.max_missing_bands,
    )
    labels, logits = score_held_out(data, state.average, config, out / "held_out.csv")
    return {
        "name": name,
        "survey": data.first.survey_name,
        **identity,
        "stores": data.describe(),
        "training": data.counts(held_out=False),
        "steps": state.step,
        "images_seen": state.images,
        "elapsed_s": round(state.elapsed_s, 1),
        "training_domain": domain.to_dict(),
        "held_out": evaluate_scores(labels, logits),
        "limits": list(LIMITS),
        "provenance": provenance(),
    }


def generic_bands(survey: str, bands: tuple[str, ...]) -> tuple[str, ...]:
    """Common names of a store's bands; the names themselves where the survey is not installed."""
    try:
        known = get_survey(survey)
        return tuple(known.band(band).generic for band in bands)
    except SurveyError:
        return bands


def score_held_out(
    data: TrainingSet, finder: nn.Module, config: TrainConfig, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of every held-out object, one shard in memory at a time."""
    ids, labels, logits = [], [], []
    for shard in data.shards:
        if not shard.held_out.any():
            continue
        ids.append(shard.ids[shard.held_out])
        labels.append(shard.labels[shard.held_out])
        logits.append(predict(finder, shard.load(held_out=True), config.batch_size, config.device))
    table = [np.concatenate(parts) for parts in (ids, labels, logits)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "is_lens", "score"))
        writer.writerows(
            (i, int(label), repr(float(s))) for i, label, s in zip(*table, strict=True)
        )
    return table[1], table[2]


def write_products(out: Path, finder: nn.Module, card: dict[str, Any]) -> Path:
    """``model.safetensors``, ``card.md`` and ``report.json``; returns the weights' path."""
    weights = save_checkpoint(out / "model.safetensors", finder.cpu(), card)  # type: ignore[arg-type]
    sha256 = model_sha256(weights)
    parameters = sum(p.numel() for p in finder.parameters())
    report = {**card, "sha256": sha256, "parameters": parameters, "torch": torch.__version__}
    write_json_atomic(out / "report.json", report)
    write_atomic(out / "card.md", card_text(report).encode())
    return weights


def card_text(report: dict[str, Any]) -> str:
    """The card as Markdown."""
    domain, training = report["training_domain"], report["training"]
    psf, noise = domain["psf_fwhm_arcsec"], domain["noise_njy"]
    data = (
        f"- {s['name']} ({s['survey']}): {s['n_objects']} cutouts, {s['n_lenses']} lenses, "
        f"fingerprint `{s['fingerprint'][:16]}`"
        for s in report["stores"]
    )
    ranges = (f"| {band} | {_span(psf[band])} | {_span(noise[band])} |" for band in domain["bands"])
    return CARD.format(
        **{name: report[name] for name in ("name", "architecture", "sha256", "parameters")},
        **{name: report[name] for name in ("images_seen", "steps", "elapsed_s")},
        bands=" ".join(domain["bands"]),
        scale=domain["pixel_scale_arcsec"],
        max_missing_bands=domain["max_missing_bands"],
        lenses=training["lenses"],
        nonlenses=training["nonlenses"],
        data="\n".join(data),
        figures=_figures(report["held_out"]),
        ranges="\n".join(ranges),
        limits="\n".join(f"- {line}" for line in report["limits"]),
        settings=json.dumps(report["config"], indent=2),
    )


def _figures(held_out: dict[str, Any]) -> str:
    counts = f"{held_out['n_lenses']} lenses, {held_out['n_nonlenses']} non-lenses"
    lines = []
    for name in ("auroc", "tpr0", "tpr10", "f_beta"):
        if held_out[name] is None:
            lines.append(f"| {name} | too few objects | | {counts} |")
            continue
        low, high = held_out["intervals"][name]
        lines.append(f"| {name} | {held_out[name]:.4f} | {low:.4f} to {high:.4f} | {counts} |")
    return "\n".join(lines)


def _span(pair: tuple[float, float] | None) -> str:
    return "unknown" if pair is None else f"{pair[0]:.4g} to {pair[1]:.4g}"
