"""Break a night in every way we know, run the same command again, compare bit for bit.

``python tests/chaos/run.py`` takes seconds; ``--long`` strikes 20 times and breaks everything else
as well. ``--seed`` repeats a run: faults strike at the same drawn moments, as far as the machine's
own timing allows.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import damages
import kills
import network
import numpy as np
from cluster_processes import ClusterProcesses
from rich import box
from rich.console import Console
from rich.table import Table
from setting import Row, Setting

SHORT_N, LONG_N = 1100, 5000


def short(setting: Setting) -> Iterator[Row]:
    """Two kills in one night, and what needs no process of its own."""
    yield from kills.kill_at_random(setting, ["worker", "driver"])
    yield damages.damaged_block(setting, "flipped", finished=True)
    yield damages.damaged_block(setting, "truncated", finished=False)
    yield damages.full_disk(setting)
    yield damages.read_only(setting)


def long(setting: Setting, n_kills: int) -> Iterator[Row]:
    """Everything."""
    kills.undisturbed_seconds(setting)
    drawn = [str(kind) for kind in setting.rng.choice(kills.KINDS, max(0, n_kills - 3))]
    mixed = list(setting.rng.permutation([*kills.KINDS, *drawn])[:n_kills])
    yield from kills.kill_at_random(setting, [str(kind) for kind in mixed])
    yield kills.kill_the_writer(setting, 5)
    yield kills.refuse_a_second_writer(setting)
    for how in ("flipped", "truncated"):
        for finished in (True, False):
            yield damages.damaged_block(setting, how, finished=finished)
        yield damages.damaged_shard(setting, how)
    yield damages.damaged_facts(setting)
    yield damages.full_disk(setting)
    yield damages.full_disk_in_ingest(setting)
    yield damages.limited_files(setting)
    yield damages.read_only(setting)
    yield damages.poison(setting)
    yield network.dropped_network(setting)


def show(rows: list[Row], setting: Setting, console: Console) -> None:
    """The table, in Markdown."""
    table = Table("fault", "times", "redone", "allowed", "s lost each", "catalogue", "note")
    table.box = box.MARKDOWN
    for row in rows:
        outcome = {True: "identical", False: "DIFFERS", None: "-"}[row.identical]
        lost = f"{row.seconds_lost / max(1, row.times):.1f}"
        numbers = (str(row.times), str(row.redone), str(row.allowed), lost)
        table.add_row(row.fault, *numbers, outcome, row.note[:90])
    console.print(f"{setting.n} objects in {setting.n_blocks} blocks", table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--kills", type=int, default=20, help="of --long")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    args = parser.parse_args()
    console = Console(width=200)
    console.print(f"seed {args.seed}")
    # a terminated run ends its processes as well
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rng = np.random.default_rng(args.seed)
    rows = []
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        with ClusterProcesses(folder) as cluster:
            setting = Setting(folder, rng, LONG_N if args.long else SHORT_N, cluster)
            setting.prepare(args.seed)
            for row in long(setting, args.kills) if args.long else short(setting):
                console.print(f"{row.fault}: {'sound' if row.sound else 'BROKEN'}")
                rows.append(row)
            show(rows, setting, console)
    if args.json:
        args.json.write_text(json.dumps([{**asdict(row), "sound": row.sound} for row in rows]))
    return 0 if all(row.sound for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
