"""Take stores away whole: under its own name there is never half of one."""

from __future__ import annotations

import glob
import os
import re
import shutil
import uuid
from pathlib import Path

# zarr writes a file under such a name before it gets its own
_PARTIAL = re.compile(r".+\.[0-9a-f]{32}\.partial")


def remove_store(path: Path) -> None:
    """Remove a folder that a kill in the middle must not leave half there.

    A store whose manifest outlived its arrays would pass for a finished one.
    """
    gone = path.with_name(f".{path.name}.{uuid.uuid4().hex}.gone")
    os.replace(path, gone)
    shutil.rmtree(gone)


def sweep_removed(path: Path) -> None:
    """Finish the removals of `path` that a kill cut short."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*.gone"):
        shutil.rmtree(folder, ignore_errors=True)


def sweep_partial(path: Path) -> None:
    """Remove files of the unfinished store `path` that a killed process left half written.

    Only the holder of the store's lock may do this.
    """
    for file in path.rglob("*.partial"):
        if _PARTIAL.fullmatch(file.name):
            file.unlink(missing_ok=True)
