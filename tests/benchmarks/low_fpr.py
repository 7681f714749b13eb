"""Completeness at false-positive rates down to 1e-4, on a million simulated non-lenses.

    python tests/benchmarks/low_fpr.py FOLDER --weights bologna-space --survey bologna-space

Pixels are not kept: a million cutouts are scored in one to two hours of one CPU thread, and the
same command goes on where it was stopped; with a smaller ``-n`` it tells what is there. A rate f of
N non-lenses cuts at the k-th highest of them, k = f N, and lenses must lie above it. The first
interval allows for both samples being finite (order statistics of the non-lenses, Clopper-Pearson
for the lenses); the second is of this very cut.
"""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.table import Table
from streamed_scores import heading, parsed, parser, streamed

RATES = (1e-1, 1e-2, 1e-3, 1e-4)
FEWEST_ABOVE = 10
VISIBLE_SNR = 20.0
TOP = 200


def main() -> None:
    found = parser(__doc__, 1_000_000, "non-lenses")
    found.add_argument("--lenses", type=int, default=20_000, help="lenses (20,000)")
    options = parsed(found)
    console = Console(width=150, highlight=False)
    lenses = streamed(options, "lenses", options.lenses)
    nonlenses = streamed(options, "nonlenses", options.n)
    console.print(
        f"{heading(options)}: {lenses.num_rows:,} lenses, {nonlenses.num_rows:,} non-lenses\n",
        soft_wrap=True,
    )
    console.print(completeness_table(lenses, nonlenses))
    console.print(class_table(nonlenses, min(TOP, nonlenses.num_rows // 10)))


def completeness_table(lenses, nonlenses) -> Table:
    """One row a rate and denominator: cut, completeness with both intervals, rate of the cut."""
    import numpy as np

    from equilens.catalogs.metrics import split_scores, tpr_of_split

    table = Table(
        "FPR", "lenses", "N", "score above", "completeness at that FPR", "limits for this cut",
        "FPR of this cut", box=box.MARKDOWN,
    )  # fmt: skip
    n = nonlenses.num_rows
    for rate in RATES:
        k = math.floor(rate * n)
        if k < FEWEST_ABOVE:
            table.add_row(f"{rate:.0e}", f"needs {FEWEST_ABOVE / rate:,.0f} non-lenses")
            continue
        for name, chosen in denominators(lenses).items():
            scores = np.concatenate([lenses["score"].to_numpy()[chosen], nonlenses["score"]])
            labels = np.repeat([1, 0], [int(chosen.sum()), n])
            found = tpr_of_split(split_scores(labels, scores, nan_as_lowest=True), k, 0.95)
            cut, fpr = found.tpr_at_threshold, found.fpr_at_threshold
            table.add_row(
                f"{rate:.0e}", name, f"{cut.n:,}", f"{found.threshold:.4f}",
                f"{found.tpr.value:.4f} [{found.tpr.low:.4f}, {found.tpr.high:.4f}]",
                f"[{cut.low:.4f}, {cut.high:.4f}]",
                f"{fpr.value:.2e} [{fpr.low:.2e}, {fpr.high:.2e}]",
            )  # fmt: skip
    return table


def denominators(lenses) -> dict:
    """Which lenses completeness is a share of: all, and those with an arc to see."""
    import numpy as np

    snr = np.nan_to_num(lenses["arc_snr"].to_numpy())
    return {"all": np.ones(len(snr), bool), f"arc S/N ≥ {VISIBLE_SNR:g}": snr >= VISIBLE_SNR}


def class_table(nonlenses, top: int) -> Table:
    """What the highest-scored non-lenses are, beside how common each class is."""
    import numpy as np

    classes = np.array(nonlenses["object_class"].to_pylist())
    order = np.argsort(-np.nan_to_num(nonlenses["score"].to_numpy(), nan=-np.inf), kind="stable")
    table = Table(f"class of the highest {top:,}", "share there", "share of all", box=box.MARKDOWN)
    highest = classes[order[:top]]
    names = sorted(set(classes), key=lambda name: -np.count_nonzero(highest == name))
    for name in names:
        table.add_row(name, f"{np.mean(highest == name):.3f}", f"{np.mean(classes == name):.3f}")
    return table


if __name__ == "__main__":
    main()
