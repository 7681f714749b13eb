"""A discrete simulation of blocks on workers that die, come back and are not all equally fast.

Workers take the next block when they are free. A worker lives for exponential times of mean
``1 / failures_per_s`` of work; when it dies, the block in its hands is lost and done again by
whoever is free, and it is back after ``restart_s``. That is what scoring guarantees: a block is
written whole or not at all, and no other block is touched. The scheduler is one server that hands
out a block in ``dispatch_s``; blocks are queued ahead, so a worker waits only for a scheduler that
falls behind.

Far from the end it does not matter in which order blocks are done. So a worker is given a share of
what is left, as one event, and single blocks only towards the end: the same law as an event a
block, at a cost that grows with the logarithm of their number. A heap of tuples does it; a library
of processes for simulations would put a generator's switch into each of these events.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from equilens.pipeline.planning.errors import PlanError

# a worker takes at most one of so many parts of its share of what is left
PARTS = 2


@dataclass(frozen=True)
class Crew:
    """Who does the blocks.

    Attributes
    ----------
    n_workers : at least 1
    block_s : mean seconds of a block
    scatter : standard deviation of a block's seconds over their mean; they are log-normal
    dispatch_s : the scheduler's seconds a block
    ready_s : when the workers are there
    failures_per_s : of a worker at work
    restart_s : until a worker that died is back
    slow_share, slow_factor : share of the workers that take this many times as long
    """

    n_workers: int
    block_s: float
    scatter: float = 0.0
    dispatch_s: float = 0.0
    ready_s: float = 0.0
    failures_per_s: float = 0.0
    restart_s: float = 0.0
    slow_share: float = 0.0
    slow_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.n_workers < 1:
            raise PlanError(f"n_workers must be at least 1, got {self.n_workers}")
        if not 0 < self.block_s < math.inf:
            raise PlanError(f"block_s must be positive and finite, got {self.block_s}")
        if not 0 <= self.slow_share <= 1 or not self.slow_factor >= 1:
            raise PlanError(
                "slow workers are a share from 0 to 1 and a factor from 1, got "
                f"{self.slow_share} and {self.slow_factor}"
            )
        for name in ("scatter", "dispatch_s", "ready_s", "failures_per_s", "restart_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise PlanError(f"{name} must be 0 or more, got {getattr(self, name)}")
        # a block that outlives most workers is never done
        if self.failures_per_s * self.block_s * self.slow_factor > 3:
            raise PlanError(
                f"a worker lives {1 / self.failures_per_s:.3g} s and a block takes "
                f"{self.block_s:.3g} s: hardly any would be done; plan with fewer failures"
            )


@dataclass(frozen=True)
class Schedule:
    """What became of the blocks.

    Attributes
    ----------
    makespan_s : until the last block is done
    useful_s : worker seconds of blocks that were done
    lost_s : worker seconds of blocks that a worker died with
    down_s : worker seconds of workers on their way back
    n_kills : workers that died at work, one block each
    n_events : of the simulation
    """

    makespan_s: float
    useful_s: float
    lost_s: float
    down_s: float
    n_kills: int
    n_events: int


def simulate_schedule(n_blocks: int, crew: Crew, rng: np.random.Generator) -> Schedule:
    """Simulate until `n_blocks` blocks are done."""
    if n_blocks < 1:
        raise PlanError(f"n_blocks must be at least 1, got {n_blocks}")
    return _Floor(n_blocks, crew, rng).run()


def share_parts(crew: Crew) -> float:
    """Of how many parts of what is left a worker takes one; below that, single blocks."""
    return PARTS * crew.n_workers * (crew.slow_factor if crew.slow_share else 1.0)


class _Durations:
    """Seconds of blocks, one after another, as a running sum."""

    def __init__(self, crew: Crew, n_blocks: int, rng: np.random.Generator) -> None:
        self._mean, self._rng, self._spare = crew.block_s, rng, max(64, n_blocks // 8)
        self._sigma = math.sqrt(math.log1p(crew.scatter**2))
        self.sums = [0.0]
        self._draw(n_blocks)
        self.n_taken = 0

    def take(self, count: int) -> tuple[int, float]:
        """Index of the first of the next `count` blocks, and the seconds of all."""
        first = self.n_taken
        self.n_taken = end = first + count
        if end >= len(self.sums):
            self._draw(max(count, self._spare))
        return first, self.sums[end] - self.sums[first]

    def span(self, first: int, count: int) -> float:
        return self.sums[first + count] - self.sums[first]

    def n_within(self, first: int, count: int, seconds: float) -> int:
        """How many of the blocks from `first` on are done after some seconds."""
        ends = np.array(self.sums[first + 1 : first + count + 1])
        return int(np.searchsorted(ends, self.sums[first] + seconds, side="right"))

    def _draw(self, count: int) -> None:
        if self._sigma:
            spread = self._rng.normal(-(self._sigma**2) / 2, self._sigma, count)
            seconds = self._mean * np.exp(spread)
        else:
            seconds = np.full(count, self._mean)
        seconds[0] += self.sums[-1]
        self.sums += np.cumsum(seconds).tolist()


class _Floor:
    """The state of a simulation: what waits, who holds what until when."""

    def __init__(self, n_blocks: int, crew: Crew, rng: np.random.Generator) -> None:
        self.crew, self.rng = crew, rng
        self.durations = _Durations(crew, n_blocks, rng)
        n_slow = round(crew.slow_share * crew.n_workers)
        self.pace = [crew.slow_factor] * n_slow + [1.0] * (crew.n_workers - n_slow)
        self.share = share_parts(crew)
        self.waiting, self.in_hand = n_blocks, 0
        # of each worker: blocks taken, those it will finish, seconds that these take
        self.hands = [(0, 0, 0.0)] * crew.n_workers
        self.events = [(crew.ready_s, worker) for worker in range(crew.n_workers)]
        self.idle: list[int] = []
        self.dispatched_s = 0.0
        self.useful_s = self.lost_s = 0.0
        self.kills: list[float] = []
        self.began_s = [0.0] * crew.n_workers

    def run(self) -> Schedule:
        now, n_events = 0.0, 0
        while self.waiting or self.in_hand:
            now, worker = heapq.heappop(self.events)
            n_events += 1
            self._settle(worker, now)
        down = sum(min(self.crew.restart_s, now - kill) for kill in self.kills)
        return Schedule(now, self.useful_s, self.lost_s, down, len(self.kills), n_events)

    def _settle(self, worker: int, now: float) -> None:
        """Take back what a worker did; it goes on, or it died."""
        taken, done, seconds = self.hands[worker]
        self.hands[worker] = (0, 0, 0.0)
        self.in_hand -= taken
        self.waiting += taken - done
        self.useful_s += seconds
        if done == taken:
            self._give(worker, now)
            return
        self.lost_s += now - self.began_s[worker] - seconds
        self.kills.append(now)
        heapq.heappush(self.events, (now + self.crew.restart_s, worker))
        while self.waiting and self.idle:
            self._give(self.idle.pop(), now)

    def _give(self, worker: int, now: float) -> None:
        """Hand a worker its next blocks, and find out how that will end."""
        if not self.waiting:
            self.idle.append(worker)
            return
        count = max(1, int(self.waiting / self.share))
        self.waiting -= count
        self.in_hand += count
        self.dispatched_s = max(self.dispatched_s, now) + count * self.crew.dispatch_s
        first, seconds = self.durations.take(count)
        pace = self.pace[worker]
        seconds *= pace
        end, done = max(now + seconds, self.dispatched_s), count
        if self.crew.failures_per_s:
            death = now + self.rng.exponential(1 / self.crew.failures_per_s)
            if death < end:
                within = self.durations.n_within(first, count, (death - now) / pace)
                end, done = death, min(within, count - 1)
                seconds = pace * self.durations.span(first, done)
        self.hands[worker], self.began_s[worker] = (count, done, seconds), now
        heapq.heappush(self.events, (end, worker))
