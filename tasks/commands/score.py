"""`equilens score`: a network over a store."""

from __future__ import annotations

import argparse

from equilens.tasks.arguments import add_tolerance, batch_size, existing_path, known_model, positive
from equilens.tasks.console import Outcome, progress_bar, quarantine_code


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser("score", parents=[common], help="score a store with a network")
    parser.add_argument("cutouts", type=existing_path, metavar="STORE.zarr")
    parser.add_argument(
        "--model", required=True, metavar="NAME_OR_DIR", help="shipped name, folder or weights file"
    )
    parser.add_argument("--out", required=True, metavar="SCORES.zarr")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler; else embedded")
    parser.add_argument("--workers", type=positive, metavar="N", help="of the embedded cluster")
    parser.add_argument("--batch-size", type=batch_size, default=64, metavar="N")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--replace", action="store_true", help="give up other scores in --out")
    add_tolerance(parser)
    parser.set_defaults(run=run_score)


def run_score(args: argparse.Namespace) -> Outcome:
    """Score a store."""
    from equilens.pipeline.scores import ScoreStore
    from equilens.pipeline.stores import CutoutStore
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.score import ScoreTask

    n_objects = CutoutStore(args.cutouts).n_objects
    known_model(args.model)
    with progress_bar("scoring", n_objects) as advance:
        task = ScoreTask(
            cutouts=str(args.cutouts),
            model=args.model,
            out=args.out,
            scheduler=args.scheduler,
            workers=args.workers,
            batch_size=args.batch_size,
            device=args.device,
            replace=args.replace,
            progress=lambda facts: advance(int(facts["rows"])),
        )
        run_tasks([task])
    manifest = ScoreStore(args.out).manifest
    facts = {
        "scores": args.out,
        "network": manifest["network"]["name"],
        "sha256": manifest["identity"]["network"],
        "n_objects": manifest["n_objects"],
        "n_quarantined": manifest["n_quarantined"],
        "n_out_of_domain": manifest["guard"]["n_outside"],
        "notes": manifest["guard"]["notes"],
        "fingerprint": manifest["fingerprint"],
    }
    text = (
        f"scored {facts['n_objects']} objects with {facts['network']} "
        f"({facts['sha256'][:12]}) into {args.out}; {facts['n_quarantined']} without a score, "
        f"{facts['n_out_of_domain']} outside the training domain"
    )
    code = quarantine_code(facts["n_quarantined"], facts["n_objects"], args.tolerance)
    return Outcome(facts, text, code, tuple(manifest["guard"]["notes"]))
