"""Where tasks run: a Dask scheduler somewhere, or one that lives as long as this call.

An embedded cluster takes threads of this process as workers as long as the work is short:
networks and codecs let go of Python's lock, and starting a process costs the import of torch
(3 to 5 s). Long work gets a process a worker, which a crash in native code does not take down.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from equilens.pipeline.errors import ScoringError

# from about a minute of work on, a few seconds of starting processes no longer count
OBJECTS_WORTH_PROCESSES = 20_000
CONNECT_TIMEOUT_S = 20
LOOPBACK = "127.0.0.1:0"
# Dask has its workers give memory back at once; a network would ask for the same again each batch,
# which costs more system time than a small network takes
KEEP_MEMORY = {
    f"distributed.nanny.pre-spawn-environ.MALLOC_{name}_THRESHOLD_": 2**30
    for name in ("TRIM", "MMAP")
}


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def open_client(
    scheduler: str | None = None,
    *,
    workers: int | None = None,
    processes: bool = False,
    dashboard: bool = False,
) -> Iterator[Client]:
    """A client of the scheduler at an address, or of an embedded cluster; closed at the end.

    Parameters
    ----------
    scheduler : address such as ``tcp://host:8786``; None embeds a cluster in this process
    workers : of an embedded cluster; by default one a core
    processes : a process a worker, not a thread
    dashboard : serve Dask's dashboard, on the loopback interface only

    Raises
    ------
    ScoringError
        Nothing answers at `scheduler`.
    """
    if scheduler is not None:
        with _connect(scheduler) as client:
            yield client
        return
    count = workers or available_cores()
    with (
        dask.config.set(KEEP_MEMORY),
        LocalCluster(
            n_workers=count if processes else 1,
            threads_per_worker=1 if processes else count,
            processes=processes,
            host="127.0.0.1" if processes else None,
            dashboard_address=LOOPBACK if dashboard else None,
            # without a dashboard both serve their health pages still, and to the whole network
            scheduler_kwargs={"dashboard_address": LOOPBACK},
            worker_dashboard_address=LOOPBACK,
            # what fails is raised where it is waited for
            silence_logs=logging.CRITICAL,
            # the limit of an in-process worker would count the caller's memory as its own
            memory_limit="auto" if processes else 0,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _connect(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ScoringError(
            f"no Dask scheduler answers at {scheduler} within {CONNECT_TIMEOUT_S} s ({error}): "
            "check the address, or leave it out to run here"
        ) from error
