"""Forecasts: closed forms without spread, what limits what, and rates that do not fit."""

import math
import subprocess
import sys
from dataclasses import replace

import pytest

from equilens.pipeline.planning.advice import MEANING, advice, bottleneck
from equilens.pipeline.planning.campaign import Campaign, check_rates, cutout_cost
from equilens.pipeline.planning.errors import PlanError, RatesError
from equilens.pipeline.planning.forecast import DRIVERS, forecast
from equilens.pipeline.planning.rates import Rate
from equilens.pipeline.planning.sizes import campaign_sizes
from equilens.pipeline.scores import SMALL_BLOCK
from equilens.pipeline.stores import SHARD_SIZE

# 1 ms of network, 0.2 of reading, 0.1 of checking on a core
CUTOUT_S = 1.3e-3
START_S = 2.0 + 4.0


def calm(n_objects=40 * SHARD_SIZE, n_workers=4, **more):
    return Campaign(n_objects, n_workers, failures_per_day=0.0, **more)


def test_without_spread_the_forecast_is_arithmetic(steady):
    campaign = calm()
    found = forecast(campaign, steady)
    n = campaign.n_objects
    ideal = n * CUTOUT_S / 4
    opening = 0.2 + 1e-5 * n + 0.1 + 5e-6 * n
    assert found.ideal_s.median == pytest.approx(ideal)
    # 40 equal blocks on 4 workers are 10 rounds, and nobody waits
    assert found.calm_s.median == pytest.approx(ideal + START_S + opening)
    assert found.stormy_s == found.calm_s
    assert found.calm_s.low == pytest.approx(found.calm_s.high)
    assert found.ingest_s.median == pytest.approx(n * 1e-3)
    assert found.wall_s.median == pytest.approx(found.ingest_s.median + found.stormy_s.median)


def test_shares_are_where_the_time_went(steady):
    campaign = calm()
    found = forecast(campaign, steady)
    assert set(found.shares) == set(DRIVERS) == set(MEANING)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)
    work = campaign.n_objects / 4 / found.wall_s.median
    assert found.shares["network"] == pytest.approx(1e-3 * work)
    assert found.shares["reading"] == pytest.approx(2e-4 * work)
    assert found.shares["checking"] == pytest.approx(1e-4 * work)
    assert found.shares["redone"] == found.shares["slow workers"] == 0


@pytest.mark.parametrize("at_once", [1, 3])
def test_shares_add_up_with_failures_and_slow_workers(rates, at_once):
    campaign = Campaign(
        300 * SHARD_SIZE,
        12,
        objects_per_store=50 * SHARD_SIZE,
        at_once=at_once,
        failures_per_day=500,
        slow_share=0.25,
        slow_factor=3.0,
    )
    found = forecast(campaign, rates)
    assert sum(found.shares.values()) == pytest.approx(1, abs=1e-6)
    assert found.shares["redone"] > 0
    assert found.shares["slow workers"] > 0
    assert found.stormy_s.median > found.calm_s.median > found.ideal_s.median
    assert found.n_kills.median > 0


def test_the_spread_of_the_rates_is_the_spread_of_the_hours(rates):
    found = forecast(calm(replays=30), rates)
    middle, low, high = found.ideal_s.median, found.ideal_s.low, found.ideal_s.high
    assert (low / middle, high / middle) == pytest.approx((0.9, 1.1), abs=0.01)
    assert found.wall_s.low < found.wall_s.median < found.wall_s.high


def test_equal_seeds_give_equal_forecasts(rates):
    campaign = Campaign(10**6, 8, failures_per_day=50)
    assert forecast(campaign, rates) == forecast(campaign, rates)
    assert forecast(campaign, rates) != forecast(replace(campaign, seed=1), rates)


def test_a_shared_file_system_feeds_only_so_many(steady):
    # 100 workers read 150 kB in 1.3 ms each: 11.5 GB/s
    campaign = calm(400 * SHARD_SIZE, 100)
    found = forecast(campaign, steady)
    assert found.read_bytes_per_s.median == pytest.approx(100 * 150_000 / CUTOUT_S)
    limited = forecast(replace(campaign, read_bandwidth=1e9), steady)
    assert limited.ideal_s.median == pytest.approx(campaign.n_objects * 150_000 / 1e9)
    assert bottleneck(limited) == "file system"
    assert any("file system" in text for text in advice(campaign, steady, limited))
    # one that is fast enough changes nothing
    assert forecast(replace(campaign, read_bandwidth=1e11), steady) == found


def test_a_gpu_waits_for_the_thread_that_reads(steady):
    moment = steady.moment(0)
    fast = Campaign(10**6, 2, on_gpus=True, gpu_rate=20_000)
    cost = cutout_cost(fast, moment)
    assert cost.network_s == pytest.approx(1 / 20_000)
    assert cost.total_s == pytest.approx(3e-4)
    slow = replace(fast, gpu_rate=1000)
    assert cutout_cost(slow, moment).total_s == pytest.approx(1e-3)
    # four processes share a GPU: a quarter of its network each, and each reads for itself
    shared = replace(fast, n_workers=8, per_gpu=4)
    assert cutout_cost(shared, moment).total_s == pytest.approx(3e-4)
    assert forecast(shared, steady).ideal_s.median == pytest.approx(
        forecast(fast, steady).ideal_s.median / 4
    )


def test_a_rate_of_a_gpu_is_measured_or_given_and_never_made_up(rates):
    with pytest.raises(RatesError, match="--gpu-rate"):
        check_rates(Campaign(10, 1, on_gpus=True), rates)
    check_rates(Campaign(10, 1, on_gpus=True, gpu_rate=1e4), rates)
    check_rates(Campaign(10, 1, on_gpus=True), replace(rates, device="cuda"))
    with pytest.raises(RatesError, match="nothing of cores"):
        check_rates(Campaign(10, 1), replace(rates, device="cuda"))
    with pytest.raises(RatesError, match="4 bands, 1 are asked"):
        check_rates(Campaign(10, 1), rates, n_bands=1)
    with pytest.raises(PlanError, match="no number of GPUs"):
        Campaign(10, 1, gpu_rate=1e4)


def test_blocks_are_cut_as_scoring_cuts_them():
    assert Campaign(8 * SHARD_SIZE, 4).block_rows == SHARD_SIZE
    few = Campaign(8 * SHARD_SIZE, 5)
    assert few.block_rows == SMALL_BLOCK
    # five workers have blocks of one shard, and each checks it
    assert (few.checks, Campaign(8 * SHARD_SIZE, 4).checks) == (5, 1)


def test_sizes_are_counted_from_what_was_measured(steady):
    campaign = Campaign(10**9, 64, objects_per_store=10**7, at_once=2)
    sizes = campaign_sizes(campaign, steady)
    shards = math.ceil(10**7 / SHARD_SIZE) * 100
    assert (sizes.n_stores, sizes.n_shards, sizes.n_luigi_tasks) == (100, shards, 200)
    assert sizes.n_dask_tasks == shards
    assert sizes.n_files == shards * (18 + 4)
    assert sizes.store_bytes == pytest.approx(10**9 * 150_500)
    assert sizes.raw_bytes == 10**9 * 4 * 101 * (404 + 13)
    assert sizes.manifest_bytes == 300 * math.ceil(10**7 / SHARD_SIZE)
    assert sizes.total_bytes == pytest.approx(64 * 9e8 + 2 * (9e8 + 100 * 10**7))


def test_a_store_that_nobody_could_open_is_refused(steady):
    with pytest.raises(PlanError, match="--objects-per-store of 1,8"):
        campaign_sizes(Campaign(10**10, 64, objects_per_store=10**10), steady)


def test_many_stores_are_told_apart_from_one(steady):
    whole = calm(200 * SHARD_SIZE, 8, objects_per_store=200 * SHARD_SIZE)
    split = replace(whole, objects_per_store=50 * SHARD_SIZE)
    by_two = replace(split, at_once=2)
    one, four, two = (forecast(c, steady).stormy_s.median for c in (whole, split, by_two))
    # three more stores to open and to close: 0.2 + 0.1 s each, and rounds that do not fill up
    assert four > one + 3 * 0.3 - 1e-9
    # two schedulers open at the same time
    assert two < four
    with pytest.raises(PlanError, match="--objects-per-store"):
        replace(split, at_once=5)


def test_a_billion_objects_take_no_more_events_than_promised(rates):
    campaign = Campaign(10**9, 64, replays=2)
    found = forecast(campaign, rates)
    assert found.n_events < 2 * 150_000
    assert found.n_kills.high > 0


def test_planning_from_a_file_needs_no_torch():
    code = "import equilens.pipeline.planning.forecast, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rates_with_more_noise_widen_the_interval(steady):
    noisy = steady.measured | {
        "network_s": Rate((0.5e-3, 1.5e-3), 1),
        "block_s": Rate((0.7e-3, 1.7e-3), 1),
    }
    found = forecast(calm(), replace(steady, measured=noisy))
    assert found.ideal_s.high > 1.8 * found.ideal_s.low
