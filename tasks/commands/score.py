"""`equilens score`: networks over a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from equilens.tasks.arguments import add_tolerance, batch_size, existing_path, known_model, positive
from equilens.tasks.console import Outcome, progress_bar, quarantine_code


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser("score", parents=[common], help="score a store with networks")
    parser.add_argument("cutouts", type=existing_path, metavar="STORE.zarr")
    parser.add_argument(
        "--model",
        required=True,
        action="append",
        metavar="NAME_OR_DIR",
        help="shipped name, folder or weights file; several are scored in one read",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="SCORES.zarr",
        help="of several models the folder for NAME.zarr of each",
    )
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler; else embedded")
    parser.add_argument("--workers", type=positive, metavar="N", help="of the embedded cluster")
    parser.add_argument(
        "--batch-size",
        type=lambda text: None if text == "auto" else batch_size(text),
        default=64,
        metavar="N",
        help="cutouts at once (default 64); auto times a few sizes and keeps the fastest",
    )
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--replace", action="store_true", help="give up other scores in --out")
    add_tolerance(parser)
    parser.set_defaults(run=run_score)


def run_score(args: argparse.Namespace) -> Outcome:
    """Score a store."""
    from equilens.pipeline.scoring import score_paths
    from equilens.pipeline.stores import CutoutStore
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.score import ScoreTask

    n_objects = CutoutStore(args.cutouts).n_objects
    models = [known_model(model) for model in args.model]
    paths = score_paths(models, args.out)
    with progress_bar("scoring", n_objects * len(models)) as advance:
        task = ScoreTask(
            cutouts=str(args.cutouts),
            models=models,
            out=args.out,
            scheduler=args.scheduler,
            workers=args.workers,
            batch_size=args.batch_size,
            device=args.device,
            replace=args.replace,
            progress=lambda facts: advance(int(facts["rows"])),
        )
        run_tasks([task])
    found = [_facts(path) for path in paths.values()]
    lost = max(facts["n_quarantined"] for facts in found)
    code = quarantine_code(lost, n_objects, args.tolerance)
    notes = dict.fromkeys(note for facts in found for note in facts["notes"])
    facts = found[0] if len(found) == 1 else {"n_objects": n_objects, "networks": found}
    return Outcome(facts, "\n".join(map(_sentence, found)), code, tuple(notes))


def _facts(scores: Path) -> dict[str, Any]:
    from equilens.pipeline.scores import ScoreStore

    manifest = ScoreStore(scores).manifest
    return {
        "scores": str(scores),
        "network": manifest["network"]["name"],
        "sha256": manifest["identity"]["network"],
        "batch_size": manifest["identity"]["batch_size"],
        "n_objects": manifest["n_objects"],
        "n_quarantined": manifest["n_quarantined"],
        "n_out_of_domain": manifest["guard"]["n_outside"],
        "notes": manifest["guard"]["notes"],
        "fingerprint": manifest["fingerprint"],
    }


def _sentence(facts: dict[str, Any]) -> str:
    return (
        f"scored {facts['n_objects']} objects with {facts['network']} "
        f"({facts['sha256'][:12]}) into {facts['scores']}; {facts['n_quarantined']} without a "
        f"score, {facts['n_out_of_domain']} outside the training domain"
    )
