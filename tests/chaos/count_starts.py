"""A Dask worker's preload: write down each block that begins, so that repeated work shows."""

from __future__ import annotations

import os

from distributed import Worker
from distributed.diagnostics.plugin import WorkerPlugin

STARTS = "EQUILENS_CHAOS_STARTS"


class CountStarts(WorkerPlugin):
    """Append the key of each task that begins to a file; single writes of a line do not mix."""

    def __init__(self, path: str) -> None:
        self.path = path

    def transition(self, key: object, start: str, finish: str, **_: object) -> None:
        if finish == "executing":
            with open(self.path, "a") as file:
                file.write(f"{key}\n")


async def dask_setup(worker: Worker) -> None:
    """Called by ``dask worker --preload``."""
    await worker.plugin_add(CountStarts(os.environ[STARTS]), name="count-starts")
