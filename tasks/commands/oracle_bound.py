"""`equilens oracle-bound`: what no finder can exceed on a survey's simulated lenses."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from equilens.tasks.arguments import known_survey, positive
from equilens.tasks.console import Outcome, plain, progress_bar

HEADS = {"einstein_radius_arcsec": 'Einstein radius (")', "arc_snr": "arc signal-to-noise"}
MEANING = (
    "Bound on finders that tell lenses from the same fields without their arcs: the likelihood "
    "ratio of a test that knows field, arc and PSF. Against other non-lenses (rings, spirals, "
    "mergers) a finder may score higher or lower. Bins rank lenses against fields of the same bin."
)


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "oracle-bound",
        parents=[common],
        help="simulate, and say how well a test that knows everything but the noise would do",
        description=MEANING,
    )
    parser.add_argument("survey", metavar="SURVEY", help="name or TOML file")
    parser.add_argument(
        "-n",
        type=positive,
        default=20_000,
        dest="n_objects",
        metavar="N",
        help="cutouts, half of them lenses (20000)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="write the figures as well")
    parser.set_defaults(run=run_oracle_bound)


def run_oracle_bound(args: argparse.Namespace) -> Outcome:
    """Simulate a matched set and show the oracle's figures."""
    survey = known_survey(args.survey)
    from rich.console import Group

    from equilens.pipeline.provenance import provenance, write_json_atomic
    from equilens.pipeline.simulation.oracle import oracle_bound

    with progress_bar("simulating", args.n_objects) as advance:
        report = oracle_bound(survey, args.n_objects, args.seed, progress=advance)
    report |= {"meaning": MEANING, "provenance": provenance()}
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(args.out, plain(report))
    tables = [_table(HEADS[name], rows) for name, rows in report["bins"].items() if rows]
    return Outcome(report, Group(_summary(report), *(x for t in tables for x in ("", t))))


def _summary(report: dict[str, Any]) -> str:
    low, high = report["intervals"]["auroc"]
    counts = f"{report['n_lenses']:,} lenses and {report['n_nonlenses']:,} fields"
    lines = [
        f"{report['survey']}, seed {report['seed']}: {counts}",
        f"AUROC at most {report['auroc']:.5f} ({low:.5f} to {high:.5f}); "
        f"closed form {report['closed_form_auroc']:.5f}",
    ]
    for name, fewer in (("tpr0", "no"), ("tpr10", "fewer than 10")):
        if report[name] is not None:
            low, high = report["intervals"][name]
            lines.append(
                f"{name.upper()} {report[name]:.3f} ({low:.3f} to {high:.3f}), with {fewer} false "
                f"positives among {report['n_nonlenses']:,}"
            )
    lines.append(f"{100 * report['invisible_share']:.1f} % of arcs have a signal-to-noise below 1")
    return "\n".join([*lines, "", MEANING])


def _table(head: str, rows: list[dict[str, Any]]) -> Any:
    from rich.table import Column, Table

    columns = [Column(name, justify="right") for name in ("lenses", "fields")]
    table = Table(head, *columns, "AUROC", "TPR0", "TPR10", box=None, pad_edge=False)
    for row in rows:
        upper = "and above" if math.isinf(row["high"]) else f"to {row['high']:g}"
        low, high = row["intervals"]["auroc"]
        table.add_row(
            f"{row['low']:g} {upper}",
            f"{row['n_lenses']:,}",
            f"{row['n_nonlenses']:,}",
            f"{row['auroc']:.4f} ({low:.4f} to {high:.4f})",
            f"{row['tpr0']:.3f}",
            "" if row["tpr10"] is None else f"{row['tpr10']:.3f}",
        )
    return table
