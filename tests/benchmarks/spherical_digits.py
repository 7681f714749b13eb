"""Spherical digits, NR/NR, R/R and NR/R: ours, a Cohen-like S²CNN and a planar CNN.

Protocol
--------
That of Cohen et al. (2018, arXiv:1801.10130, section 5.2), on 4,000 real MNIST digits
(``<EQUILENS_DATA>/mnist/mnist_4000.npz``) in place of 70,000: 300 a class to train on, 100 to test
on, one split for all. Digits are projected onto the sphere at bandwidth 30 (60 × 60 equiangular
maps, ``digits/spherical.py``). NR: all at the pole. R: each turned by one uniform random rotation;
no augmentation. X/Y: trained on X, tested on Y. Rotated tests turn each test digit five times.

Networks have the same number of parameters within two percent and the same training: AdamW, weight
decay 1e-4, a one-cycle rate, batches of 32, float32, one seed for weights, batches and rotations.
All take maps. The Cohen-like one is ``classifier.cohen_like``, the planar ``planar_comparator``.

    python tests/benchmarks/spherical_digits.py --out digits.jsonl [--only ours cohen-like planar]

Each training writes its cells into the results file as it ends; those that are there are skipped.
``--table`` prints the table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as functional
from digits import spherical
from scipy.stats import binomtest
from torch import Tensor, nn

from equilens.models.spherical.classifier import (
    SphericalClassifier,
    cohen_like,
    planar_comparator,
)

CONTENDERS: dict[str, Callable[[], nn.Module]] = {
    "ours": lambda: SphericalClassifier(1, spherical.N_CLASSES, spherical.GRID),
    "cohen-like": lambda: cohen_like(spherical.N_CLASSES, spherical.GRID),
    "planar": lambda: planar_comparator(spherical.N_CLASSES),
}
N_TURNS, BATCH, WEIGHT_DECAY = 5, 32, 1e-4


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    if options.table:
        sys.stdout.write(table(read(options.out)))
        return
    done = {(row["contender"], row["trained"], row["seed"]) for row in read(options.out)}
    for seed in options.seeds:
        for contender in options.only:
            for trained in ("NR", "R"):
                if (contender, trained, seed) not in done:
                    rows = run(contender, trained, seed, options)
                    text = "".join(json.dumps(row) + "\n" for row in rows)
                    with options.out.open("a") as file:
                        file.write(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rate", type=float, default=1e-2, help="peak learning rate")
    parser.add_argument("--each", nargs=2, type=int, default=(300, 100), metavar=("TRAIN", "TEST"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("spherical_digits.jsonl"))
    parser.add_argument("--table", action="store_true", help="print what the results file holds")
    return parser.parse_args()


def run(contender: str, trained: str, seed: int, options: argparse.Namespace) -> list[dict]:
    """Train one network and test it unrotated and rotated; rows of the results file."""
    data = Path(os.environ["EQUILENS_DATA"])
    train_part, test_part = spherical.load(data, *options.each)
    digits = spherical.on_sphere(*train_part, trained == "R", seed)
    torch.manual_seed(seed)
    network = CONTENDERS[contender]()
    seconds = train(network, digits, seed, options)
    common = {
        "contender": contender,
        "trained": trained,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "n_train": len(digits.labels),
        "images_seen": len(digits.labels) * options.epochs,
        "rate": options.rate,
        "cpu_seconds": round(seconds, 1),
        "train_accuracy": float((predictions(network, digits) == digits.labels).float().mean()),
    }
    still = predictions(network, spherical.on_sphere(*test_part, False, 0))
    turned = torch.stack(
        [
            predictions(network, spherical.on_sphere(*test_part, True, 1000 * (seed + 1) + turn))
            for turn in range(N_TURNS)
        ]
    )
    labels = test_part[1]
    changed = float((turned != still).float().mean())
    return [
        common | {"tested": "NR", "turns": 1, **share(still == labels)},
        common | {"tested": "R", "turns": N_TURNS, "changed": changed, **share(turned == labels)},
    ]


def share(right: Tensor) -> dict[str, float | int]:
    """Accuracy and number of digits."""
    return {"accuracy": float(right.float().mean()), "n_test": right.shape[-1]}


def train(
    network: nn.Module, digits: spherical.SphericalDigits, seed: int, options: argparse.Namespace
) -> float:
    """Train in place; return CPU seconds."""
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=WEIGHT_DECAY)
    steps = options.epochs * math.ceil(len(digits.labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, options.rate, total_steps=steps)
    start = time.process_time()
    network.train()
    for _ in range(options.epochs):
        for batch in torch.randperm(len(digits.labels), generator=draw).split(BATCH):
            loss = functional.cross_entropy(network(digits.maps[batch]), digits.labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return time.process_time() - start


def predictions(network: nn.Module, digits: spherical.SphericalDigits) -> Tensor:
    """Return the class that the network takes each digit for."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(maps).argmax(dim=1) for maps in digits.maps.split(100)])


def read(path: Path) -> list[dict]:
    """Return the rows of a results file, none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(rows: list[dict]) -> str:
    """Return the rows in Markdown: a line a contender and seed, with 95 % intervals."""
    lines = [
        "| | seed | parameters | NR/NR % | R/R % | NR/R % | NR/NR − NR/R | turns that change the "
        "class | CPU s a training |",
        "|---|---:|---:|---|---|---|---:|---:|---:|",
    ]
    order = list(CONTENDERS)
    pairs = sorted({(order.index(row["contender"]), row["seed"]) for row in rows})
    for number, seed in pairs:
        own = [row for row in rows if (row["contender"], row["seed"]) == (order[number], seed)]
        cells = {(row["trained"], row["tested"]): row for row in own}
        still, turned = cells.get(("NR", "NR")), cells.get(("NR", "R"))
        if still is None or turned is None:
            continue
        both = cells.get(("R", "R"))
        seconds = max(row["cpu_seconds"] for row in own)
        values = (
            order[number],
            str(seed),
            f"{still['parameters']:,}",
            interval(still),
            interval(both) if both else "",
            interval(turned),
            f"{100 * (still['accuracy'] - turned['accuracy']):+.2f}",
            f"{100 * turned['changed']:.2f} %",
            f"{seconds:.0f}",
        )
        lines.append(f"| {' | '.join(values)} |")
    sizes = {(row["n_train"], row["images_seen"], row["n_test"], row["rate"]) for row in rows}
    for n_train, seen, n_test, rate in sorted(sizes):
        lines.append(
            f"\n{n_train:,} digits to train on, {seen:,} images seen, N = {n_test:,} digits to "
            f"test on (rotated ones at {N_TURNS} rotations each; intervals count digits), rate "
            f"{rate}"
        )
    return "\n".join(lines) + "\n"


def interval(row: dict) -> str:
    """Accuracy in percent with its Clopper-Pearson interval, each digit counted once."""
    n = row["n_test"]
    found = binomtest(round(row["accuracy"] * n), n).proportion_ci()
    return f"{100 * row['accuracy']:.1f} ({100 * found.low:.1f} to {100 * found.high:.1f})"


if __name__ == "__main__":
    main()
