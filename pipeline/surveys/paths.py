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
    joined = Path(os.path.normpath(root / path))
    # links are rare: only the folder is resolved, once, and a file only where it is a link
    real = _resolved(joined.parent) / joined.name
    if real.is_symlink():
        real = real.resolve()
    if real.is_relative_to(root):
        return None
    return RejectedObject(
        "outside-source",
        f"leads to {real}",
        f"only files below {root} are read: copy it there, or give its folder as the source",
        path,
    )


@lru_cache(maxsize=4096)
def _resolved(folder: Path) -> Path:
    return folder.resolve()
