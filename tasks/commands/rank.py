"""`equilens rank` and `equilens score-simulated`: real objects among simulated non-lenses."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import (
    existing_file,
    existing_path,
    known_model,
    known_survey,
    positive,
    share,
)
from equilens.tasks.console import Outcome, progress_bar
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".csv", ".ecsv", ".fits", ".vot")
MOST_ROWS = 40


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare both commands."""
    parser = commands.add_parser(
        "rank", parents=[common], help="where real objects rank among simulated non-lenses"
    )
    parser.add_argument("scores", type=existing_path, metavar="SCORES.zarr", help="of real objects")
    parser.add_argument(
        "--among",
        type=existing_path,
        required=True,
        metavar="SCORES",
        help="of simulated objects with truth, by the same network: a store of `equilens score`, "
        "or a folder of `equilens score-simulated`",
    )
    parser.add_argument(
        "--labels",
        type=existing_file,
        metavar="KEY",
        help="IDs and is_lens of real objects; 0 makes a field object. Default: the cutouts' own",
    )
    parser.add_argument(
        "--injected",
        type=existing_path,
        action="append",
        default=[],
        metavar="CUTOUTS.zarr",
        help="of `equilens inject`, that the network was trained on: objects of its frames are "
        "refused; may be repeated",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help=" ".join(SUFFIXES))
    parser.set_defaults(run=run_rank)
    _add_score_simulated(commands, common)


def _add_score_simulated(
    commands: argparse._SubParsersAction, common: argparse.ArgumentParser
) -> None:
    parser = commands.add_parser(
        "score-simulated",
        parents=[common],
        help="scores of simulated objects whose pixels are not kept; goes on after a stop",
    )
    parser.add_argument("--survey", required=True, metavar="NAME_OR_TOML")
    parser.add_argument("--model", required=True, metavar="NAME_OR_PATH")
    parser.add_argument("-n", type=positive, required=True, dest="n_objects", metavar="N")
    parser.add_argument("--seed", type=int, required=True, help="none that was trained on")
    parser.add_argument(
        "--lens-fraction", type=share, default=0.0, metavar="SHARE", help="default: 0, no lens"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.set_defaults(run=run_score_simulated)


def run_score_simulated(args: argparse.Namespace) -> Outcome:
    """Simulate and score into a folder."""
    known_survey(args.survey)
    model = known_model(args.model)
    from equilens.pipeline.simulated_scores import SimulatedScores
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.simulated_scores import ScoreSimulatedTask

    with progress_bar("simulating and scoring", args.n_objects) as advance:
        task = ScoreSimulatedTask(
            survey=args.survey,
            model=model,
            n_objects=args.n_objects,
            seed=args.seed,
            lens_fraction=args.lens_fraction,
            device=args.device,
            out=args.out,
            progress=advance,
        )
        run_tasks([task])
    found = SimulatedScores(args.out)
    n_lenses = int(found.table()["is_lens"].to_numpy().sum())
    facts = {
        "folder": args.out,
        "n_objects": found.n_objects,
        "n_lenses": n_lenses,
        **{name: found.identity[name] for name in ("survey", "seed", "lens_fraction", "network")},
    }
    return Outcome(
        facts,
        f"{found.n_objects:,} simulated objects of {found.identity['survey']}, {n_lenses:,} of "
        f"them lenses, scored by {found.identity['network']['name']}: {args.out}",
    )


def run_rank(args: argparse.Namespace) -> Outcome:
    """Rank real objects into a file."""
    if Path(args.out).suffix.lower() not in SUFFIXES:
        raise UsageError(f"--out {args.out}: the suffix must be one of {' '.join(SUFFIXES)}")
    import json

    from equilens.catalogs.export import read_catalog
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.rank import RankTask

    labels = str(args.labels) if args.labels else None
    task = RankTask(
        scores=str(args.scores),
        among=str(args.among),
        labels=labels,
        injected=[str(path) for path in args.injected],
        out=args.out,
    )
    run_tasks([task])
    beside, table = Path(args.out).with_suffix(".json"), read_catalog(args.out)
    facts = json.loads(beside.read_text())
    return Outcome(
        {**facts, "files": [args.out, str(beside)], "rows": table.to_pylist()},
        f"{rank_text(facts, table)}\nall of it in {args.out}, what it stands on in {beside}",
    )


def rank_text(facts: dict[str, Any], table: pa.Table) -> str:
    """Counts, one line an object, and what they can not show."""
    lines = [
        f"{facts['n_objects']:,} objects of {facts['survey']} among {facts['n_nonlenses']:,} "
        f"simulated non-lenses of {facts['simulated_survey']}, network "
        f"{facts['network']['name']}",
        f"{'':<6}{'object':<40}{'score':>8}{'rank':>9}  {'non-lenses from there on':<34}"
        "in the field",
    ]
    rows = table.to_pylist()
    lines += [_line(row) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        lines.append(f"and {len(rows) - MOST_ROWS:,} more")
    for name in ("lenses", "field"):
        if (counts := facts[name])["n"]:
            lines.append(
                f"{counts['n_within_top']} of {counts['n']} "
                f"{'field objects' if name == 'field' else name} within the top "
                f"{counts['top_share']:.0%} of the non-lenses, {counts['n_surely_within_top']} of "
                f"them with the whole interval{_lost(counts)}"
            )
    if facts["n_out_of_domain"]:
        lines.append(f"* {facts['n_out_of_domain']} objects lie outside of the training's domain")
    return "\n".join([*lines, facts["field_statement"]])


def _lost(counts: dict[str, Any]) -> str:
    lost = counts["n_without_score"]
    return f"; {lost} more of the key have no score" if lost else ""


def _line(row: dict[str, Any]) -> str:
    kind = {1: "lens", 0: "field", None: ""}[row["is_lens"]]
    share = f"{row['share']:.3g} [{row['share_low']:.3g}, {row['share_high']:.3g}]"
    rank = row["rank_in_field"]
    field = "" if rank is None else f"{rank} of {row['n_field'] + 1}"
    return (
        f"{kind:<6}{row['id'][:38] + ('*' if row['out_of_domain'] else ''):<40}"
        f"{row['score']:>8.3f}{row['rank_in_nonlenses']:>9,}  {share:<34}{field}"
    )
