"""Sizes of a campaign that no schedule changes: bytes, files, shards, tasks, memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from equilens.pipeline.planning.campaign import Campaign
from equilens.pipeline.planning.errors import PlanError
from equilens.pipeline.planning.rates import Rates
from equilens.pipeline.stores import SHARD_SIZE
from equilens.pipeline.zarr_faults import LARGEST_JSON_BYTES

# `equilens ingest` and `equilens score` of a store
LUIGI_TASKS_A_STORE = 2


@dataclass(frozen=True)
class CampaignSizes:
    """Sizes.

    Attributes
    ----------
    cutout_bytes_raw, cutout_bytes_stored : pixels and masks of one cutout
    raw_bytes, store_bytes, score_bytes : of all objects
    n_stores, store_objects, n_shards, n_files : of the stores and their scores
    manifest_bytes : of one store
    n_dask_tasks : blocks, one future each, when none is redone
    n_luigi_tasks : two a store
    worker_bytes : of one worker at most
    driver_bytes : of one process that drives a scoring, beside what any Python takes
    total_bytes : of all workers and drivers together
    """

    cutout_bytes_raw: float
    cutout_bytes_stored: float
    raw_bytes: float
    store_bytes: float
    score_bytes: float
    n_stores: int
    store_objects: int
    n_shards: int
    n_files: int
    manifest_bytes: float
    n_dask_tasks: int
    n_luigi_tasks: int
    worker_bytes: float
    driver_bytes: float
    total_bytes: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def campaign_sizes(campaign: Campaign, rates: Rates) -> CampaignSizes:
    """Sizes, of the measured bytes and files a cutout, shard and block.

    Raises
    ------
    PlanError
        Stores so large that nobody could open them.
    """
    n, stores = campaign.n_objects, campaign.n_stores
    shards, blocks = stores * campaign.store_shards, stores * campaign.store_blocks
    pixels, facts = rates.mean("pixel_bytes"), rates.mean("fact_bytes")
    # a driver is a Python with torch as well, like a worker
    driver = rates.mean("worker_bytes") + campaign.store_objects * rates.mean("driver_bytes")
    worker = rates.mean("worker_bytes")
    manifest = campaign.store_shards * rates.mean("manifest_bytes")
    if manifest > LARGEST_JSON_BYTES:
        most = int(LARGEST_JSON_BYTES / rates.mean("manifest_bytes")) * SHARD_SIZE
        raise PlanError(
            f"a store of {campaign.store_objects:,} objects has a manifest of {manifest / 1e6:,.0f}"
            f" MB, at most {LARGEST_JSON_BYTES / 1e6:,.0f} MB are read: --objects-per-store of "
            f"{most:,} or less"
        )
    files = shards * rates.mean("shard_files") + blocks * rates.mean("block_files")
    return CampaignSizes(
        cutout_bytes_raw=rates.raw_bytes,
        cutout_bytes_stored=pixels,
        raw_bytes=n * rates.raw_bytes,
        store_bytes=n * (pixels + facts),
        score_bytes=n * rates.mean("score_bytes"),
        n_stores=stores,
        store_objects=campaign.store_objects,
        n_shards=shards,
        n_files=round(files),
        manifest_bytes=manifest,
        n_dask_tasks=blocks,
        n_luigi_tasks=LUIGI_TASKS_A_STORE * stores,
        worker_bytes=worker,
        driver_bytes=driver,
        total_bytes=campaign.n_workers * worker + campaign.at_once * driver,
    )
