"""A whole night by its command: time to the catalogue, doing nothing, resuming, and memory.

    python tests/benchmarks/bench_nights.py -n 100000 --parts night no-op

`night` takes -n four-band FITS cubes to an accepted catalogue, `no-op` runs the same command again.
`resume` asks for the blocks that a store of --shards shards still wants, before and after half of
them are there. `memory` scores stores of ten times as many objects each, small cutouts that repeat,
in a process of its own each. Every part prints its target beside what it took.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from astropy.io import fits
from comparison import parser, pin_threads
from rich import box
from rich.console import Console
from rich.table import Table

NIGHT = "2026-11-20"
PARTS = ("night", "no-op", "resume", "memory")
DISTINCT = 256
MEMORY_N = (10_000, 100_000, 1_000_000)
SMALL_SIDE = 17
CONFIG = """
survey = "benchmark-cubes.toml"
source = "{{night}}"
out = "nights"
model = "network.safetensors"
unit = "visit"
[compute]
workers = {workers}
"""


def main() -> None:
    found = parser(__doc__, n=2000, turns=1)
    found.add_argument("--parts", nargs="+", choices=PARTS, default=["night", "no-op"])
    found.add_argument("--workers", type=int, default=2, help="processes of the night (2)")
    found.add_argument("--shards", type=int, default=5000, help="of the store to resume (5,000)")
    found.add_argument("--largest", type=int, default=MEMORY_N[-1], help="objects of `memory`")
    found.add_argument("--folder", type=Path, help="for everything it writes; a new one by default")
    found.add_argument("--child", nargs=2, help="measure one scoring: STORE and WEIGHTS")
    options = found.parse_args()
    pin_threads(options.threads)
    if options.child:
        measured_scoring(*map(Path, options.child))
        return
    console = Console(width=120, highlight=False)
    with TemporaryDirectory(dir=options.folder, prefix="equilens-night-") as name:
        folder = Path(name)
        if {"night", "no-op"} & set(options.parts):
            show(console, whole_night(folder, options))
        if "resume" in options.parts:
            show(console, resumed(folder, options.shards))
        if "memory" in options.parts:
            show(console, memory(folder, options.largest))


Rows = Iterator[tuple[str, str, str, str]]


def show(console: Console, rows: Rows) -> None:
    """One row a figure: what, N, measured, wanted."""
    table = Table("", "N", "measured", "wanted", box=box.MARKDOWN)
    for row in rows:
        table.add_row(*row)
    console.print(table)


def whole_night(folder: Path, options) -> Rows:
    """The night, and the same command again."""
    n = options.n
    began = time.monotonic()
    write_cubes(folder / NIGHT, n)
    prepare(folder, options.workers)
    written = time.monotonic() - began
    command = [Path(sys.executable).with_name("equilens"), "night", NIGHT]
    command += ["--config", folder / "nights.toml", "--json"]
    seconds, told = timed(command)
    summary = json.loads(told)
    cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert summary["n_scored"] == n, f"{summary['n_scored']} of {n} objects have a score"
    yield "files written, not part of the night", f"{n:,}", f"{written:.0f} s", "-"
    minutes = f"{seconds / 60:.1f} min, {n / seconds:,.0f} objects/s"
    yield "a night, files to catalogue", f"{n:,}", minutes, "< 10 min for 100,000"
    peak = f"{cpu.ru_maxrss / 2**20:.2f} GB"
    yield "largest process of it", f"{n:,}", peak, "-"
    for stage, taken in summary["seconds"].items():
        yield f"stage {stage}", f"{n:,}", f"{taken:.1f} s", "-"
    times = [timed(command)[0] for _ in range(max(3, options.turns))]
    spread = f"{sorted(times)[len(times) // 2]:.2f} s ({min(times):.2f} to {max(times):.2f})"
    yield "the same command again", f"{n:,}, {len(times)} runs", spread, "< 2 s"


def write_cubes(folder: Path, n: int) -> None:
    """n files of different positions; their pixels repeat."""
    from fits_cubes import folder_of_cubes

    folder.mkdir()
    rng = np.random.default_rng(1)
    with folder_of_cubes(min(n, DISTINCT)) as paths:
        cubes = [path.read_bytes() for path in paths]
    size = len(fits.Header.fromstring(cubes[0][:2880].decode("ascii")).tostring())
    header = fits.Header.fromstring(cubes[0][:size].decode("ascii"))
    for k in range(n):
        header["CRVAL1"], header["CRVAL2"] = rng.uniform(0, 360), rng.uniform(-60, 60)
        head = header.tostring().encode("ascii")
        (folder / f"object{k:07d}.fits").write_bytes(head + cubes[k % len(cubes)][size:])


def prepare(folder: Path, workers: int) -> None:
    """Survey, network of random weights and the night's configuration."""
    from fits_cubes import BANDS, PIXEL_SCALE_ARCSEC, write_survey

    write_survey(folder)
    save_nano(folder / "network.safetensors", BANDS, PIXEL_SCALE_ARCSEC)
    (folder / "nights.toml").write_text(CONFIG.format(workers=workers))


def save_nano(path: Path, bands: tuple[str, ...], scale_arcsec: float) -> None:
    """The smallest finder with random weights."""
    import torch

    from equilens.models.checkpoint import save_checkpoint
    from equilens.models.inputs import InputSpec
    from equilens.models.networks import build_finder

    torch.manual_seed(0)
    finder = build_finder("d4-resnet-nano", InputSpec(bands, scale_arcsec)).eval()
    save_checkpoint(path, finder, {"title": "random weights, for timing"})


def timed(command: list) -> tuple[float, str]:
    """Wall seconds of a command that has to succeed, and what it said."""
    began = time.monotonic()
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stderr}")
    return time.monotonic() - began, done.stdout


def resumed(folder: Path, n_shards: int) -> Rows:
    """What planning takes in a store of many shards: none scored, half of them, all sound."""
    from equilens.pipeline.score_writer import open_scores
    from equilens.pipeline.scores import open_array
    from equilens.pipeline.scoring.plan import Match, ScoringPlan
    from equilens.pipeline.stores import SHARD_SIZE, CutoutStore

    store, weights = folder / "many.zarr", folder / "one-band.safetensors"
    write_repeated(store, n_shards * SHARD_SIZE, side=13)
    save_nano(weights, ("a",), 0.1)
    match = Match.of(CutoutStore(store), weights, folder / "resumed.zarr")
    number = f"{n_shards:,} shards, {n_shards * SHARD_SIZE:,} objects"
    for share, what in ((0, "nothing scored"), (0.5, "half of it scored")):
        plan = ScoringPlan.of(match, 64, False)
        if share:
            group = open_scores(
                match.out, plan.identity, match.store.n_objects, match.facts, SHARD_SIZE
            )
            array = open_array(group, "scores")
            array[: int(share * n_shards) * SHARD_SIZE] = 1.0
        began = time.monotonic()
        missing = plan.missing(2)
        seconds = time.monotonic() - began
        assert len(missing) == round(n_shards * (1 - share)), f"{len(missing)} blocks are missing"
        yield f"blocks to do, {what}", number, f"{seconds:.2f} s", "< 1 s for 5,000"


def memory(folder: Path, largest: int) -> Rows:
    """Peak memory of a scoring in one process, against the number of objects."""
    weights = folder / "one-band.safetensors"
    save_nano(weights, ("a",), 0.1)
    for n in (n for n in MEMORY_N if n <= largest):
        store = folder / f"{n}.zarr"
        write_repeated(store, n, side=SMALL_SIDE)
        _, told = timed([sys.executable, __file__, "--child", store, weights])
        found = json.loads(told)
        peak = f"{found['peak_mb']:,.0f} MB, {found['start_mb']:,.0f} before it"
        rate = f"{n / found['seconds']:,.0f} objects/s"
        what = f"peak of scoring one band of {SMALL_SIDE} pixels"
        yield what, f"{n:,}", f"{peak}, {rate}", "the same for all N"


def measured_scoring(store: Path, weights: Path) -> None:
    """Score in this process, and print its peak memory."""
    from equilens.pipeline.scoring import score

    started, began = peak_mb(), time.monotonic()
    score(store, weights, store.with_suffix(".scores.zarr"), workers=1)
    seconds = time.monotonic() - began
    sys.stdout.write(
        json.dumps({"start_mb": started, "peak_mb": peak_mb(), "seconds": seconds}) + "\n"
    )


def peak_mb() -> float:
    """Most memory that this process had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def write_repeated(path: Path, n: int, side: int) -> None:
    """A store of one band whose pixels repeat from shard to shard; IDs do not."""
    from equilens.pipeline.cutouts import CutoutBatch
    from equilens.pipeline.store_writer import CutoutWriter
    from equilens.pipeline.stores import SHARD_SIZE
    from equilens.pipeline.toy import toy_cutouts

    batch = toy_cutouts(SHARD_SIZE, bands=1, side=side)
    bare = {**vars(batch), "columns": {}}
    with CutoutWriter(path, survey="toy", bands=("a",), shape=(side, side)) as writer:
        numbers = iter(range(n))
        while ids := [f"toy-{k:08d}" for k in islice(numbers, SHARD_SIZE)]:
            whole = CutoutBatch(**bare)
            part = whole if len(ids) == SHARD_SIZE else whole.take(slice(len(ids)))
            writer.append(CutoutBatch(**{**vars(part), "ids": np.array(ids, object)}))


if __name__ == "__main__":
    main()
