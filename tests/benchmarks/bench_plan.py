"""Forecasts of `equilens plan` beside real scorings of the same cutouts.

Rates are measured first, on noise; then stores of several sizes are scored by one and by two worker
processes behind a scheduler, as a plan assumes it, and timed from the scheduler's start to the
manifest. Nothing of these runs goes into their forecast.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory

from comparison import parser, pin_threads

SIDE, BANDS = 61, 1
MEASURED = "median of {} runs; the forecast's interval holds 90 % of its replays"


def main() -> None:
    found = parser(__doc__, n=8000, turns=3)
    found.add_argument("--small", type=int, default=2000, help="the smaller store (2000)")
    options = found.parse_args()
    pin_threads(1)
    with TemporaryDirectory(prefix="equilens-benchmark-") as folder:
        compare(Path(folder), (options.small, options.n), options.turns)


def compare(folder: Path, sizes: tuple[int, ...], turns: int) -> None:
    """Measure, forecast, run, and print all of it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from equilens.pipeline.planning.campaign import Campaign
    from equilens.pipeline.planning.forecast import forecast
    from equilens.pipeline.planning.measure import measure_rates

    weights, stores = prepare(folder, sizes)
    began, load = time.perf_counter(), os.getloadavg()[0]
    rates = measure_rates(weights, None)
    seconds = time.perf_counter() - began
    table = Table("objects", "workers", "forecast s", "5 to 95 %", box=box.MARKDOWN)
    for name in ("measured s", "lowest to highest", "measured / forecast"):
        table.add_column(name)
    for n, store in stores.items():
        for workers in (1, 2):
            campaign = Campaign(n, workers, failures_per_day=0.0)
            said = forecast(campaign, rates).stormy_s
            took = sorted(run(store, weights, folder, workers) for _ in range(turns))
            middle = median(took)
            table.add_row(
                f"{n:,}",
                str(workers),
                f"{said.median:.1f}",
                f"{said.low:.1f} to {said.high:.1f}",
                f"{middle:.1f}",
                f"{took[0]:.1f} to {took[-1]:.1f}",
                f"{middle / said.median:.2f}",
            )
    console = Console(width=120, highlight=False)
    about = f"{BANDS}x{SIDE}x{SIDE} cutouts, d4-resnet-nano, {MEASURED.format(turns)}"
    console.print(f"Forecast and measured seconds of a scoring: {about}", soft_wrap=True)
    console.print(table)
    loads = f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
    console.print(f"Rates: {rates.n_repeats} repeats in {seconds:.0f} s; {loads}", soft_wrap=True)


def prepare(folder: Path, sizes: tuple[int, ...]):
    """Weights, and a store of each size."""
    from equilens.models import InputSpec, build_finder, save_checkpoint
    from equilens.pipeline.planning.measure_blocks import noise_store

    spec = InputSpec(tuple("abcd"[:BANDS]), 0.1, (SIDE, SIDE))
    weights = folder / "network.safetensors"
    save_checkpoint(weights, build_finder("d4-resnet-nano", spec, seed=1), {"title": "for timing"})
    return weights, {n: noise_store(folder / f"{n}.zarr", spec, n).path for n in sizes}


def run(store: Path, weights: Path, folder: Path, workers: int) -> float:
    """Seconds of a scoring, its scheduler and worker processes included."""
    from equilens.pipeline.cluster import open_client
    from equilens.pipeline.scoring import score

    out = folder / "scores.zarr"
    rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    with open_client(workers=workers, processes=True) as client:
        address = client.scheduler.address
        score(store, weights, out, scheduler=address, workers=workers, batch_size=64)
        seconds = time.perf_counter() - began
    sys.stderr.write(f"{store.stem} objects, {workers} workers: {seconds:.1f} s\n")
    return seconds


if __name__ == "__main__":
    main()
