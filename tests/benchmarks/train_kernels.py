"""The d4 nano lens finder with analytic and with implicit kernels, trained side by side.

Both see the same simulated Euclid cutouts in the same order with the same augmentation, schedule
and number of images; a tenth of the objects, never trained on, is scored by both. A seed draws
initial weights, order and augmentation. The store is made by

    equilens simulate --survey euclid-mer -n 40000 --seed 201 --out euclid.zarr

in about 200 s, and all trainings by

    python tests/benchmarks/train_kernels.py euclid.zarr --out trained

in about 10 minutes of one core each; those that ended already are not repeated, one that was
stopped goes on. ``--table`` prints the table of what is there.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

ARCHITECTURES = {"analytic": "d4-resnet-nano", "implicit": "d4-resnet-nano-implicit"}
FIELD_PX = 69
RESAMPLES = 1000


def main() -> None:
    options = arguments()
    for seed in options.seeds:
        for kernels in ARCHITECTURES:
            report = folder(options.out, kernels, seed) / "report.json"
            if not options.table and not report.exists():
                run(kernels, seed, options)
    sys.stdout.write(table(options.out, options.seeds))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path, nargs="?", help="labelled cutouts")
    parser.add_argument("--out", type=Path, required=True, help="a folder a training goes in here")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--images", type=int, default=40_000, help="shown to each network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    if options.store is None and not options.table:
        parser.error("a store of labelled cutouts is needed to train")
    return options


def folder(out: Path, kernels: str, seed: int) -> Path:
    return out / f"{kernels}-{seed}"


def run(kernels: str, seed: int, options: argparse.Namespace) -> None:
    """Train one finder to the end of its budget of images."""
    from equilens.pipeline.training import TrainConfig, train

    train(
        [options.store],
        folder(options.out, kernels, seed),
        architecture=ARCHITECTURES[kernels],
        field_px=FIELD_PX,
        config=TrainConfig(images_seen=options.images, threads=options.threads, seed=seed),
    )


def table(out: Path, seeds: list[int]) -> str:
    """Return the figures of all trainings that ended, in Markdown."""
    lines = [
        "| kernels, seed | parameters | AUROC (95 %) | TPR10 (95 %) |",
        "|---|---:|---|---|",
    ]
    notes = []
    for seed in seeds:
        reports = {kernels: folder(out, kernels, seed) / "report.json" for kernels in ARCHITECTURES}
        for kernels, path in reports.items():
            if path.exists():
                report = json.loads(path.read_text())
                lines.append(row(f"{kernels}, {seed}", report))
                found = report["held_out"]
                counts = f"N = {found['n_lenses']:,} lenses, {found['n_nonlenses']:,} non-lenses"
                notes.append(f"{counts}, {report['images_seen']:,} images")
        if all(path.exists() for path in reports.values()):
            notes.append(f"seed {seed}: {difference(out, seed)}")
    return "\n".join(lines) + "\n\n" + "\n".join(dict.fromkeys(notes)) + "\n"


def row(name: str, report: dict) -> str:
    """Return one training's line."""
    found = report["held_out"]
    figures = []
    for figure in ("auroc", "tpr10"):
        low, high = found["intervals"][figure]
        figures.append(f"{found[figure]:.4f} ({low:.4f} to {high:.4f})")
    cells = (name, f"{report['parameters']:,}", *figures)
    return f"| {' | '.join(cells)} |"


def difference(out: Path, seed: int) -> str:
    """Return AUROC of implicit minus analytic on the same objects, with a paired bootstrap."""
    import numpy as np

    from equilens.catalogs.metrics import auroc

    scored = [read_scores(folder(out, k, seed) / "held_out.csv") for k in ("implicit", "analytic")]
    (ids, labels, first), (same_ids, _, second) = scored
    assert ids == same_ids, "both must have scored the same objects"
    draw = np.random.default_rng(0)
    changes = []
    for turn in range(RESAMPLES + 1):
        chosen = draw.integers(0, len(labels), len(labels)) if turn else np.arange(len(labels))
        areas = [auroc(labels[chosen], scores[chosen]).value for scores in (first, second)]
        changes.append(areas[0] - areas[1])
    low, high = np.quantile(changes[1:], (0.025, 0.975))
    return f"AUROC implicit − analytic {changes[0]:+.4f} (95 %: {low:+.4f} to {high:+.4f})"


def read_scores(path: Path):
    """Return IDs, labels and scores of the held-out objects."""
    import numpy as np

    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    ids = [row["id"] for row in rows]
    columns = [np.array([float(row[name]) for row in rows]) for name in ("is_lens", "score")]
    return ids, *columns


if __name__ == "__main__":
    main()
