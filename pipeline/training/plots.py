"""How a training went, as one picture beside its card."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from equilens.pipeline.provenance import write_atomic
from equilens.pipeline.report.theme import LIGHT, Theme, legend, panels_png

SIZE_INCHES = (14.0, 3.4)
BACKGROUND = "#ffffff"
Log = dict[str, np.ndarray]
Draw = Callable[[Axes, Theme], None]


def plot_training(logs: Sequence[Path], out: Path) -> None:
    """Draw losses, held-out figures and the learning rate against the cutouts seen, as a PNG.

    Parameters
    ----------
    logs : ``log.csv`` of a training, or of every member of a committee
    """
    tables = [table for table in map(read_log, logs) if len(table["images"])]
    panels = [
        _panel(tables, {"loss": "training", "held_out_loss": "held out"}, "loss"),
        _panel(tables, {"auroc": ""}, "held-out AUROC"),
        _panel(tables, {"tpr_fpr_1e-2": ""}, "held-out TPR at FPR 1e-2"),
        _panel(tables, {"learning_rate": ""}, "learning rate"),
    ]
    write_atomic(out, panels_png(panels, LIGHT, SIZE_INCHES, background=BACKGROUND))


def read_log(path: Path) -> Log:
    """Columns of a log as numbers; NaN where a column or a value is missing."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ("images", "loss", "held_out_loss", "auroc", "tpr_fpr_1e-2", "learning_rate")
    return {name: np.array([float(row.get(name) or "nan") for row in rows]) for name in names}


def _panel(tables: Sequence[Log], columns: dict[str, str], title: str) -> Draw:
    def draw(axes: Axes, theme: Theme) -> None:
        for column, colour in zip(columns, (theme.nonlens, theme.lens), strict=False):
            for number, table in enumerate(tables):
                label = columns[column] if columns[column] and not number else None
                line = (table["images"] / 1000, table[column])
                axes.plot(*line, color=colour, marker=".", linewidth=1.2, label=label)
        axes.set_xlabel("thousand cutouts seen")
        axes.set_ylabel(title)
        if len(columns) > 1 and tables:
            legend(axes, theme, len(columns))

    return draw
