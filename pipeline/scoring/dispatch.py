"""Blocks done, here or on a cluster, a few under way at a time."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from itertools import islice

from distributed import Client, Future, wait

from equilens.pipeline.cluster import OBJECTS_WORTH_PROCESSES, available_cores, open_client
from equilens.pipeline.errors import PipelineError, ScoringError
from equilens.pipeline.scoring.blocks import KEPT, Block, BlockStats, Source
from equilens.pipeline.scoring.worker import score_block, score_blocks

Work = Callable[[Source, Block], BlockStats]
# below this many objects a cluster takes longer to start than the work itself
OBJECTS_WORTH_A_CLUSTER = 200
RETRIES = 2
WINDOW = 3
# how often to look for workers that joined since
ASK_AGAIN_S = 5
# how long blocks may wait for a first worker, or for another once all are gone
WORKER_TIMEOUT_S = 120
SCHEDULER_GONE = (
    "the Dask scheduler went away; what was scored stays: start it again, and run the same "
    "command to go on"
)


def run_blocks(
    source: Source,
    todo: list[Block],
    n_objects: int,
    scheduler: str | None,
    workers: int | None,
) -> Iterator[BlockStats]:
    """Blocks as they get done."""
    if not todo:
        return
    count = min(workers or available_cores(), len(todo))
    if scheduler is None and (n_objects <= OBJECTS_WORTH_A_CLUSTER or count == 1):
        yield from score_blocks(source, todo)
        return
    processes = n_objects >= OBJECTS_WORTH_PROCESSES
    with open_client(scheduler, workers=count, processes=processes) as client:
        yield from stream(client, source, todo)


def stream(
    client: Client, source: Source, todo: list[Block], do: Work = score_block
) -> Iterator[BlockStats]:
    """Let workers `do` a few blocks each at a time; hand on each as it gets done."""
    blocks = iter(todo)

    def submit(count: int) -> set[Future]:
        return {_submit(client, do, source, block) for block in islice(blocks, count)}

    threads, asked = _await_worker(client), time.monotonic()
    running = submit(WINDOW * threads)
    while running:
        done = _next_done(client, running)
        if time.monotonic() - asked > ASK_AGAIN_S:
            threads, asked = _threads(client), time.monotonic()
        left = running - done
        running = left | submit(max(len(done), WINDOW * threads - len(left)))
        yield from _results(client, done)


def _submit(client: Client, do: Work, source: Source, block: Block) -> Future:
    names = "-".join(network.sha256[:8] for network in block.networks)
    key = f"score-rows-{block.start}-{block.stop}-{names}-{uuid.uuid4().hex[:8]}"
    return client.submit(do, source, block, key=key, retries=RETRIES, pure=False)


def _await_worker(client: Client) -> int:
    """Threads of all workers, once there is one."""
    try:
        client.wait_for_workers(1, timeout=WORKER_TIMEOUT_S)
    except TimeoutError as error:
        raise ScoringError(
            f"no Dask worker joined {client.scheduler.address} within {WORKER_TIMEOUT_S} s: start "
            "some (dask worker ADDRESS), and run the same command again"
        ) from error
    except (OSError, CancelledError) as error:
        raise ScoringError(SCHEDULER_GONE) from error
    return _threads(client)


def _threads(client: Client) -> int:
    try:
        return sum(client.nthreads().values())
    except (OSError, CancelledError) as error:
        raise ScoringError(SCHEDULER_GONE) from error


def _next_done(client: Client, running: set[Future]) -> set[Future]:
    """Futures that are done, once there are any; blocks without a worker to do them are none."""
    while True:
        try:
            with client.as_current():
                return wait(running, WORKER_TIMEOUT_S, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            _await_worker(client)
        except (OSError, CancelledError) as error:
            raise ScoringError(SCHEDULER_GONE) from error


def _results(client: Client, done: set[Future]) -> list[BlockStats]:
    """What became of blocks, asked for at once: each question costs a millisecond."""
    try:
        failed = next((future for future in done if future.status != "finished"), None)
        if failed is None:
            return client.gather(list(done))
        error = failed.exception()
    # what a worker raised is handed over; what these calls raise is about the connection
    except (OSError, CancelledError) as lost:
        raise ScoringError(SCHEDULER_GONE) from lost
    # one of ours names its own remedy
    if isinstance(error, PipelineError):
        raise error
    raise ScoringError(
        f"block {failed.key} failed {RETRIES + 1} times: {error or type(error).__name__}; {KEPT}"
    ) from error
