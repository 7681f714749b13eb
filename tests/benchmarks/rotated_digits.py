"""Error on rotated digits: ours with analytic and implicit kernels, escnn, and plain networks.

Protocol
--------
Data: ``<EQUILENS_DATA>/mnist/mnist_4000.npz``, 4,000 real MNIST digits, 400 a class. One split for
all, 300 a class to train on and 100 to test on. Each digit is turned once, by an angle that is
uniform in 0…360° and drawn from the seed, bicubic onto 29² pixels; training sees each at that one
angle in every epoch: no augmentation. A seed draws angles, initial weights and batches; within a
seed all contenders see the same images in the same order.

Network: one skeleton (``digits/protocol.py``), four 5×5 convolutions with batch norm and ELU on
29², 15², 8² and 4²; the same taper, blur, pooling and perceptron. Equivariant contenders have
regular fields of C8, (3, 6, 8, 16) of them; ``plain`` has channels for the same number of
parameters within a percent, ``plain-wide`` the same number of channels.

Training: AdamW, weight decay 1e-4, one-cycle rate that peaks at 0.01, batches of 50, 20 epochs,
float32, the same for all. The peak was chosen from 0.003 and 0.01 by ours, escnn and plain on 50
digits a class of the training part (``--validate --rate R --seeds 99``); nothing was looked at on
the test part. Sizes are such that all 25 trainings take about 40 minutes of one free core.

escnn 1.0.11 needs numpy below 2 and a Fortran compiler, so an environment of its own:

    python3.11 -m venv escnn
    escnn/bin/pip install "numpy<2" torch==2.13.0 "setuptools<81" wheel
    escnn/bin/pip install "numpy<2" escnn==1.0.11
    escnn/bin/python tests/benchmarks/rotated_digits.py --contender escnn --out results.jsonl

The others run in that of equilens (``--contender ours plain plain-wide implicit``); seeds that the
results file has already are skipped. ``--table`` prints the table from it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

CONTENDERS = ("ours", "implicit", "gated", "scalars", "vectors", "escnn", "plain", "plain-wide")


def main() -> None:
    options = arguments()
    options.part = "validation" if options.validate else "test"
    rows = [row for row in read(options.out) if row["part"] == options.part]
    if options.table:
        sys.stdout.write(table(rows))
        return
    done = {(row["contender"], row["seed"]) for row in rows}
    for seed in options.seeds:
        for contender in options.contender:
            if (contender, seed) not in done:
                row = run(contender, seed, options)
                with options.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--contender", nargs="+", choices=CONTENDERS, default=[])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("rotated_digits.jsonl"))
    parser.add_argument("--rate", type=float, help="peak learning rate (the protocol's)")
    parser.add_argument("--validate", action="store_true", help="leave the test part alone")
    parser.add_argument("--table", action="store_true", help="print what the results file holds")
    return parser.parse_args()


def run(contender: str, seed: int, options: argparse.Namespace) -> dict[str, object]:
    """Train and test one contender; the row of the results file."""
    import torch
    from digits import protocol
    from digits.contenders import build

    torch.set_num_threads(options.threads)
    data = Path(os.environ["EQUILENS_DATA"])
    train, test = protocol.rotated_digits(data, seed, options.validate)
    network = build(contender, seed)
    rate = options.rate or protocol.LEARNING_RATE
    seconds = protocol.train(network, train, seed, rate, protocol.EPOCHS)
    return {
        "contender": contender,
        "seed": seed,
        "error": protocol.error(network, test),
        "train_error": protocol.error(network, train),
        "n_test": len(test.labels),
        "n_train": len(train.labels),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "rate": rate,
        "epochs": protocol.EPOCHS,
        "cpu_seconds": round(seconds, 1),
        "part": options.part,
    }


def read(path: Path) -> list[dict]:
    """Return the rows of a results file, none where there is no file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def table(rows: list[dict]) -> str:
    """Return the rows in Markdown: one line a contender, mean and standard error over seeds."""
    lines = [
        "| | parameters | error % | each seed | over ours, same seed | CPU s a training |",
        "|---|---:|---:|---|---:|---:|",
    ]
    ours = {row["seed"]: row["error"] for row in rows if row["contender"] == "ours"}
    for contender in CONTENDERS:
        own = sorted(
            (row for row in rows if row["contender"] == contender), key=lambda r: r["seed"]
        )
        if own:
            errors = [100 * row["error"] for row in own]
            excess = [100 * (r["error"] - ours[r["seed"]]) for r in own if r["seed"] in ours]
            cells = (
                contender,
                f"{own[0]['parameters']:,}",
                mean(errors),
                ", ".join(f"{error:.1f}" for error in errors),
                "" if contender == "ours" else mean(excess, "+"),
                f"{statistics.median(row['cpu_seconds'] for row in own):.0f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    parts = {(row["part"], row["n_train"], row["n_test"], row["rate"]) for row in rows}
    for part, n_train, n_test, rate in sorted(parts):
        lines.append(
            f"\nN = {n_test:,} digits ({part}) a seed, {n_train:,} to train on, rate {rate}"
        )
    return "\n".join(lines) + "\n"


def mean(values: list[float], sign: str = "") -> str:
    """Mean ± standard error."""
    if len(values) < 2:
        return "".join(f"{value:{sign}.2f}" for value in values)
    spread = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.fmean(values):{sign}.2f} ± {spread:.2f}"


if __name__ == "__main__":
    main()
