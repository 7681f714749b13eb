"""A plan as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from equilens.pipeline.planning.advice import MEANING, bottleneck
from equilens.pipeline.planning.rates import QUANTITIES
from equilens.pipeline.stores import SHARD_SIZE

if TYPE_CHECKING:
    from equilens.pipeline.planning.campaign import Campaign
    from equilens.pipeline.planning.forecast import Forecast, Interval
    from equilens.pipeline.planning.rates import Rates
    from equilens.pipeline.planning.sizes import CampaignSizes

_BYTES = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def origin(rates: Rates) -> str:
    """Where and when rates were measured, of what."""
    machine, made = rates.machine, rates.provenance
    device = machine.get("gpu") or "cpu"
    return (
        f"rates of {rates.network['name']} (sha256 {rates.network['sha256'][:12]}) on {device}, "
        f"{machine['cores']} cores of {machine['processor']}, load {machine['load']:g}, "
        f"{made['created_utc']}, commit {made['commit'] or 'of a release'}; "
        f"N = {rates.n_repeats} repeats, {rates.n_bands} bands of {rates.side}x{rates.side} "
        f"pixels, batches of {rates.batch_size}"
    )


def rates_table(rates: Rates) -> Any:
    """Each rate with its repeats."""
    from rich.table import Column, Table

    right = [Column(name, justify="right") for name in ("mean", "lowest", "highest", "N x each")]
    table = Table("rate", *right, "unit", "of", box=None, pad_edge=False)
    for name, (unit, meaning) in QUANTITIES.items():
        rate = rates.measured[name]
        figures = (f"{value:.3g}" for value in (rate.mean, min(rate.values), max(rate.values)))
        table.add_row(name, *figures, f"{rate.n} x {rate.each:,}", unit, meaning)
    return table


def plan_text(
    campaign: Campaign,
    rates: Rates,
    sizes: CampaignSizes,
    found: Forecast,
    changes: list[str],
    said: list[str],
    node_hours: float | None,
) -> Any:
    """Everything, for the terminal."""
    from rich.console import Group

    kind = "GPUs" if campaign.on_gpus else "cores"
    n_devices = campaign.n_workers // campaign.per_gpu if campaign.on_gpus else campaign.n_workers
    head = f"{campaign.n_objects:,} objects of {rates.n_bands} bands on {n_devices:,} {kind}"
    holds_up = bottleneck(found)
    closing = [f"Scoring is held up by: {holds_up}, {MEANING[holds_up]}", "To change:"]
    closing += [f"  {text}" for text in changes] or ["  nothing costs 5 % or more"]
    closing += ["Taken as given:", *(f"  {text}" for text in said)]
    times = _times(campaign, found, node_hours)
    return Group(head, "", times, "", _sizes(campaign, sizes), "", _costs(found), "", *closing)


def assumptions(campaign: Campaign, rates: Rates, assumed_failures: bool) -> list[str]:
    """What a plan rests on, and how far it was measured."""
    said = [origin(rates)]
    if rates.machine["load"] > rates.machine["cores"]:
        said.append("the machine was busy when it was measured: an idle one gives better rates")
    if campaign.gpu_rate is not None:
        said.append(
            f"{campaign.gpu_rate:,.0f} cutouts/s a GPU was given, not measured: the hours do not "
            f"count its uncertainty; start-up and memory were measured on {rates.device}"
        )
    failures = f"{campaign.failures_per_day:g} failures a worker and day"
    said.append(f"{failures}: {'assumed' if assumed_failures else 'given'}")
    said += [
        f"intervals hold 90 % of {campaign.replays} replays, seed {campaign.seed}; each takes its "
        "rates from one repeat",
        "each worker has a core or a share of a GPU of its own, at the speed of the measured one",
        "one process ingests one store at a time, and as many at once slow nobody down",
        "stored bytes are of noise; WCS headers, paths and further columns of a survey add to them",
        "driver and scheduler never fail, and no batch queue is waited for",
    ]
    if campaign.read_bandwidth is None:
        said.append("reading is limited by no shared file system (--read-bandwidth)")
    return said


def _times(campaign: Campaign, found: Forecast, node_hours: float | None) -> Any:
    from rich.table import Column, Table

    table = Table(
        "time", Column("median", justify="right"), "5 to 95 %", "", box=None, pad_edge=False
    )
    workers = campaign.n_workers
    hours = "GPU hours" if campaign.on_gpus else "core hours"
    share = workers / (campaign.per_gpu if campaign.on_gpus else 1)
    rows = (
        ("ingest", found.ingest_s, f"{campaign.n_ingesting:,} stores at once"),
        ("scoring, ideal", found.ideal_s, "no worker ever waits"),
        ("scoring, with overheads", found.calm_s, "start-up, opening, closing, scheduler"),
        ("scoring, with failures", found.stormy_s, _kills(found.n_kills)),
        ("ingest and scoring", found.wall_s, "one after the other"),
    )
    for name, interval, note in rows:
        table.add_row(name, *duration(interval), note)
    busy = share * found.stormy_s.median / 3600
    table.add_row(f"{hours} of scoring", f"{busy:,.1f}", "", "")
    core_hours = campaign.n_ingesting * found.ingest_s.median / 3600
    table.add_row("core hours of ingest", f"{core_hours:,.1f}", "", "")
    if node_hours is not None:
        table.add_row("node hours of scoring", f"{node_hours:,.1f}", "", "")
    return table


def _kills(kills: Interval) -> str:
    return f"{kills.low:,.0f} to {kills.high:,.0f} workers lost, a block each"


def _sizes(campaign: Campaign, sizes: CampaignSizes) -> Any:
    from rich.table import Column, Table

    table = Table("size", Column("", justify="right"), "", box=None, pad_edge=False)
    ratio = sizes.cutout_bytes_raw / sizes.cutout_bytes_stored
    raw = size(sizes.cutout_bytes_raw)
    rows = (
        ("cutout", size(sizes.cutout_bytes_stored), f"{raw} raw, {ratio:.2f} times smaller"),
        ("cutout stores", size(sizes.store_bytes), f"{size(sizes.raw_bytes)} raw"),
        ("score stores", size(sizes.score_bytes), ""),
        ("stores", f"{sizes.n_stores:,}", f"{sizes.store_objects:,} objects each"),
        ("shards", f"{sizes.n_shards:,}", f"of {SHARD_SIZE:,} objects at most"),
        ("manifest", size(sizes.manifest_bytes), "of each store"),
        ("files", f"{sizes.n_files:,}", "of stores and scores"),
        ("Dask tasks", f"{sizes.n_dask_tasks:,}", f"blocks of {campaign.block_rows:,} objects"),
        ("Luigi tasks", f"{sizes.n_luigi_tasks:,}", "two a store, a run for each store"),
        ("memory of a worker", size(sizes.worker_bytes), "at most"),
        ("memory of a driver", size(sizes.driver_bytes), "one for each store that is scored"),
        ("memory in all", size(sizes.total_bytes), ""),
    )
    for row in rows:
        table.add_row(*row)
    return table


def _costs(found: Forecast) -> Any:
    from rich.table import Column, Table

    table = Table("cost", Column("share", justify="right"), "", box=None, pad_edge=False)
    for name, share in found.shares.items():
        if share >= 0.0005:
            table.add_row(name, f"{100 * share:.1f} %", MEANING[name])
    needed = found.read_bytes_per_s
    low, high = size(needed.low), size(needed.high)
    table.add_row("read bandwidth", "", f"{size(needed.median)}/s to feed all ({low} to {high})")
    return table


def duration(interval: Interval) -> tuple[str, str]:
    """Median and limits, in the unit that reads best for the median."""
    lengths = (("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0))
    unit, length = next((each for each in lengths if interval.median >= 2 * each[1]), lengths[-1])
    median, low, high = (
        f"{value / length:,.1f}" for value in (interval.median, interval.low, interval.high)
    )
    return f"{median} {unit}", f"{low} to {high}"


def size(n_bytes: float) -> str:
    """Bytes in the unit that reads best, in powers of 1,000."""
    for unit in _BYTES[:-1]:
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.3g} {_BYTES[-1]}"
