"""`equilens lenscat renew`: the table of known lenses, made from a newer release."""

from __future__ import annotations

import argparse
from pathlib import Path

from equilens.tasks.arguments import existing_file
from equilens.tasks.console import Outcome


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser("lenscat", help="the table of known lenses that ships")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    renew = actions.add_parser(
        "renew", parents=[common], help="make the table from lenscat's own catalog.csv"
    )
    renew.add_argument("source", type=existing_file, metavar="CATALOG.csv")
    renew.add_argument("--release", default="unknown", help="of lenscat that the file is from")
    renew.add_argument("--out", type=Path, required=True, metavar="LENSCAT.parquet")
    renew.set_defaults(run=run_renew)


def run_renew(args: argparse.Namespace) -> Outcome:
    """Write the Parquet table."""
    from equilens.catalogs.lenscat import build_lenscat

    table = build_lenscat(args.source, args.out, args.release)
    stated = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    facts = {"table": str(args.out), "n_rows": table.num_rows, **stated}
    return Outcome(facts, f"{table.num_rows} known lenses and candidates in {args.out}")
