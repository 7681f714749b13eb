"""Batches on several processes, in order; pixels come back through files mapped into memory."""

from __future__ import annotations

import ctypes
import fcntl
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, cycle, islice
from math import prod
from pathlib import Path

import numpy as np

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import IngestError
from equilens.pipeline.ingest.batches import BatchResult, Outcome, gather_batch, read_each
from equilens.pipeline.surveys.objects import ObjectRef
from equilens.pipeline.surveys.survey import Survey

SLOT_BYTES = 32 * 2**20
SLOTS = "-equilens"
MAX_BATCH = 256
# whole chunks of a store are encoded where they lie
CHUNK = 16
# small work is done before a worker has even started
IN_PROCESS_BELOW = 512


def batch_size(survey: Survey) -> int:
    """Objects a batch: about 32 MiB of pixels, in whole chunks where they fit."""
    ny, nx = survey.shape
    n = min(MAX_BATCH, max(1, SLOT_BYTES // (5 * len(survey.bands) * ny * nx)))
    return n - n % CHUNK if n > CHUNK else n


def read_here(
    survey: Survey, outcomes: Iterable[Outcome], columns: tuple[str, ...]
) -> Generator[tuple[BatchResult, CutoutBatch], None, None]:
    """Batches of calibrated objects; the pixels of one are valid until the next is asked for."""
    size = batch_size(survey)
    images, mask = _allocate(survey, size)
    rest = iter(outcomes)
    for first in rest:
        batch = chain([first], islice(rest, size - 1))
        result = gather_batch(survey, batch, images, mask, columns)
        yield result, result.with_pixels(images, mask)


def _allocate(survey: Survey, n: int) -> tuple[np.ndarray, np.ndarray]:
    shape = (n, len(survey.bands), *survey.shape)
    return np.empty(shape, dtype=np.float32), np.empty(shape, dtype=bool)


def read_there(
    survey: Survey, refs: Iterable[ObjectRef], columns: tuple[str, ...], workers: int
) -> Generator[tuple[BatchResult, CutoutBatch], None, None]:
    """As `read_here`, on several processes; the order is that of `refs` all the same.

    Raises
    ------
    IngestError
        If a worker process dies and its batch can not be read in this process either.
    """
    shape = (batch_size(survey), len(survey.bands), *survey.shape)
    with _slot_files(shape, 2 * workers + 1) as paths:
        pool = _Pool(workers)
        batches = (
            _Batch(survey, part, columns, path, shape)
            for part, path in zip(_batched(refs, shape[0]), cycle(paths), strict=False)
        )
        try:
            for path, result in _in_order(pool, batches, len(paths)):
                yield result, result.with_pixels(*_mapped(path, shape))
        finally:
            pool.close()
            _mapped.cache_clear()


def _in_order(
    pool: _Pool, batches: Iterator[_Batch], n_slots: int
) -> Iterator[tuple[Path, BatchResult]]:
    running: deque[tuple[Path, Callable[[], BatchResult]]] = deque()
    for batch in batches:
        if len(running) == n_slots:
            # the oldest batch holds the very slot that comes next
            path, result = running.popleft()
            yield path, result()
        running.append((batch.path, pool.submit(batch)))
    for path, result in running:
        yield path, result()


@dataclass(frozen=True)
class _Batch:
    """Objects to read, and the slot for their pixels."""

    survey: Survey
    refs: list[ObjectRef]
    columns: tuple[str, ...]
    path: Path
    shape: tuple[int, ...]

    def read(self) -> BatchResult:
        slot = _mapped(self.path, self.shape)
        return gather_batch(self.survey, read_each(self.survey, self.refs), *slot, self.columns)


class _Pool:
    """Worker processes; where the system kills one, this process does its work anew.

    What kills a worker is want of memory, so half as many carry on, and in the end none.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def submit(self, batch: _Batch) -> Callable[[], BatchResult]:
        """Have a batch read; what is returned waits for the result."""
        if self._executor is None and self._workers:
            spawn = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self._workers, spawn, initializer=_settle_in)
        executor = self._executor
        if executor is None:
            return batch.read
        try:
            return partial(self._result, batch, executor, executor.submit(batch.read))
        except BrokenProcessPool:
            return partial(self._read_again, batch, executor)

    def close(self) -> None:
        """End the workers."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _result(
        self, batch: _Batch, executor: ProcessPoolExecutor, future: Future[BatchResult]
    ) -> BatchResult:
        try:
            return future.result()
        except BrokenProcessPool:
            return self._read_again(batch, executor)

    def _read_again(self, batch: _Batch, executor: ProcessPoolExecutor) -> BatchResult:
        # the other workers may still be writing to their slots: this waits for their end
        executor.shutdown(cancel_futures=True)
        if executor is self._executor:
            self._executor, self._workers = None, self._workers // 2
        try:
            return batch.read()
        except (MemoryError, OSError) as error:
            raise IngestError(
                f"a worker process died reading {len(batch.refs)} objects from "
                f"{batch.refs[0].id!r} on, and this process can not read them either ({error!r}): "
                "free memory, or use fewer workers"
            ) from error


def _settle_in() -> None:
    _keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Worker processes of a killed run would wait for work, and hold their memory, for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _keep_freed_memory() -> None:
    """Let a worker's C library reuse the memory of one cutout for the next.

    glibc hands arrays of some 100 KB back to the system and fetches them anew, page by page, which
    costs more than reading and decoding the file. Other libraries have no such call.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    m_trim_threshold, m_mmap_threshold = -1, -3
    mallopt(m_trim_threshold, 2**29)
    mallopt(m_mmap_threshold, 2**25)


@cache
def _mapped(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and mask of a slot, in memory that processes share."""
    images = np.memmap(path, np.float32, "r+", 0, shape)
    mask = np.memmap(path, np.bool_, "r+", images.nbytes, shape)
    return images.view(np.ndarray), mask.view(np.ndarray)


def _batched(refs: Iterable[ObjectRef], size: int) -> Iterator[list[ObjectRef]]:
    iterator = iter(refs)
    while batch := list(islice(iterator, size)):
        yield batch


@contextmanager
def _slot_files(shape: tuple[int, ...], n_slots: int) -> Iterator[list[Path]]:
    n_bytes = 5 * prod(shape)
    where = Path(_roomy_folder(n_bytes * n_slots) or tempfile.gettempdir())
    _sweep_slots(where)
    with (
        tempfile.TemporaryDirectory(SLOTS, dir=where) as folder,
        open(Path(folder, "lock"), "wb") as lock,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        paths = [Path(folder, f"slot{number}") for number in range(n_slots)]
        for path in paths:
            with disk_faults(folder), open(path, "wb") as file:
                file.truncate(n_bytes)
        yield paths


def _sweep_slots(where: Path) -> None:
    """Remove the slots of killed runs: their lock ended with them, their memory did not."""
    for folder in where.glob(f"*{SLOTS}"):
        with suppress(OSError), open(folder / "lock", "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _roomy_folder(n_bytes: int) -> str | None:
    """A file system in memory where it has room (containers allow 64 MB), else the default."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 * n_bytes:
        return str(memory)
    return None
