"""Cubes that hold many objects: one row read at a time, each file hashed once."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import MAX_HEADER_BYTES, Cards
from equilens.pipeline.fits.primary import (
    ImageLayout,
    NotPlain,
    check_size,
    decode_image,
    header_span,
    layout_of,
)
from equilens.pipeline.fits.reader import read_fits
from equilens.pipeline.surveys.objects import ObjectRef


@dataclass(frozen=True)
class ObjectCube:
    """An (object, y, x) cube, open for reading rows.

    Attributes
    ----------
    path, cards, checksum, n_bytes : of the file
    layout, start : of the pixels in a plain file
    pixels : all of them, where the file is not plain
    """

    path: Path
    cards: Cards
    checksum: str
    n_bytes: int
    layout: ImageLayout
    start: int
    pixels: np.ndarray | None = None

    def row(self, index: int) -> np.ndarray:
        """Image `index`, native byte order."""
        if not 0 <= index < self.layout.shape[0]:
            raise RejectedObject(
                "missing-file",
                f"index {index} of a cube of {self.layout.shape[0]}",
                "correct the index",
                self.path,
            )
        if self.pixels is not None:
            return self.pixels[index]
        one = ImageLayout(
            self.layout.dtype, self.layout.shape[1:], self.layout.scale, self.layout.zero
        )
        with open(self.path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), one.n_bytes, self.start + index * one.n_bytes)
        if len(data) < one.n_bytes:
            raise RejectedObject("truncated", "shrank while read", "fetch it again", self.path)
        return decode_image(data, one, 0)


def open_cube(path: Path) -> ObjectCube:
    """Open a cube; a file that did not change is not hashed again.

    Raises
    ------
    RejectedObject
        If it is missing, no cube, truncated or damaged.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise RejectedObject(
            "missing-file", error.strerror or str(error), "restore the file", path
        ) from None
    return _open(path, status.st_size, status.st_mtime_ns)


def count_objects(ref: ObjectRef) -> int:
    """Rows of the cubes of `ref`, which must agree.

    Raises
    ------
    RejectedObject
        If they do not, or one can not be read.
    """
    counts = {band: open_cube(path).layout.shape[0] for band, path in ref.files}
    if len(set(counts.values())) > 1:
        raise RejectedObject(
            "wrong-shape",
            ", ".join(f"{band} {count}" for band, count in counts.items()) + " objects",
            "cubes of one set must hold the same objects",
            ref.files[0][1],
        )
    return next(iter(counts.values()))


@lru_cache(maxsize=32)
def _open(path: Path, size: int, mtime_ns: int) -> ObjectCube:
    try:
        with open(path, "rb") as file:
            head = file.read(MAX_HEADER_BYTES)
            if head[:6] != b"SIMPLE":
                raise NotPlain("compressed, or no FITS file")
            last, start = header_span(head)
            cards = Cards.from_bytes(head[:last])
            layout = layout_of(cards)
            if not layout.shape:
                raise NotPlain("cube in an extension")
            # rows are read one by one: the file's own size is the only bound
            check_size(layout, start, size, max_bytes=max(size, 1))
            file.seek(0)
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
    except NotPlain:
        return _open_decoded(path)
    except RejectedObject as fault:
        raise fault.at(path) from None
    except OSError as error:
        raise RejectedObject("missing-file", str(error), "restore the file", path) from None
    return ObjectCube(path, cards, checksum, size, _cube_layout(layout, path), start)


def _open_decoded(path: Path) -> ObjectCube:
    file = read_fits(path)
    image = file.first
    assert image.pixels is not None
    layout = _cube_layout(ImageLayout(">f4", image.pixels.shape), path)
    return ObjectCube(path, image.cards, file.checksum, file.n_bytes, layout, 0, image.pixels)


def _cube_layout(layout: ImageLayout, path: Path) -> ImageLayout:
    if len(layout.shape) != 3:
        raise RejectedObject(
            "wrong-shape", f"axes {layout.shape}", "an (object, y, x) cube is needed", path
        )
    return layout
