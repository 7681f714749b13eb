"""Rates of the process that drives a scoring: opening and closing, files, memory.

Told from outside, by the files of a run: the identity is written when the store is open, a block
when it is done, the manifest last of all. Two stores of tiny cutouts, one large and one small, give
what a store costs and what each of its objects adds.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from shutil import rmtree

from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import SMALLEST_SIDE_PX, InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.planning.measure_blocks import folder_bytes, noise_store
from equilens.pipeline.scores import IDENTITY
from equilens.pipeline.scoring import score
from equilens.pipeline.stores import MANIFEST, CutoutStore

ARCHITECTURE = "d4-resnet-nano"


class _Enough(Exception):
    """The first block is done."""


class DriverBench:
    """Two stores of tiny cutouts, scored again and again."""

    NAMES = (
        "open_s",
        "open_object_s",
        "close_s",
        "close_object_s",
        "score_bytes",
        "shard_files",
        "block_files",
        "manifest_bytes",
    )

    def __init__(self, scratch: Path, sizes: tuple[int, int], device: str) -> None:
        spec = InputSpec(("a",), 0.1, (SMALLEST_SIDE_PX, SMALLEST_SIDE_PX))
        finder = build_finder(ARCHITECTURE, spec, seed=1)
        self._weights = save_checkpoint(scratch / "tiny.safetensors", finder, {"title": "tiny"})
        self._stores = [noise_store(scratch / f"tiny-{n}.zarr", spec, n) for n in sizes]
        self._out, self._device = scratch / "tiny-scores.zarr", device

    def turn(self) -> dict[str, float]:
        """Every rate once."""
        small, large = self._stores
        opened, closed = self._run(small)
        opened_large, closed_large = self._run(large)
        n, more = small.n_objects, large.n_objects - small.n_objects
        open_object = max(0.0, (opened_large - opened) / more)
        close_object = max(0.0, (closed_large - closed) / more)
        rows = len(list((self._out / "scores" / "c").iterdir()))
        shards = large.n_shards
        manifest = (large.path / MANIFEST).stat().st_size
        return {
            "open_s": max(0.0, opened - n * open_object),
            "open_object_s": open_object,
            "close_s": max(0.0, closed - n * close_object),
            "close_object_s": close_object,
            "score_bytes": folder_bytes(self._out) / large.n_objects,
            "shard_files": _n_files(large.path) / shards,
            "block_files": _n_files(self._out) / rows,
            "manifest_bytes": manifest / shards,
        }

    def memory(self) -> float:
        """Bytes that each further object of a store takes while it is scored.

        Of Python and numpy alone; up to the first block, when all is in memory that will be.
        """
        small, large = (self._peak(store) for store in self._stores)
        more = self._stores[1].n_objects - self._stores[0].n_objects
        return max(0.0, (large - small) / more)

    def _run(self, store: CutoutStore) -> tuple[float, float]:
        """Seconds until a store is open, and after its last block."""
        rmtree(self._out, ignore_errors=True)
        began = time.time()
        score(store.path, self._weights, self._out, workers=1, device=self._device)
        blocks = (self._out / "scores" / "c").rglob("*")
        last = max(file.stat().st_mtime for file in blocks if file.is_file())
        opened = (self._out / IDENTITY).stat().st_mtime - began
        return max(0.0, opened), max(0.0, (self._out / MANIFEST).stat().st_mtime - last)

    def _peak(self, store: CutoutStore) -> int:
        def stop(_: dict[str, float]) -> None:
            raise _Enough

        rmtree(self._out, ignore_errors=True)
        tracemalloc.start()
        try:
            score(
                store.path,
                self._weights,
                self._out,
                workers=1,
                device=self._device,
                progress=stop,
            )
        except _Enough:
            pass
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return peak


def _n_files(path: Path) -> int:
    return sum(1 for file in path.rglob("*") if file.is_file())
