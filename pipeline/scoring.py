"""Score a CutoutStore with a network on Dask: guard, blocks as tasks, manifest last.

A call is idempotent: it does what is missing. Blocks already written by the same network from the
same cutouts stay, damaged ones are done again, and other scores are never mixed in.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distributed import Client, Future, wait

from equilens.pipeline.blocks import BlockStats, BlockTask, score_block
from equilens.pipeline.cluster import OBJECTS_WORTH_PROCESSES, available_cores, open_client
from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import ScoringError
from equilens.pipeline.guard import GuardReport, guard
from equilens.pipeline.lock import lock_store
from equilens.pipeline.networks import NetworkRef, describe_network
from equilens.pipeline.provenance import fingerprint
from equilens.pipeline.scores import (
    ScoreStore,
    block_file,
    block_is_sound,
    claim_path,
    finish_scores,
    open_array,
    open_scores,
)
from equilens.pipeline.stores import MANIFEST, CutoutStore

BATCH_SIZE = 64
SMALL_BLOCK = 256
# below this many objects a cluster takes longer to start than the work itself
OBJECTS_WORTH_A_CLUSTER = 200
RETRIES = 2
WINDOW = 3
# how long blocks may wait for a first worker, or for another once all are gone
WORKER_TIMEOUT_S = 120
SCHEDULER_GONE = (
    "the Dask scheduler went away; what was scored stays: start it again, and run the same "
    "command to go on"
)
KEPT = "what was scored stays: run the same command again to go on"

Rows = tuple[int, int]
Progress = Callable[[dict[str, float]], None]


@dataclass(frozen=True)
class ScoreSummary:
    """What a scoring did.

    Attributes
    ----------
    path : of the ScoreStore
    n_objects : in it
    n_scored_now : by this call; 0 where it was complete already
    n_quarantined : objects without a finite score; ``quarantine.csv`` inside the store lists
        them after those that ingest had rejected
    n_out_of_domain : objects that the guard flagged
    network, sha256 : what scored
    notes : of the guard
    seconds : of this call
    """

    path: Path
    n_objects: int
    n_scored_now: int
    n_quarantined: int
    n_out_of_domain: int
    network: str
    sha256: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def already_complete(self) -> bool:
        return self.n_scored_now == 0


def score(
    cutouts: Path | str,
    model: str | Path,
    out: Path | str,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    replace: bool = False,
    batch_size: int = BATCH_SIZE,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ScoreSummary:
    """Score every object of a CutoutStore into a ScoreStore.

    Parameters
    ----------
    cutouts : path of a finished CutoutStore
    model : name of shipped weights, a training's folder, or a weights file
    out : path of the ScoreStore; goes on where an equal run stopped
    scheduler : address of a Dask scheduler; by default one is embedded
    workers : of the embedded cluster; by default one a core
    replace : give up scores that another network, other cutouts or settings left in `out`
    batch_size : cutouts the network takes at once; a power of two up to 256
    device : ``cpu`` or ``cuda``
    progress : called after each block with its rows, the total to do and the seconds so far

    Raises
    ------
    DomainError
        The network cannot work on these cutouts.
    ScoringError
        `out` holds other scores, no scheduler answers, or a worker failed for good; what was
        written stays.
    """
    began = time.monotonic()
    plan = _plan(cutouts, model, Path(out), batch_size)
    release = lock_store(plan.out)
    try:
        with disk_faults(plan.out, KEPT):
            claim_path(plan.out, plan.identity, replace)
            todo = plan.missing_blocks(workers)
        if todo:
            _refuse_damaged(plan.store)
            task = plan.task(device)
            with _unchanged_threads():
                for stats in _run(task, todo, plan.store.n_objects, scheduler, workers):
                    _tell(progress, stats, todo, began)
        with disk_faults(plan.out, KEPT):
            if not (plan.out / MANIFEST).exists():
                finish_scores(plan.out, plan.store, plan.network, plan.report, plan.identity)
    finally:
        release()
    return ScoreSummary(
        path=plan.out,
        n_objects=plan.store.n_objects,
        n_scored_now=sum(stop - start for start, stop in todo),
        n_quarantined=ScoreStore(plan.out).manifest["n_quarantined"],
        n_out_of_domain=plan.report.n_outside,
        network=plan.network.name,
        sha256=plan.network.sha256,
        notes=plan.report.notes,
        seconds=time.monotonic() - began,
    )


def _refuse_damaged(store: CutoutStore) -> None:
    """A flipped byte decodes to other pixels without a word; the manifest's checksums know."""
    damaged = store.verify()
    if damaged:
        raise ScoringError(
            f"{store.path}: shards {damaged} do not match the checksums of the manifest: make the "
            "store again with --replace"
        )


@dataclass(frozen=True)
class _Plan:
    """What is to be scored by what, checked."""

    store: CutoutStore
    network: NetworkRef
    report: GuardReport
    out: Path
    batch_size: int
    identity: dict[str, Any]

    def task(self, device: str) -> BlockTask:
        """What each worker needs to know."""
        return BlockTask(
            cutouts=str(self.store.path.resolve()),
            fingerprint=self.store.fingerprint,
            weights=self.network.path,
            sha256=self.network.sha256,
            out=str(self.out.resolve()),
            identity=fingerprint(self.identity),
            band_index=self.report.band_index,
            batch_size=self.batch_size,
            device=device,
        )

    def missing_blocks(self, workers: int | None) -> list[Rows]:
        """Blocks that are not there, or damaged."""
        n, manifest = self.store.n_objects, self.out / MANIFEST
        if manifest.exists():
            done = ScoreStore(self.out)
            damaged = done.verify()
            if not damaged and done.facts_are_sound():
                return []
            for start in damaged:
                block_file(self.out, start // done.manifest["block_rows"]).unlink(missing_ok=True)
            manifest.unlink()
        few = self.store.n_shards < 2 * (workers or available_cores())
        rows = SMALL_BLOCK if few else self.store.shard_size
        group = open_scores(self.out, self.identity, self._facts(), rows, self.network.members)
        rows = open_array(group, "scores").chunks[0]
        starts = range(0, n, rows)
        sound = (block_is_sound(group, self.out, k, rows) for k in range(len(starts)))
        return [
            (start, min(start + rows, n)) for start, ok in zip(starts, sound, strict=True) if not ok
        ]

    def _facts(self) -> dict[str, np.ndarray]:
        flags = self.store.facts("flags").copy()
        flags[self.report.outside != 0] |= int(CutoutFlag.OUT_OF_DOMAIN)
        ids = self.store.facts("ids")
        return {"ids": ids, "flags": flags, "outside": self.report.outside}


def _plan(cutouts: Path | str, model: str | Path, out: Path, batch_size: int) -> _Plan:
    if batch_size < 1 or SMALL_BLOCK % batch_size:
        raise ScoringError(f"batch_size must be a power of two up to 256, got {batch_size}")
    store, network = CutoutStore(cutouts), describe_network(model)
    report = guard(store, network.spec, network.domain)
    identity = {
        "cutouts": store.fingerprint,
        "network": network.sha256,
        "input_spec": network.spec.to_dict(),
        "batch_size": batch_size,
        "bands": [store.band_names[k] for k in report.band_index],
    }
    return _Plan(store, network, report, out, batch_size, identity)


def _run(
    task: BlockTask,
    todo: list[Rows],
    n_objects: int,
    scheduler: str | None,
    workers: int | None,
) -> Iterator[BlockStats]:
    """Blocks as they get done, here or on a cluster."""
    count = min(workers or available_cores(), len(todo))
    if scheduler is None and (n_objects <= OBJECTS_WORTH_A_CLUSTER or count == 1):
        yield from (score_block(task, *rows) for rows in todo)
        return
    processes = n_objects >= OBJECTS_WORTH_PROCESSES
    with open_client(scheduler, workers=count, processes=processes) as client:
        yield from _stream(client, task, todo)


def _stream(client: Client, task: BlockTask, todo: list[Rows]) -> Iterator[BlockStats]:
    """Submit a few blocks a worker at a time; hand on each as it gets done."""
    rows = iter(todo)

    def submit(count: int) -> set[Future]:
        return {_submit(client, task, *block) for block in islice(rows, count)}

    running = submit(WINDOW * _await_worker(client))
    while running:
        done = _next_done(client, running)
        running = running - done | submit(len(done))
        for future in done:
            yield _result(future, task)


def _submit(client: Client, task: BlockTask, start: int, stop: int) -> Future:
    key = f"score-rows-{start}-{stop}-{task.sha256[:8]}-{uuid.uuid4().hex[:8]}"
    return client.submit(score_block, task, start, stop, key=key, retries=RETRIES, pure=False)


def _await_worker(client: Client) -> int:
    """Threads of all workers, once there is one."""
    try:
        client.wait_for_workers(1, timeout=WORKER_TIMEOUT_S)
        return sum(client.nthreads().values())
    except TimeoutError as error:
        raise ScoringError(
            f"no Dask worker joined {client.scheduler.address} within {WORKER_TIMEOUT_S} s: start "
            "some (dask worker ADDRESS), and run the same command again"
        ) from error
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


def _result(future: Future, task: BlockTask) -> BlockStats:
    try:
        error = future.exception()
        if error is None:
            return future.result()
    # what a worker raised is handed over; what these calls raise is about the connection
    except (OSError, CancelledError) as lost:
        raise ScoringError(SCHEDULER_GONE) from lost
    raise ScoringError(
        f"block {future.key} failed {RETRIES + 1} times: {error or type(error).__name__}; what was "
        f"scored stays in {task.out}: run the same command again to go on"
    ) from error


def _tell(progress: Progress | None, stats: BlockStats, todo: list[Rows], began: float) -> None:
    if progress is not None:
        progress(
            {
                "rows": stats.stop - stats.start,
                "total": sum(stop - start for start, stop in todo),
                "elapsed_s": time.monotonic() - began,
            }
        )


@contextmanager
def _unchanged_threads() -> Iterator[None]:
    """Workers inside this process set torch's threads; the caller's number comes back."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
