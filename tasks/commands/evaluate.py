"""`equilens evaluate`: scores against the truth."""

from __future__ import annotations

import argparse
from typing import Any

from equilens.tasks.arguments import add_missing_as_lowest, add_scored_truth, share
from equilens.tasks.console import Outcome

FIGURES = ("auroc", "tpr0", "tpr10", "f_beta")


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "evaluate", parents=[common], help="completeness, false positives and purity of scores"
    )
    add_scored_truth(parser)
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--threshold", type=float, help="of a cut that was chosen elsewhere")
    parser.add_argument(
        "--prevalence",
        type=share,
        nargs="+",
        default=(1e-3, 1e-4),
        metavar="SHARE",
        help="shares of lenses on the sky that purity is stated for",
    )
    add_missing_as_lowest(parser)
    parser.set_defaults(run=run_evaluate)


def run_evaluate(args: argparse.Namespace) -> Outcome:
    """Evaluate scores into a folder."""
    import json

    from equilens.tasks.engine import run_tasks
    from equilens.tasks.evaluate import EvaluateTask

    task = EvaluateTask(
        scores=str(args.scores),
        truth=str(args.truth) if args.truth else None,
        out=args.out,
        threshold=args.threshold,
        prevalences=tuple(args.prevalence),
        missing_as_lowest=args.missing_as_lowest,
    )
    run_tasks([task])
    with open(task.output().path, encoding="utf-8") as file:
        metrics = json.load(file)
    text = f"{metrics_text(metrics)}\nall figures in {task.output().path}"
    return Outcome(metrics, text, notes=tuple(metrics["notes"]))


def metrics_text(metrics: dict[str, Any]) -> str:
    """The main figures, a line each, with interval and N."""
    lines = [f"{metrics['n_lenses']} lenses, {metrics['n_nonlenses']} non-lenses"]
    for name in FIGURES:
        value, interval = metrics.get(name), metrics["intervals"].get(name)
        if value is None:
            lines.append(f"{name:<8}too few objects")
        else:
            low, high = (float("nan") if edge is None else edge for edge in interval)
            lines.append(
                f"{name:<8}{value:.4f}   {metrics['level']:.0%} interval {low:.4f} to {high:.4f}"
            )
    return "\n".join(lines)
