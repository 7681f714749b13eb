"""`equilens ingest`: survey files into a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import add_tolerance, existing_file, known_survey, positive
from equilens.tasks.console import Outcome, progress_bar, quarantine_code
from equilens.tasks.errors import UsageError

if TYPE_CHECKING:
    from equilens.pipeline.surveys.survey import Survey


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the commands."""
    ingest = commands.add_parser(
        "ingest", parents=[common], help="read and calibrate survey files into a store"
    )
    ingest.add_argument("source", help="folder, glob, or a CSV or Parquet manifest")
    ingest.add_argument("--night", help="take only files below a folder of this name")
    ingest.set_defaults(run=run_ingest, catalog=None)
    cut = commands.add_parser(
        "cut", parents=[common], help="cut objects out of survey tiles into a store"
    )
    cut.add_argument("source", metavar="TILES", help="folder, glob or manifest of tiles")
    cut.add_argument(
        "--catalog", type=existing_file, required=True, help="table with id, ra, dec (ICRS degrees)"
    )
    cut.set_defaults(run=run_ingest, night=None)
    for parser in (ingest, cut):
        parser.add_argument("--survey", required=True, metavar="NAME_OR_TOML")
        parser.add_argument("--out", metavar="STORE.zarr", help="needed, but for --dry-run")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done")
        parser.add_argument("--workers", type=positive, metavar="N", help="processes that read")
        parser.add_argument("--replace", action="store_true", help="overwrite a finished store")
        add_tolerance(parser)


def run_ingest(args: argparse.Namespace) -> Outcome:
    """Ingest, or say what an ingest would do."""
    survey = known_survey(args.survey)
    check_source(args.source)
    if args.dry_run:
        return _dry_run(args, survey)
    if args.out is None:
        raise UsageError("--out STORE.zarr is needed, but for --dry-run")
    from equilens.pipeline.stores import prepare_path
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.ingest import IngestTask

    if not args.replace:
        # a finished store may be of other files: only the user can say that it may go
        prepare_path(args.out, False)
    with progress_bar("ingesting") as advance:
        task = IngestTask(
            source=args.source,
            survey=args.survey,
            out=args.out,
            workers=args.workers,
            night=args.night,
            positions=str(args.catalog) if args.catalog else None,
            replace=args.replace,
            progress=Steps(advance),
        )
        run_tasks([task])
    return describe_ingest(args.out, args.tolerance)


class Steps:
    """Turn counts of objects done so far into steps of a bar."""

    def __init__(self, advance: Any) -> None:
        self.advance, self.told = advance, 0

    def __call__(self, done: int, total: int | None) -> None:
        self.advance(done - self.told)
        self.told = done


def check_source(source: str) -> None:
    """Refuse a source that is no glob and not there."""
    from glob import has_magic

    if not has_magic(source) and not Path(source).exists():
        raise UsageError(f"source {source} does not exist; give a folder, a glob or a manifest")


def describe_ingest(store_path: str, tolerance: float) -> Outcome:
    """What a finished store says of its ingest."""
    from equilens.pipeline.quarantine import count_by_rule, read_quarantine
    from equilens.pipeline.stores import CutoutStore

    store = CutoutStore(store_path)
    counts = {k: store.manifest["config"][k] for k in ("n_found", "n_quarantined", "n_merged")}
    by_rule = count_by_rule(read_quarantine(Path(store_path, "quarantine.csv")))
    facts = {
        "store": str(store_path),
        "survey": store.survey_name,
        "n_objects": store.n_objects,
        **counts,
        "by_rule": by_rule,
        "quarantine": str(Path(store_path, "quarantine.csv")),
        "fingerprint": store.fingerprint,
    }
    rules = ", ".join(f"{count} {rule}" for rule, count in by_rule.items())
    text = (
        f"{store.survey_name}: {store.n_objects} of {counts['n_found']} objects in {store_path}; "
        f"{counts['n_merged']} merged, {counts['n_quarantined']} quarantined"
        + (f" ({rules}): see {facts['quarantine']}" if rules else "")
    )
    return Outcome(
        facts, text, quarantine_code(counts["n_quarantined"], counts["n_found"], tolerance)
    )


def _dry_run(args: argparse.Namespace, survey: Survey) -> Outcome:
    from equilens.pipeline.ingest import ingest

    summary = ingest(
        args.source,
        survey,
        args.out or "",
        dry_run=True,
        tolerance=args.tolerance,
        night=args.night,
        positions=args.catalog,
    )
    code = quarantine_code(summary.n_quarantined, summary.n_found, args.tolerance)
    return Outcome(summary.to_dict(), str(summary), code)
