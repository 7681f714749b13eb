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
from equilens.models.checkpoint import TRAINED_WEIGHTS, model_sha256, save_checkpoint
from equilens.models.committee import Committee
from equilens.models.networks import LensFinder
from equilens.pipeline.domain import measure_domain
from equilens.pipeline.provenance import provenance, write_atomic, write_json_atomic
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.data import TrainingSet
from equilens.pipeline.training.plots import plot_training
from equilens.pipeline.training.predict import predict
from equilens.pipeline.training.state import TrainingState
from equilens.pipeline.training.transfer import Inheritance, generic_bands

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
{start}

## Held-out figures

Cutouts of parents that the training never saw, and that decided nothing in it.{stopping}

| figure | value | 95 % interval | N |
|---|---|---|---|
{figures}
{members}
![losses, held-out figures and learning rate](training.png)

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
    inherited: Inheritance | None = None,
) -> dict[str, Any]:
    """Facts for the card; scores the held-out objects of every shard.

    The scores go to ``held_out.csv``. No choice was made by them, neither of a step nor of a
    setting, so that the figures are fair: parents that decided when to stop are left out.
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
        **({} if state.best is None else {"stopped": _stopped(state, config)}),
        **({} if inherited is None else {"inherited": inherited.to_dict()}),
        "limits": list(LIMITS),
        "provenance": provenance(),
    }


def score_held_out(
    data: TrainingSet, finder: nn.Module, config: TrainConfig, path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of every object that reports, one shard in memory at a time."""
    ids, labels, logits = [], [], []
    for shard in data.shards:
        chosen = shard.reports
        if not chosen.any():
            continue
        ids.append(shard.ids[chosen])
        labels.append(shard.labels[chosen])
        cutouts = shard.load_chosen(chosen)
        logits.append(predict(finder, cutouts, config.batch_size, config.device))
    table = [np.concatenate(parts) for parts in (ids, labels, logits)]
    write_held_out(path, *table)
    return table[1], table[2]


def write_held_out(path: Path, ids: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> None:
    """``id``, ``is_lens`` and ``score`` of held-out objects as CSV, scores in full precision."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "is_lens", "score"))
        writer.writerows(
            (i, int(label), repr(float(s))) for i, label, s in zip(ids, labels, scores, strict=True)
        )


def write_products(out: Path, finder: LensFinder | Committee, card: dict[str, Any]) -> Path:
    """Write weights, card, report and plot into a folder; returns the weights' path.

    They are ``model.safetensors``, ``card.md``, ``report.json`` and ``training.png``.
    """
    finder = finder.cpu()
    parameters = sum(p.numel() for p in finder.parameters())
    n_members = len(card.get("members", ())) or 1
    logs = [out / "log.csv"]
    if n_members > 1:
        logs = [out / f"member-{k}" / "log.csv" for k in range(n_members)]
    plot_training(logs, out / "training.png")
    weights = save_checkpoint(out / TRAINED_WEIGHTS, finder, card)
    report = {**card, "sha256": model_sha256(weights), "parameters": parameters}
    report["torch"] = torch.__version__
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
        start=_start(report),
        stopping=_stopping(report),
        figures=_figures(report["held_out"]),
        members=_members(report),
        ranges="\n".join(ranges),
        limits="\n".join(f"- {line}" for line in report["limits"]),
        settings=json.dumps(report["config"], indent=2),
    )


def _members(report: dict[str, Any]) -> str:
    """Each member's figures, where there are several."""
    if "members" not in report:
        return ""
    lines = [
        "",
        f"## Members\n\nThe score is the {report['committee']['rule']}. Each alone, held out:",
        "",
        "| seed | sha256 | AUROC | TPR0 | TPR10 |",
        "|---|---|---|---|---|",
    ]
    for member in report["members"]:
        figures = (member["held_out"][name] for name in ("auroc", "tpr0", "tpr10"))
        cells = ("" if value is None else f"{value:.4f}" for value in figures)
        lines.append(f"| {member['seed']} | `{member['sha256'][:16]}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _stopped(state: TrainingState, config: TrainConfig) -> dict[str, Any]:
    assert state.best is not None
    return {**state.best.facts(), "by": config.stopping.by, "decides": config.stopping.decides}


def _stopping(report: dict[str, Any]) -> str:
    """Who decided what, where the training could stop early."""
    if "stopped" not in report:
        return ""
    best = report["stopped"]
    return (
        f"\n\nOther held-out parents ({best['decides']:.0%} of them, by a hash of their names) "
        f"chose the average of step {best['step']:,} by its {best['by']} of {best['value']:.4f}, "
        "the best of all validations, which flatters it; they have no part in the table."
    )


def _start(report: dict[str, Any]) -> str:
    """Where the weights come from, where that is not a random start."""
    if "inherited" not in report:
        return ""
    base = report["inherited"]
    came = [f"{band} from {source}" for band, source in base["bands"].items() if source]
    new = [band for band, source in base["bands"].items() if not source]
    lines = [
        "",
        "## Start",
        "",
        f"From {base['name']} (sha256 `{base['sha256']}`), frozen: {base['freeze']}.",
        f"Bands that came over: {', '.join(came)}.",
    ]
    if new:
        lines.append(f"Bands whose input kernels started fresh: {', '.join(new)}.")
    if base["blend"]:
        lines.append(
            f"The weights kept are {1 - base['blend']:.0%} those of this training and "
            f"{base['blend']:.0%} those of the base, as are the held-out figures."
        )
    if base["fresh"]:
        lines.append(f"Tensors that started fresh: {', '.join(base['fresh'])}.")
    lines.append('Pixels: {:.3g}" there, {:.3g}" here.'.format(*base["pixel_scale_arcsec"]))
    return "\n".join(lines) + "\n"


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
