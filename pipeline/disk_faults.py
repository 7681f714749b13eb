"""A disk that is full, read-only or closed to us, told in one line with its remedy."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from equilens.pipeline.errors import StoreError

_FREE = "free some, or choose another --out"
_ELSEWHERE = "make it writable, or choose another --out"
_FAULTS = {
    errno.ENOSPC: ("no space is left on its file system", _FREE),
    errno.EDQUOT: ("the quota of its file system is used up", _FREE),
    errno.EFBIG: ("a file would grow past the limit on its size", "raise it (ulimit -f)"),
    errno.EROFS: ("its file system is read-only", _ELSEWHERE),
    errno.EACCES: ("this user may not write there", _ELSEWHERE),
    errno.EPERM: ("this user may not write there", _ELSEWHERE),
    errno.ENOTDIR: ("a file stands where a folder is needed", "choose another --out"),
    errno.EIO: ("its disk does not answer", "look at the system's log before going on"),
    errno.ESTALE: ("its file system went away", "mount it again"),
}


@contextmanager
def disk_faults(path: Path | str, kept: str = "") -> Iterator[None]:
    """Turn what a disk refuses into a `StoreError`; other errors pass.

    Parameters
    ----------
    path : of the store that is written
    kept : what happens to what was written before, for the end of the message
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FAULTS:
            raise
        raise StoreError(disk_fault(path, error, kept)) from error


def disk_fault(path: Path | str, error: OSError, kept: str = "") -> str:
    """The message for an error of the operating system about `path`."""
    what, remedy = _FAULTS.get(error.errno or 0, (str(error), "look at its disk"))
    return f"{path} can not be written, {what}: {remedy}" + (f"; {kept}" if kept else "")
