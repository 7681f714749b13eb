"""What holds a campaign up, and what to change."""

from __future__ import annotations

from equilens.pipeline.planning.campaign import Campaign
from equilens.pipeline.planning.forecast import Forecast
from equilens.pipeline.planning.rates import Rates

# a cost below this share of the wall time is not worth a change
WORTH_A_CHANGE = 0.05
MEANING = {
    "ingest": "from survey files to the stores, before scoring",
    "start-up": "scheduler and worker processes, once",
    "opening": "a run reads and writes what it knows of each object; workers wait",
    "network": "the network itself",
    "reading": "reading and decoding that the network does not hide",
    "checking": "checksums of what is read, that the network does not hide",
    "file system": "workers wait for the file system that they share",
    "slow workers": "what slow workers take beyond the others",
    "redone": "blocks lost with a worker, and its way back",
    "idle": "a store's last blocks, and a scheduler that falls behind",
    "closing": "a run looks at all scores again and writes its manifest; workers wait",
}


def bottleneck(forecast: Forecast) -> str:
    """What takes the largest share of the scoring's wall time."""
    return next(name for name in forecast.shares if name != "ingest")


def advice(campaign: Campaign, rates: Rates, forecast: Forecast) -> list[str]:
    """What to change, the largest cost first."""
    found = []
    for name, share in forecast.shares.items():
        if share >= WORTH_A_CHANGE:
            text = _remedy(name, campaign, rates)
            if text:
                found.append(f"{name} ({100 * share:.0f} % of the time): {text}")
    return found


def _remedy(name: str, campaign: Campaign, rates: Rates) -> str:
    unit = "GPUs" if campaign.on_gpus else "cores"
    if name == "ingest":
        return _ingest(campaign)
    if name in ("opening", "closing"):
        return (
            f"score more stores at the same time than {campaign.at_once} (--at-once), so that the "
            "workers of one are busy while another opens"
        )
    if name in ("reading", "checking"):
        return _reading(campaign, rates)
    if name == "file system":
        fed = rates.mean("pixel_bytes") * campaign.n_workers
        return f"a faster file system than {_gb(campaign.read_bandwidth or fed)}, or fewer workers"
    if name == "idle":
        return _idle(campaign, rates)
    return {
        "network": f"a smaller network, or more {unit}",
        "start-up": "keep scheduler and workers from one store to the next, or take fewer workers",
        "slow workers": "leave the slow nodes out",
        "redone": "find out why workers die; nodes that live longer",
    }.get(name, "")


def _ingest(campaign: Campaign) -> str:
    if campaign.n_ingesting < campaign.n_stores:
        return (
            f"ingest more stores at the same time than {campaign.n_ingesting} (--ingest-workers); "
            "it needs cores only, and can run while others are scored"
        )
    return (
        f"all {campaign.n_stores} stores are ingested at the same time: make them smaller "
        "(--objects-per-store), and add --ingest-workers"
    )


def _reading(campaign: Campaign, rates: Rates) -> str:
    if not campaign.on_gpus:
        return "a second core for each worker, which then reads ahead"
    fed = 1 / (rates.mean("read_s") + campaign.checks * rates.mean("check_s"))
    return (
        f"one worker process reads {fed:,.0f} cutouts/s: more than {campaign.per_gpu} of them a "
        "GPU (--per-gpu)"
    )


def _idle(campaign: Campaign, rates: Rates) -> str:
    served = campaign.block_rows / rates.mean("task_s")
    if campaign.at_once < campaign.n_stores:
        return (
            f"a scheduler hands out {served:,.0f} cutouts/s and a store ends with "
            f"{campaign.store_blocks / campaign.lane_workers:.1f} blocks a worker: fewer workers "
            "to each (--at-once), or larger stores (--objects-per-store)"
        )
    return "fewer workers: there are too few blocks for so many"


def _gb(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e9:,.1f} GB/s"
