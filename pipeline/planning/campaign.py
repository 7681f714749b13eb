"""What is asked of a plan: objects, workers, and what the cluster is like."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from equilens.pipeline.planning.errors import PlanError, RatesError
from equilens.pipeline.planning.rates import Rates
from equilens.pipeline.scores import block_rows
from equilens.pipeline.stores import SHARD_SIZE

DAY_S = 86_400


@dataclass(frozen=True)
class Campaign:
    """A set of objects, and who is to score it.

    Attributes
    ----------
    n_objects : to ingest and to score
    n_workers : worker processes of all schedulers together, one a core or `per_gpu` a GPU
    on_gpus : whether they run on GPUs
    gpu_rate : cutouts a second that one GPU's network does, where given and not measured
    per_gpu : worker processes that share a GPU, each with a thread that reads
    objects_per_store : at most; a run holds IDs and flags of a store in memory
    at_once : stores scored at the same time, each with its own scheduler and share of the workers
    ingest_workers : processes that ingest, a store each; None for as many as workers
    read_bandwidth : bytes a second of the file system that all share; None for no limit
    failures_per_day : of one worker
    restart_s : until a worker that died is back; None for the measured start-up
    slow_share, slow_factor : share of the workers that take this many times as long
    replays, seed : of the simulation
    """

    n_objects: int
    n_workers: int
    on_gpus: bool = False
    gpu_rate: float | None = None
    per_gpu: int = 1
    objects_per_store: int = 10_000_000
    at_once: int = 1
    ingest_workers: int | None = None
    read_bandwidth: float | None = None
    failures_per_day: float = 0.1
    restart_s: float | None = None
    slow_share: float = 0.0
    slow_factor: float = 2.0
    replays: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("n_objects", "n_workers", "per_gpu", "objects_per_store", "at_once"):
            _at_least_one(name, getattr(self, name))
        _at_least_one("replays", self.replays)
        for name in ("gpu_rate", "read_bandwidth"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise PlanError(f"{name} must be positive, got {value}")
        if self.at_once > min(self.n_workers, self.n_stores):
            raise PlanError(
                f"at_once must be at most {min(self.n_workers, self.n_stores)}, the smaller of "
                f"{self.n_workers} workers and {self.n_stores} stores, got {self.at_once}: "
                "make stores smaller with --objects-per-store"
            )
        if self.gpu_rate is not None and not self.on_gpus:
            raise PlanError("a rate a GPU is given, but no number of GPUs")

    @property
    def n_stores(self) -> int:
        return -(-self.n_objects // self.objects_per_store)

    @property
    def store_objects(self) -> int:
        """Objects of one store; all stores are equally large, but for rounding."""
        return -(-self.n_objects // self.n_stores)

    @property
    def store_shards(self) -> int:
        return -(-self.store_objects // SHARD_SIZE)

    @property
    def lane_workers(self) -> int:
        """Workers of one scheduler."""
        return self.n_workers // self.at_once

    @property
    def lane_stores(self) -> int:
        """Stores that the busiest scheduler does, one after the other."""
        return -(-self.n_stores // self.at_once)

    @property
    def block_rows(self) -> int:
        """Objects of a block, as scoring cuts them."""
        return block_rows(self.store_shards, SHARD_SIZE, self.lane_workers)

    @property
    def checks(self) -> int:
        """How often a shard is checked: once by each worker that has a block of it."""
        return min(-(-SHARD_SIZE // self.block_rows), self.lane_workers)

    @property
    def store_blocks(self) -> int:
        return -(-self.store_objects // self.block_rows)

    @property
    def n_ingesting(self) -> int:
        """Stores that are ingested at the same time."""
        return min(self.ingest_workers or self.n_workers, self.n_stores)


def check_rates(campaign: Campaign, rates: Rates, n_bands: int | None = None) -> None:
    """Refuse rates that say nothing of this campaign: a rate is measured or given, never guessed.

    Raises
    ------
    RatesError
        They are of another number of bands, or of another device and no rate is given.
    """
    if n_bands is not None and n_bands != rates.n_bands:
        raise RatesError(
            f"the rates are of {rates.n_bands} bands, {n_bands} are asked for: measure with "
            f"`equilens plan --measure rates.json --bands {n_bands}`"
        )
    measured_gpu = rates.device.startswith("cuda")
    if campaign.on_gpus and not measured_gpu and campaign.gpu_rate is None:
        raise RatesError(
            f"no rate of a GPU: these were measured on {rates.device}. Measure on a machine with "
            "one (`equilens plan --measure gpu.json --device cuda`), or give what you know: "
            "--gpu-rate CUTOUTS_PER_SECOND"
        )
    if not campaign.on_gpus and measured_gpu:
        raise RatesError(
            "these rates were measured on a GPU and say nothing of cores: plan with --gpus, or "
            "measure with --device cpu"
        )


@dataclass(frozen=True)
class CutoutCost:
    """Seconds of a worker that one cutout takes.

    Attributes
    ----------
    network_s : of the network
    reading_s, checking_s : of reading, and of comparing checksums, that the network does not hide
    waiting_s : for the file system that all share
    """

    network_s: float
    reading_s: float
    checking_s: float
    waiting_s: float = 0.0

    @property
    def total_s(self) -> float:
        return self.network_s + self.reading_s + self.checking_s + self.waiting_s


def cutout_cost(campaign: Campaign, moment: Mapping[str, float]) -> CutoutCost:
    """What a cutout costs a worker, at the rates of one moment.

    A worker on one core reads, checks and computes in turn. Beside a GPU a thread reads and checks
    ahead, and the slower of the two sets the pace; processes on one GPU share its rate. All workers
    at once read no faster than the file system that they share.
    """
    read, check = moment["read_s"], campaign.checks * moment["check_s"]
    if campaign.on_gpus:
        network = campaign.per_gpu * moment["network_s"]
        # what a block costs beside the network alone: moving, gathering, writing
        extra = max(0.0, moment["block_s"] - max(moment["network_s"], read))
        if campaign.gpu_rate is not None:
            network, extra = campaign.per_gpu / campaign.gpu_rate, 0.0
        ahead = max(0.0, read + check - network) / (read + check)
        cost = CutoutCost(network, extra + ahead * read, ahead * check)
    else:
        worked = max(moment["block_s"], moment["network_s"] + read)
        cost = CutoutCost(moment["network_s"], worked - moment["network_s"], check)
    if campaign.read_bandwidth is None:
        return cost
    fed = campaign.n_workers * moment["pixel_bytes"] / campaign.read_bandwidth
    return replace(cost, waiting_s=max(0.0, fed - cost.total_s))


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise PlanError(f"{name} must be at least 1, got {value}")
