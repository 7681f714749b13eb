"""Paths that stay inside the source folder."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from equilens.pipeline.errors import RejectedObject


def outside_source(path: Path, root: Path) -> RejectedObject | None:
    """Why `path` may not be read: it leaves `root`, by its name or through a link.

    Parameters
    ----------
    path : absolute, or relative to `root`
    root : resolved source folder
    """
    folder, name = os.path.split(os.path.normpath(os.path.join(root, path)))
    # links are rare: a folder is resolved once, and a file only where it is a link
    real = os.path.join(_resolved(folder), name)
    if os.path.islink(real):
        real = os.path.realpath(real)
    if real.startswith(os.path.join(root, "")):
        return None
    return RejectedObject(
        "outside-source",
        f"leads to {real}",
        f"only files below {root} are read: copy it there, or give its folder as the source",
        path,
    )


@lru_cache(maxsize=4096)
def _resolved(folder: str) -> str:
    return os.path.realpath(folder)
