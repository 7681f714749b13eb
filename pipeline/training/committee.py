"""Train a committee: equal finders from other seeds and other bootstraps, in one file.

Members are trained one after another, each in a folder of its own that can be resumed and used
alone. All hold out the same parents, so that the committee's held-out figures are as fair as each
member's.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from equilens.catalogs.evaluation import evaluate_scores
from equilens.models.checkpoint import TRAINED_WEIGHTS, load_checkpoint
from equilens.models.committee import RULE, Committee
from equilens.pipeline.errors import TrainingError
from equilens.pipeline.provenance import provenance
from equilens.pipeline.training.card import write_held_out, write_products
from equilens.pipeline.training.config import TrainConfig
from equilens.pipeline.training.identity import COMMITTEE, other_training
from equilens.pipeline.training.loop import TrainReport, train
from equilens.pipeline.training.run import Progress
from equilens.pipeline.training.transfer import WarmStart

_OF_MEMBERS = ("sha256", "parameters", "torch", "held_out", "stopped", "provenance")


def member_config(config: TrainConfig, number: int) -> TrainConfig:
    """Of one member: another seed, which draws another bootstrap too."""
    return replace(config, seed=config.seed + number)


def train_committee(
    stores: Sequence[Path | str],
    out: Path | str,
    *,
    members: int,
    architecture: str = "d4-resnet-nano",
    field_px: int | None = None,
    config: TrainConfig | None = None,
    name: str | None = None,
    start: WarmStart | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> TrainReport:
    """Train members into ``member-0``, ``member-1``, … of a folder, and join them.

    Parameters
    ----------
    members : two or more; seeds are the configuration's and those after it
    stores, out, architecture, field_px, name, start, resume, progress : as in `train`
    config : as in `train`; each member has its own bootstrap of the parents where ``bootstrap``
        is set

    Returns
    -------
    TrainReport
        Steps, images and seconds are of all members together.

    Raises
    ------
    TrainingError
    """
    if members < 2:
        raise TrainingError(f"a committee has 2 members or more, got {members}")
    config, out = config or TrainConfig(), Path(out)
    same: dict[str, Any] = {"architecture": architecture, "field_px": field_px, "name": name}
    same["start"] = start
    reports = []
    for number in range(members):
        folder, own = out / f"member-{number}", member_config(config, number)
        if not _is_trained(folder, stores, own, same):
            tell = None if progress is None else _share_of(progress, number, members)
            report = train(stores, folder, config=own, resume=resume, progress=tell, **same)
            if not report.complete:
                return report
        reports.append(json.loads((folder / "report.json").read_text()))
    weights = [out / f"member-{number}" / TRAINED_WEIGHTS for number in range(members)]
    finders = [load_checkpoint(path)[0] for path in weights]
    card = committee_card(reports, out)
    joined = write_products(out, Committee(finders), card)
    counts = (card["steps"], card["images_seen"], card["elapsed_s"])
    return TrainReport(True, joined, *counts, card)


def _is_trained(
    folder: Path, stores: Sequence[Path | str], config: TrainConfig, same: dict[str, Any]
) -> bool:
    weights = folder / TRAINED_WEIGHTS
    if not weights.exists() or not (folder / "report.json").exists():
        return False
    return not other_training(weights, stores, config=config, **same)


def _share_of(progress: Progress, number: int, members: int) -> Progress:
    def tell(facts: dict[str, float]) -> None:
        progress({**facts, "done": (number + min(facts["done"], 1.0)) / members})

    return tell


def committee_card(reports: list[dict[str, Any]], out: Path) -> dict[str, Any]:
    """What the members' reports say together; held-out scores are the mean of theirs."""
    ids, labels, scores = _held_out_scores([out / f"member-{k}" for k in range(len(reports))])
    write_held_out(out / "held_out.csv", ids, labels, scores)
    first = {name: value for name, value in reports[0].items() if name not in _OF_MEMBERS}
    each = [
        {
            "seed": report["config"]["seed"],
            "sha256": report["sha256"],
            "images_seen": report["images_seen"],
            "held_out": report["held_out"],
            **({"stopped": report["stopped"]} if "stopped" in report else {}),
        }
        for report in reports
    ]
    return {
        **first,
        COMMITTEE: {"members": len(reports), "rule": RULE},
        "members": each,
        **{name: sum(r[name] for r in reports) for name in ("steps", "images_seen")},
        "elapsed_s": round(sum(report["elapsed_s"] for report in reports), 1),
        "held_out": evaluate_scores(labels, scores),
        "provenance": provenance(),
    }


def _held_out_scores(folders: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IDs, labels and mean logits of the objects that every member held out."""
    tables = []
    for folder in folders:
        with (folder / "held_out.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    ids = [np.array([row["id"] for row in table], object) for table in tables]
    if not all(np.array_equal(ids[0], other) for other in ids):
        raise TrainingError(
            f"the members in {folders[0].parent} held out different objects: train them anew "
            "with resume=False (--fresh)"
        )
    labels = np.array([float(row["is_lens"]) for row in tables[0]])
    scores = np.array([[float(row["score"]) for row in table] for table in tables])
    return ids[0], labels, scores.mean(axis=0)
