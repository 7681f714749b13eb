"""The simulated schedule: closed forms, a simulation that takes one block at a time, controls."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline.planning.errors import PlanError
from equilens.pipeline.planning.schedule import Crew, simulate_schedule


def run(n_blocks, crew, seed=0):
    return simulate_schedule(n_blocks, crew, np.random.default_rng(seed))


def several(n_blocks, crew, n=200):
    rng = np.random.default_rng(7)
    return [simulate_schedule(n_blocks, crew, rng) for _ in range(n)]


def mean_and_error(values):
    values = np.asarray(values, float)
    return values.mean(), values.std(ddof=1) / math.sqrt(len(values))


def block_by_block(n_blocks, crew, rng, lost_blocks=1):
    """Makespan and seconds lost, by clocks alone: the worker that is free first takes a block.

    With `lost_blocks` of 2 a death takes the block before with it, which scoring never does.
    """
    clock = np.full(crew.n_workers, crew.ready_s)
    pace = np.ones(crew.n_workers)
    pace[: round(crew.slow_share * crew.n_workers)] = crew.slow_factor
    spread = math.sqrt(math.log1p(crew.scatter**2))
    queue, ends, lost = [0.0] * n_blocks, 0.0, 0.0
    while queue:
        # a block that was lost can be taken when it was lost, not before
        queue.sort()
        free = queue.pop(0)
        worker = int(np.argmin(np.maximum(clock, free)))
        began = max(clock[worker], free)
        seconds = crew.block_s * pace[worker] * rng.lognormal(-(spread**2) / 2, spread)
        life = rng.exponential(1 / crew.failures_per_s) if crew.failures_per_s else math.inf
        if life < seconds:
            lost += life + (lost_blocks - 1) * crew.block_s
            queue += [began + life] * lost_blocks
            clock[worker] = began + life + crew.restart_s
        else:
            clock[worker] = began + seconds
            ends = max(ends, began + seconds)
    return ends, lost


@given(st.integers(1, 3000), st.integers(1, 200), st.sampled_from([1.0, 0.5, 8.0]))
@settings(max_examples=60, deadline=None)
def test_equal_blocks_and_no_failures_take_whole_rounds(n_blocks, n_workers, block_s):
    found = run(n_blocks, Crew(n_workers, block_s))
    assert found.makespan_s == pytest.approx(math.ceil(n_blocks / n_workers) * block_s)
    assert found.useful_s == pytest.approx(n_blocks * block_s)
    assert (found.lost_s, found.down_s, found.n_kills) == (0, 0, 0)


def test_workers_that_start_late_end_late():
    assert run(100, Crew(7, 2.0, ready_s=5.0)).makespan_s == pytest.approx(15 * 2 + 5)


def test_a_scheduler_that_falls_behind_sets_the_pace():
    crew = Crew(1000, 1.0, dispatch_s=0.01)
    assert run(50_000, crew).makespan_s == pytest.approx(500, rel=0.01)
    # and one that keeps up costs nothing
    assert run(50_000, Crew(10, 1.0, dispatch_s=0.01)).makespan_s == pytest.approx(5000)


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_what_poisson_deaths_waste(rate):
    # E[seconds until a block of d is done] = (exp(rate d) - 1) / rate, deaths = exp(rate d) - 1
    n_blocks, d = 400, 1.0
    found = several(n_blocks, Crew(8, d, failures_per_s=rate, restart_s=0.5))
    lost, error = mean_and_error([run.lost_s for run in found])
    assert abs(lost - n_blocks * (math.expm1(rate * d) / rate - d)) < 4 * error
    kills, error = mean_and_error([run.n_kills for run in found])
    assert abs(kills - n_blocks * math.expm1(rate * d)) < 4 * error


def test_a_death_costs_half_a_block():
    found = several(2000, Crew(8, 1.0, failures_per_s=0.02))
    kills = sum(run.n_kills for run in found)
    assert kills > 5000
    # uniform within the block but for the slope of the exponential
    assert sum(run.lost_s for run in found) / kills == pytest.approx(0.5, abs=0.02)


def test_seconds_add_up_and_no_death_takes_more_than_a_block():
    crew = Crew(16, 1.0, failures_per_s=0.1, restart_s=2.0)
    for seed in range(20):
        found = run(500, crew, seed)
        idle = crew.n_workers * found.makespan_s - found.useful_s - found.lost_s - found.down_s
        assert idle > -1e-6
        assert found.lost_s <= found.n_kills * crew.block_s
        assert found.down_s <= found.n_kills * crew.restart_s
        assert found.useful_s == pytest.approx(500)


CREWS = [
    Crew(6, 1.0, scatter=0.5, failures_per_s=0.05, restart_s=3.0),
    Crew(5, 1.0, scatter=0.2, slow_share=0.4, slow_factor=3.0),
    Crew(20, 2.0, scatter=0.3, failures_per_s=0.1, restart_s=1.0, ready_s=4.0),
]


@pytest.mark.parametrize("crew", CREWS)
def test_the_same_law_as_block_by_block(crew):
    n_blocks, rng = 120, np.random.default_rng(3)
    slow = [block_by_block(n_blocks, crew, rng) for _ in range(150)]
    fast = several(n_blocks, crew, 150)
    for ours, theirs in (
        ([run.makespan_s for run in fast], [end for end, _ in slow]),
        ([run.lost_s for run in fast], [lost for _, lost in slow]),
    ):
        (a, da), (b, db) = mean_and_error(ours), mean_and_error(theirs)
        assert abs(a - b) <= 4 * math.hypot(da, db) + 1e-9


def test_losing_two_blocks_a_death_would_be_noticed():
    crew, n_blocks, rng = CREWS[0], 120, np.random.default_rng(3)
    worse = [block_by_block(n_blocks, crew, rng, lost_blocks=2) for _ in range(150)]
    (a, da) = mean_and_error([run.lost_s for run in several(n_blocks, crew, 150)])
    (b, db) = mean_and_error([lost for _, lost in worse])
    assert b - a > 4 * math.hypot(da, db)


def test_events_do_not_grow_with_the_blocks():
    assert run(500_000, Crew(64, 7.0, scatter=0.1)).n_events < 3000
    assert run(5_000, Crew(64, 7.0, scatter=0.1)).n_events < 3000


def test_equal_seeds_give_equal_schedules():
    crew = CREWS[0]
    assert run(300, crew, 5) == run(300, crew, 5)
    assert run(300, crew, 5) != run(300, crew, 6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_workers": 0, "block_s": 1}, "n_workers"),
        ({"n_workers": 1, "block_s": 0}, "block_s"),
        ({"n_workers": 1, "block_s": 1, "restart_s": -1}, "restart_s"),
        ({"n_workers": 1, "block_s": 1, "slow_factor": 0.5}, "slow workers"),
        ({"n_workers": 1, "block_s": 100, "failures_per_s": 1}, "hardly any"),
    ],
)
def test_impossible_crews_are_refused(settings, words):
    with pytest.raises(PlanError, match=words):
        Crew(**settings)
    with pytest.raises(PlanError, match="n_blocks"):
        run(0, Crew(1, 1.0))
