"""Replay a campaign with measured rates: how long, what it costs, and what to change.

A replay takes all rates from one measured moment, simulates the schedule of its stores with and
without failures, and adds what only the driver does: opening a store and closing its scores, while
the workers wait. Not in it: failures of driver and scheduler, queues of a batch system, and a file
system that many writers slow down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from equilens.pipeline.planning.campaign import DAY_S, Campaign, CutoutCost, cutout_cost
from equilens.pipeline.planning.rates import Rates
from equilens.pipeline.planning.schedule import (
    Crew,
    Schedule,
    share_parts,
    simulate_schedule,
)

# events that one replay may take, without and with failures; where that is too few for all stores,
# the others are drawn from those that were simulated. Failures are rare, so that they need more
CALM_EVENTS, STORMY_EVENTS = 10_000, 100_000
# what a worker hour goes into, in the order of a run
DRIVERS = (
    "ingest",
    "start-up",
    "opening",
    "network",
    "reading",
    "checking",
    "file system",
    "slow workers",
    "redone",
    "idle",
    "closing",
)


@dataclass(frozen=True)
class Interval:
    """Median of the replays, and where nine in ten of them lie."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Interval:
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True)
class Replay:
    """One replay.

    Attributes
    ----------
    ideal_s : if all workers computed all the time
    calm_s, stormy_s : of the scoring without and with failures
    ingest_s : before it
    n_kills : workers that died with a block in hand
    n_events : of the schedules, those counted again that stand for several stores
    shares : of each of `DRIVERS`, in seconds of wall time; they add up to ingest and scoring
    """

    ideal_s: float
    calm_s: float
    stormy_s: float
    ingest_s: float
    n_kills: float
    n_events: int
    shares: dict[str, float]


@dataclass(frozen=True)
class Forecast:
    """What all replays say.

    Attributes
    ----------
    ideal_s, calm_s, stormy_s, ingest_s, wall_s : seconds; `wall_s` is ingest and scoring
    n_kills : workers that died with a block in hand; each block was redone
    shares : name → share of the wall time, largest first
    read_bytes_per_s : that all workers need to be fed
    replays, n_events : of the simulation, see `Replay`
    """

    ideal_s: Interval
    calm_s: Interval
    stormy_s: Interval
    ingest_s: Interval
    wall_s: Interval
    n_kills: Interval
    shares: dict[str, float]
    read_bytes_per_s: Interval
    replays: int
    n_events: int


def forecast(campaign: Campaign, rates: Rates) -> Forecast:
    """Replay `campaign` as often as it asks."""
    rng = np.random.default_rng(campaign.seed)
    # every moment equally often, as far as that goes
    moments = [rates.moment(k) for k in range(rates.n_repeats)]
    runs = [replay(campaign, moments[k % len(moments)], rng) for k in range(campaign.replays)]
    total = sum(run.ingest_s + run.stormy_s for run in runs)
    shares = {name: sum(run.shares[name] for run in runs) / total for name in DRIVERS}
    needed = [
        campaign.n_workers * moment["pixel_bytes"] / _fed_s(campaign, moment) for moment in moments
    ]
    return Forecast(
        ideal_s=Interval.of([run.ideal_s for run in runs]),
        calm_s=Interval.of([run.calm_s for run in runs]),
        stormy_s=Interval.of([run.stormy_s for run in runs]),
        ingest_s=Interval.of([run.ingest_s for run in runs]),
        wall_s=Interval.of([run.ingest_s + run.stormy_s for run in runs]),
        n_kills=Interval.of([run.n_kills for run in runs]),
        shares=dict(sorted(shares.items(), key=lambda item: -item[1])),
        read_bytes_per_s=Interval.of(needed),
        replays=len(runs),
        n_events=sum(run.n_events for run in runs),
    )


def replay(campaign: Campaign, moment: dict[str, float], rng: np.random.Generator) -> Replay:
    """One campaign, simulated with the rates of one moment."""
    cost = cutout_cost(campaign, moment)
    start_s = moment["cluster_start_s"] + moment["worker_start_s"]
    crew, driver = _crew(campaign, moment, cost, start_s), _driver_seconds(campaign, moment)
    calm = _lanes(campaign, replace(crew, failures_per_s=0.0), CALM_EVENTS, rng)
    stormy = _lanes(campaign, crew, STORMY_EVENTS, rng)
    alone = sum(driver.values())
    # the scheduler that takes longest ends the campaign
    last = max(stormy, key=lambda lane: lane.seconds(alone))
    ingest_s = _ingest_seconds(campaign, moment)
    shares = {"ingest": ingest_s, "start-up": start_s, **_shares(campaign, cost, last.schedule)}
    shares |= {name: last.n_stores * seconds for name, seconds in driver.items()}
    return Replay(
        ideal_s=campaign.n_objects * cost.total_s / campaign.n_workers,
        calm_s=start_s + max(lane.seconds(alone) for lane in calm),
        stormy_s=start_s + last.seconds(alone),
        ingest_s=ingest_s,
        n_kills=float(sum(lane.schedule.n_kills for lane in stormy)),
        n_events=sum(lane.schedule.n_events for lane in (*calm, *stormy)),
        shares=shares,
    )


@dataclass(frozen=True)
class _Lane:
    """What one scheduler does: stores, one after the other."""

    schedule: Schedule
    n_stores: int

    def seconds(self, alone: float) -> float:
        """With the seconds that the driver takes alone for each store."""
        return self.schedule.makespan_s + self.n_stores * alone


def _crew(campaign: Campaign, moment: dict[str, float], cost: CutoutCost, start_s: float) -> Crew:
    # the last block of a store may be short: a mean block keeps the store's sum
    rows = campaign.store_objects / campaign.store_blocks
    return Crew(
        n_workers=campaign.lane_workers,
        block_s=rows * cost.total_s,
        scatter=moment["block_scatter"],
        dispatch_s=moment["task_s"],
        failures_per_s=campaign.failures_per_day / DAY_S,
        restart_s=start_s if campaign.restart_s is None else campaign.restart_s,
        slow_share=campaign.slow_share,
        slow_factor=campaign.slow_factor,
    )


def _driver_seconds(campaign: Campaign, moment: dict[str, float]) -> dict[str, float]:
    """Of one store, by the process that drives it, while the workers wait."""
    n = campaign.store_objects
    return {
        "opening": moment["open_s"] + n * moment["open_object_s"],
        "closing": moment["close_s"] + n * moment["close_object_s"],
    }


def _ingest_seconds(campaign: Campaign, moment: dict[str, float]) -> float:
    """Of all stores, a process each."""
    rounds = -(-campaign.n_stores // campaign.n_ingesting)
    return rounds * campaign.store_objects * moment["ingest_s"]


def _lanes(campaign: Campaign, crew: Crew, events: int, rng: np.random.Generator) -> list[_Lane]:
    """The stores of each scheduler."""
    n_stores, n_lanes = campaign.n_stores, campaign.at_once
    n_simulated = _n_simulated(campaign, crew, events)
    pool = [simulate_schedule(campaign.store_blocks, crew, rng) for _ in range(n_simulated)]
    every = n_simulated == n_stores
    order = np.arange(n_stores) if every else rng.integers(n_simulated, size=n_stores)
    parts = [order[lane::n_lanes] for lane in range(n_lanes)]
    return [_Lane(_sum([pool[k] for k in part]), len(part)) for part in parts]


def _n_simulated(campaign: Campaign, crew: Crew, events: int) -> int:
    """Stores that are simulated; all of them where that takes no more than so many events."""
    single = share_parts(crew)
    blocks = campaign.store_blocks
    each = blocks if blocks < single else single * (1 + math.log(blocks / single))
    return min(campaign.n_stores, max(2, int(events / (each + crew.n_workers))))


def _sum(schedules: list[Schedule]) -> Schedule:
    return Schedule(
        makespan_s=sum(each.makespan_s for each in schedules),
        useful_s=sum(each.useful_s for each in schedules),
        lost_s=sum(each.lost_s for each in schedules),
        down_s=sum(each.down_s for each in schedules),
        n_kills=sum(each.n_kills for each in schedules),
        n_events=sum(each.n_events for each in schedules),
    )


def _shares(campaign: Campaign, cost: CutoutCost, lane: Schedule) -> dict[str, float]:
    """Where the worker seconds of a scheduler's blocks went, as seconds of wall time."""
    workers = campaign.lane_workers
    useful, redone = lane.useful_s / workers, (lane.lost_s + lane.down_s) / workers
    # of all that is done, the part that slow workers do, and the time it takes them beyond others'
    n_slow = round(campaign.slow_share * workers)
    extra = useful * n_slow / workers * (1 - 1 / campaign.slow_factor)
    part = (useful - extra) / cost.total_s
    return {
        "network": part * cost.network_s,
        "reading": part * cost.reading_s,
        "checking": part * cost.checking_s,
        "file system": part * cost.waiting_s,
        "slow workers": extra,
        "redone": redone,
        "idle": max(0.0, lane.makespan_s - useful - redone),
    }


def _fed_s(campaign: Campaign, moment: dict[str, float]) -> float:
    cost = cutout_cost(campaign, moment)
    return cost.total_s - cost.waiting_s
