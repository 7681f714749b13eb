"""`equilens export`: the candidate catalogue."""

from __future__ import annotations

import argparse
from pathlib import Path

from equilens.tasks.arguments import existing_file, existing_path, positive, positive_float
from equilens.tasks.console import Outcome
from equilens.tasks.errors import UsageError

SUFFIXES = (".parquet", ".fits", ".vot", ".votable", ".xml", ".ecsv", ".csv")


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "export", parents=[common], help="write ranked candidates, in the format of the suffix"
    )
    parser.add_argument("scores", type=existing_path, metavar="SCORES.zarr")
    parser.add_argument("--out", required=True, nargs="+", metavar="FILE", help=" ".join(SUFFIXES))
    cut = parser.add_mutually_exclusive_group()
    cut.add_argument("--top", type=positive, metavar="N", help="keep the best N")
    cut.add_argument("--threshold", type=float, metavar="T", help="keep scores from T on")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=SKY.zarr",
        help="attach a sky map's value at each object; may be repeated",
    )
    parser.add_argument(
        "--radius", type=positive_float, default=2.0, metavar="ARCSEC", help="to known lenses"
    )
    parser.add_argument(
        "--calibration",
        type=existing_file,
        metavar="FILE.json",
        help="of `equilens calibrate`: adds a column probability, at the share of lenses it states",
    )
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> Outcome:
    """Write the catalogue."""
    for path in args.out:
        if Path(path).suffix.lower() not in SUFFIXES:
            raise UsageError(f"--out {path}: the suffix must be one of {' '.join(SUFFIXES)}")
    maps = dict(_named_map(text) for text in args.map)
    from equilens.catalogs.calibration_result import read_calibration
    from equilens.catalogs.export import read_catalog
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.export import ExportTask

    task = ExportTask(
        scores=str(args.scores),
        out=tuple(args.out),
        maps=maps,
        top=args.top,
        threshold=args.threshold,
        radius_arcsec=args.radius,
        calibration=str(args.calibration) if args.calibration else None,
    )
    run_tasks([task])
    table = read_catalog(args.out[0])
    n_known = table.num_rows - table["lenscat_name"].null_count
    facts = {"files": args.out, "n_candidates": table.num_rows, "n_near_known_lenses": n_known}
    text = (
        f"{table.num_rows} candidates in {', '.join(args.out)}; {n_known} lie near a known lens "
        "or candidate"
    )
    notes: list[str] = []
    if args.calibration:
        facts["calibration"] = used = read_calibration(args.calibration).summary()
        text += f"; probabilities where one object in {1 / used['prior']:,.0f} is a lens"
        notes = [used["purity_statement"], *used["notes"]]
    return Outcome(facts, text, notes=tuple(notes))


def _named_map(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not name or not Path(path).is_dir():
        raise UsageError(f"--map {text!r} must be NAME=STORE, with a store that exists")
    return name, path
