"""The CSV that follows a training: one line a validation."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from equilens.catalogs.metrics import auroc, tpr0, tpr10, tpr_at_false_positives
from equilens.pipeline.training.resuming import drop_lines_after
from equilens.pipeline.training.state import TrainingState

_RANKS = ("auroc", "tpr_fpr_1e-2", "tpr0", "tpr10")
_FIGURES = (*_RANKS, "n_lenses", "n_nonlenses")
FIELDS = ("step", "images", "elapsed_s", "loss", "learning_rate", "held_out_loss", *_FIGURES)


class TrainingLog:
    """Append lines to a CSV file; lines after `step`, from a part that was lost, are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        drop_lines_after(path, FIELDS, step)

    def add(
        self,
        state: TrainingState,
        loss: float,
        rate: float,
        held_out_loss: float,
        figures: dict[str, float],
    ) -> None:
        """One line."""
        row = {
            "step": state.step,
            "images": state.images,
            "elapsed_s": round(state.elapsed_s, 1),
            "loss": round(loss, 6),
            "learning_rate": f"{rate:.4g}",
            "held_out_loss": round(held_out_loss, 6),
            **figures,
        }
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, FIELDS).writerow(row)


def ranking_figures(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Figures of a ranking with the counts they rest on; NaN where too few objects allow them.

    ``tpr_fpr_1e-2`` is the completeness at a false-positive rate of at most 1e-2.
    """
    lenses, nonlenses = int((labels == 1).sum()), int((labels == 0).sum())
    figures = dict.fromkeys(_RANKS, math.nan)
    if lenses and nonlenses:
        figures["auroc"] = round(auroc(labels, logits).value, 6)
        fewer_than = nonlenses // 100 + 1
        at_one_percent = tpr_at_false_positives(labels, logits, fewer_than)
        figures["tpr_fpr_1e-2"] = round(at_one_percent.tpr.value, 6)
        figures["tpr0"] = round(tpr0(labels, logits).tpr.value, 6)
    if lenses and nonlenses >= 10:
        figures["tpr10"] = round(tpr10(labels, logits).tpr.value, 6)
    return {**figures, "n_lenses": lenses, "n_nonlenses": nonlenses}
