"""`equilens ingest-map`: a HEALPix map into a store."""

from __future__ import annotations

import argparse

from equilens.tasks.arguments import existing_file
from equilens.tasks.console import Outcome


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "ingest-map", parents=[common], help="bring a full-sky HEALPix map into a store"
    )
    parser.add_argument("source", type=existing_file, metavar="MAP.fits")
    parser.add_argument("--out", required=True, metavar="SKY.zarr")
    parser.add_argument("--frame", choices=("galactic", "icrs", "ecliptic"))
    parser.add_argument("--unit", help="of every column, such as cm^-2; 1 for a pure number")
    parser.add_argument("--ordering", choices=("ring", "nested"))
    parser.add_argument("--replace", action="store_true")
    parser.set_defaults(run=run_ingest_map)


def run_ingest_map(args: argparse.Namespace) -> Outcome:
    """Ingest one map."""
    from equilens.pipeline.skymaps import SkyMapStore
    from equilens.tasks.engine import run_tasks
    from equilens.tasks.skymap import SkyMapTask

    task = SkyMapTask(
        source=str(args.source),
        out=args.out,
        frame=args.frame,
        unit=args.unit,
        ordering=args.ordering,
        replace=args.replace,
    )
    run_tasks([task])
    store = SkyMapStore(args.out)
    facts = {
        "store": args.out,
        "nside": store.nside,
        "frame": store.frame,
        "original_ordering": store.original_ordering,
        "units": store.units,
        "n_masked": {name: store.column(name).n_masked for name in store.columns},
        "fingerprint": store.fingerprint,
        "made_now": task.made,
    }
    return Outcome(facts, repr(store) + ("" if task.made else ", there already"))
