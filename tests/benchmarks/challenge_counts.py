"""AUROC, TPR0 and TPR10 at the lens finding challenge's own number of non-lenses, several times.

    cd tests/benchmarks
    python challenge_counts.py FOLDER --weights bologna-space --survey bologna-space

TPR0 falls as non-lenses are added, so each set has as many as the challenge's test set (60,000 in
space, 50,000 on the ground) and it is told as median and range over independent sets. The sets are
disjoint parts of one stream. Lenses are fewer than the challenge's: neither figure depends on their
number but for its scatter, which the interval states. Published figures are of the challenge's own
objects and stand beside these, not among them.
"""

from __future__ import annotations

import argparse
from statistics import median

from rich import box
from rich.console import Console
from rich.table import Table
from streamed_scores import heading, parsed, parser, streamed

CHALLENGE_SETS = {"bologna-space": "space", "bologna-ground": "ground"}
OTHERWISE = 50_000
FIGURES = ("auroc", "tpr0", "tpr10")


def main() -> None:
    found = parser(__doc__, 0, "non-lenses a set; 0 for the challenge's own number")
    found.add_argument("--sets", type=int, default=5, help="independent sets (5)")
    found.add_argument("--lenses", type=int, default=4_000, help="lenses a set (4,000)")
    options = parsed(found)
    if options.sets < 2:
        found.error("--sets must be at least 2: a range is asked for")
    console = Console(width=130, highlight=False)
    reports = set_reports(options)
    console.print(
        f"{heading(options)}: {options.sets} sets of {reports[0]['n_lenses']:,} lenses and "
        f"{reports[0]['n_nonlenses']:,} non-lenses\n",
        soft_wrap=True,
    )
    console.print(figures_table(reports))
    if options.survey in CHALLENGE_SETS:
        show_published(CHALLENGE_SETS[options.survey], reports, console)


def set_reports(options: argparse.Namespace) -> list[dict]:
    """All figures of each set."""
    import numpy as np

    from equilens.catalogs.evaluation import evaluate_scores
    from equilens.catalogs.ranking import TEST_SET_NONLENSES

    challenge = CHALLENGE_SETS.get(options.survey)
    n = options.n or (TEST_SET_NONLENSES[challenge] if challenge else OTHERWISE)
    lenses = streamed(options, "lenses", options.sets * options.lenses)["score"].to_numpy()
    nonlenses = streamed(options, "nonlenses", options.sets * n)["score"].to_numpy()
    labels = np.repeat([1, 0], [options.lenses, n])
    return [
        evaluate_scores(labels, np.concatenate(pair), nan_as_lowest=True)
        for pair in zip(
            np.array_split(lenses, options.sets),
            np.array_split(nonlenses, options.sets),
            strict=True,
        )
    ]


def figures_table(reports: list[dict]) -> Table:
    """One row a set, then median and range."""
    table = Table("set", *(name.upper() for name in FIGURES), box=box.MARKDOWN)
    for k, report in enumerate(reports, start=1):
        cells = (
            f"{report[name]:.4f} [{report['intervals'][name][0]:.4f}, "
            f"{report['intervals'][name][1]:.4f}]"
            for name in FIGURES
        )
        table.add_row(str(k), *cells)
    values = {name: [report[name] for report in reports] for name in FIGURES}
    table.add_row("median", *(f"{median(values[name]):.4f}" for name in FIGURES))
    spans = (f"{min(values[name]):.4f} to {max(values[name]):.4f}" for name in FIGURES)
    table.add_row("range", *spans)
    return table


def show_published(challenge: str, reports: list[dict], console: Console) -> None:
    """The best published figures, and where each median would stand."""
    from equilens.catalogs.ranking import TEST_SET_NONLENSES, place_among_published

    medians = {name: median(report[name] for report in reports) for name in FIGURES}
    table = Table("figure", "median", "best published", "by", "it would be", box=box.MARKDOWN)
    for name, place in place_among_published(challenge, medians).items():
        best = getattr(place.best, name)
        where = f"{place.place} of {place.n_published + 1}"
        table.add_row(name.upper(), f"{place.value:.4f}", f"{best:.4f}", place.best.team, where)
    console.print(table)
    console.print(
        f"Published: the challenge's own objects, about {TEST_SET_NONLENSES[challenge]:,} "
        "non-lenses. A place counts only there; how hard this simulation is beside them, "
        "hardness.py asks.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
