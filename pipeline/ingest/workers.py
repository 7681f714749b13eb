"""Batches on several processes, in order; pixels come back through files mapped into memory."""

from __future__ import annotations

import ctypes
import multiprocessing
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from itertools import chain, islice
from math import prod
from pathlib import Path

import numpy as np

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.errors import IngestError
from equilens.pipeline.ingest.batches import BatchResult, Outcome, gather_batch, read_each
from equilens.pipeline.surveys.objects import ObjectRef
from equilens.pipeline.surveys.survey import Survey

SLOT_BYTES = 32 * 2**20
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
) -> Iterator[tuple[BatchResult, CutoutBatch]]:
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
) -> Iterator[tuple[BatchResult, CutoutBatch]]:
    """As `read_here`, on several processes; the order is that of `refs` all the same.

    Raises
    ------
    IngestError
        If a worker process dies.
    """
    batches = _batched(refs, batch_size(survey))
    shape = (batch_size(survey), len(survey.bands), *survey.shape)
    with _slot_files(shape, 2 * workers + 1) as paths:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(workers, spawn, initializer=_keep_freed_memory)
        try:
            for path, result in _in_order(pool, survey, batches, columns, paths, shape):
                yield result, result.with_pixels(*_mapped(path, shape))
        except BrokenProcessPool as error:
            raise IngestError(
                "a worker process died, perhaps for want of memory: use fewer workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)
            _mapped.cache_clear()


def _in_order(
    pool: ProcessPoolExecutor,
    survey: Survey,
    batches: Iterator[list[ObjectRef]],
    columns: tuple[str, ...],
    paths: list[Path],
    shape: tuple[int, ...],
) -> Iterator[tuple[Path, BatchResult]]:
    running: deque[tuple[Path, Future[BatchResult]]] = deque()
    for number, refs in enumerate(batches):
        if len(running) == len(paths):
            # the oldest batch holds the very slot that comes next
            path, future = running.popleft()
            yield path, future.result()
        path = paths[number % len(paths)]
        running.append((path, pool.submit(_work, survey, refs, columns, path, shape)))
    for path, future in running:
        yield path, future.result()


def _work(
    survey: Survey,
    refs: list[ObjectRef],
    columns: tuple[str, ...],
    path: Path,
    shape: tuple[int, ...],
) -> BatchResult:
    return gather_batch(survey, read_each(survey, refs), *_mapped(path, shape), columns)


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
    with tempfile.TemporaryDirectory("-equilens", dir=_roomy_folder(n_bytes * n_slots)) as folder:
        paths = [Path(folder, f"slot{number}") for number in range(n_slots)]
        for path in paths:
            with open(path, "wb") as file:
                file.truncate(n_bytes)
        yield paths


def _roomy_folder(n_bytes: int) -> str | None:
    """A file system in memory where it has room (containers allow 64 MB), else the default."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > 2 * n_bytes:
        return str(memory)
    return None
