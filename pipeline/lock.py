"""One writer a store: a lock that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from equilens.pipeline.disk_faults import disk_faults
from equilens.pipeline.errors import StoreError


def lock_store(path: Path | str) -> Callable[[], None]:
    """Claim a store for one writer; call what is returned, once, to let go of it.

    The lock is a file beside the store, ``.NAME.lock``. The system drops it when the process
    ends, however it ends: a killed run leaves nothing that has to be cleaned up.

    Raises
    ------
    StoreError
        If another writer, in this process or any other, holds it, or nothing can be written there.
    """
    path = Path(path).absolute()
    file = path.parent / f".{path.name}.lock"
    with disk_faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    if not _claim(descriptor, file):
        os.close(descriptor)
        raise StoreError(
            f"{path} is being written by another process: wait for it, or choose another --out"
        )

    def release() -> None:
        file.unlink(missing_ok=True)
        os.close(descriptor)

    return release


def _claim(descriptor: int, file: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # the last holder may have unlinked the file between our open and our lock
        return os.fstat(descriptor).st_ino == file.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
