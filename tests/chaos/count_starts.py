"""A Dask worker's preload: note each block that networks begin, so that repeated work shows."""

from __future__ import annotations

import os
from typing import Any

from distributed import Worker

from equilens.pipeline.scoring import worker as scoring

STARTS = "EQUILENS_CHAOS_STARTS"


async def dask_setup(worker: Worker) -> None:
    """Called by ``dask worker --preload``."""
    path, network_logits = os.environ[STARTS], scoring.network_logits

    def counted(*arguments: Any) -> Any:
        # single writes of a line do not mix
        with open(path, "a") as file:
            file.write("block\n")
        return network_logits(*arguments)

    scoring.network_logits = counted
