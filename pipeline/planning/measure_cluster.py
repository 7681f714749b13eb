"""Rates of a cluster: how long its parts take to start, a task's cost, a worker's memory."""

from __future__ import annotations

import resource
import sys
import time

from distributed import Client

from equilens.pipeline.cluster import open_client
from equilens.pipeline.networks import ready_network
from equilens.pipeline.planning.measure_blocks import BlockBench

N_TASKS = 300
# what Linux counts in KiB, macOS counts in bytes
_PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


def cluster_rates(blocks: BlockBench) -> dict[str, float]:
    """Start a scheduler and a worker process, score with it, and end it."""
    network = blocks.network
    began = time.perf_counter()
    with open_client(workers=1, processes=True) as client:
        client.wait_for_workers(1)
        there = time.perf_counter()
        client.submit(prepare_worker, network.path, network.sha256, blocks.device).result()
        ready = time.perf_counter()
        task_s = _tasks(client) / N_TASKS
        scored = blocks.scored(client.scheduler.address)
        peak = client.submit(peak_bytes, pure=False).result()
    return {
        "cluster_start_s": there - began,
        "worker_start_s": ready - there,
        "task_s": task_s,
        "worker_bytes": float(peak),
        **scored,
    }


def prepare_worker(path: str, sha256: str, device: str) -> None:
    """Import torch and load the network, as the first block of a worker does."""
    ready_network(path, sha256, device)


def peak_bytes() -> int:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _PEAK_UNIT


def _tasks(client: Client) -> float:
    began = time.perf_counter()
    client.gather([client.submit(_nothing, k, pure=False) for k in range(N_TASKS)])
    return time.perf_counter() - began


def _nothing(_: int) -> None:
    """A task that costs what every task costs."""
