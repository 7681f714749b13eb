"""Headers without pixels: what a large file holds, read in a few blocks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import BLOCK, MAX_HEADER_BYTES, Cards
from equilens.pipeline.fits.primary import NotPlain, header_span, layout_of
from equilens.pipeline.fits.reader import read_fits
from equilens.pipeline.fits.structure import check_structure

# a survey tile may unpack to this much
MAX_UNPACKED = 2**34


@dataclass(frozen=True)
class HeaderInfo:
    """One image of a file: its name, header (with the primary's cards) and shape, y before x."""

    name: str
    cards: Cards
    shape: tuple[int, ...]


def read_headers(path: Path) -> tuple[HeaderInfo, ...]:
    """The images of a file that hold pixels.

    Raises
    ------
    RejectedObject
        If the file is missing or no FITS file.
    """
    try:
        try:
            return tuple(_plain_headers(path))
        except NotPlain:
            return tuple(_astropy_headers(path))
    except RejectedObject as fault:
        raise fault.at(path) from None
    except (OSError, ValueError) as error:
        raise RejectedObject("not-fits", str(error), "give a readable FITS file", path) from None


def _plain_headers(path: Path) -> Iterator[HeaderInfo]:
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        start = 0
        primary = Cards({})
        while start < size:
            head = _header_bytes(file.fileno(), start)
            if not head.startswith(b"SIMPLE" if start == 0 else b"XTENSION"):
                if start == 0:
                    raise NotPlain("gzip, or no FITS file")
                return
            last, end = header_span(head)
            cards = Cards.from_bytes(head[:last])
            layout = layout_of(cards)
            primary = primary if start else cards
            if layout.n_pixels:
                merged = primary | cards
                yield HeaderInfo(str(cards.get("EXTNAME") or ""), merged, layout.shape)
            start += end + layout.n_padded


def _header_bytes(descriptor: int, start: int) -> bytes:
    head = os.pread(descriptor, 4 * BLOCK, start)
    if b"END" + b" " * 77 not in head:
        head = os.pread(descriptor, MAX_HEADER_BYTES, start)
    return head


def _astropy_headers(path: Path) -> Iterator[HeaderInfo]:
    from astropy.io import fits

    with open(path, "rb") as file:
        if file.read(2) == b"\x1f\x8b":
            # a compressed stream has to be unpacked to its end: as an image, with its bounds
            for image in read_fits(path, max_bytes=MAX_UNPACKED).images:
                if image.pixels is not None:
                    yield HeaderInfo(image.name, image.cards, image.pixels.shape)
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            if data[:6] != b"SIMPLE":
                raise RejectedObject("not-fits", "no SIMPLE card", "give a FITS file")
            check_structure(data, MAX_UNPACKED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path) as hdus:
            for hdu in hdus:
                if hdu.is_image and hdu.shape:
                    cards = Cards.from_bytes(hdu.header.tostring().encode("latin-1", "replace"))
                    yield HeaderInfo(hdu.name, cards, tuple(hdu.shape))
