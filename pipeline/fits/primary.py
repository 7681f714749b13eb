"""A fast decoder of plain FITS images: numpy alone, sizes checked before anything is allocated.

Plain means: SIMPLE or IMAGE extension, no scaling beyond BSCALE and BZERO on 16-bit integers, no
BLANK, no groups, no compression. `NotPlain` says that astropy has to read the file.
Layout of header and data: FITS standard 4.0, sections 3.3 and 4.4.1.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from mmap import mmap
from pathlib import Path

import numpy as np

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import BLOCK, CARD, MAX_HEADER_BYTES, Cards

# two thousand 4-band cutouts in one buffer; a survey tile needs more and says so
MAX_BYTES = 2**28
_DTYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_END = b"END" + b" " * 77
_STRUCTURAL = (
    "XTENSION",
    "BITPIX",
    "NAXIS",
    *(f"NAXIS{axis}" for axis in range(1, 9)),
    *("PCOUNT", "GCOUNT", "GROUPS", "BSCALE", "BZERO", "BLANK", "ZIMAGE"),
)


class NotPlain(Exception):
    """This file needs a full FITS library."""


@dataclass(frozen=True)
class ImageLayout:
    """How the pixels that follow a header are stored.

    Attributes
    ----------
    dtype : numpy dtype string, big-endian
    shape : slowest axis first; () where the header declares no data
    scale, zero : BSCALE and BZERO
    """

    dtype: str
    shape: tuple[int, ...]
    scale: float = 1.0
    zero: float = 0.0

    @cached_property
    def n_pixels(self) -> int:
        """Number of pixels; 0 where there is no data."""
        return prod(self.shape) if self.shape else 0

    @cached_property
    def n_bytes(self) -> int:
        """Bytes of pixels, without padding."""
        return self.n_pixels * np.dtype(self.dtype).itemsize

    @cached_property
    def n_padded(self) -> int:
        """Bytes of pixels with the padding to whole blocks."""
        return -(-self.n_bytes // BLOCK) * BLOCK

    @cached_property
    def native(self) -> np.dtype:
        """The stored type in this machine's byte order."""
        return np.dtype(self.dtype).newbyteorder("=")


def header_span(data: bytes | memoryview | mmap, start: int = 0) -> tuple[int, int]:
    """Where the header that begins at `start` has its END card, and where its data begins.

    Raises
    ------
    RejectedObject
        If the data ends before the END card, or the header is absurdly long.
    """
    limit = min(len(data), start + MAX_HEADER_BYTES)
    for offset in range(start, limit - BLOCK + 1, BLOCK):
        block = bytes(data[offset : offset + BLOCK])
        position = block.find(_END)
        while position >= 0 and position % CARD:
            position = block.find(_END, position + 1)
        if position >= 0:
            return offset + position, offset + BLOCK
    if len(data) - start > MAX_HEADER_BYTES:
        raise RejectedObject(
            "bad-header", f"no END card in {MAX_HEADER_BYTES} bytes", "get the file anew"
        )
    raise RejectedObject(
        "truncated", f"{len(data)} bytes end inside a header", "fetch the file again"
    )


def layout_of(cards: Cards) -> ImageLayout:
    """What the structural keywords of a header say.

    Headers of one survey repeat them, so layouts are remembered by those cards.

    Raises
    ------
    NotPlain
        If astropy has to read what follows.
    RejectedObject
        If the header contradicts the FITS standard.
    """
    return _layout(cards.raw(_STRUCTURAL))


@lru_cache(maxsize=256)
def _layout(structure: tuple[tuple[str, str], ...]) -> ImageLayout:
    cards = Cards(dict(structure))
    shape = axes_of(cards)
    if "XTENSION" in cards and cards["XTENSION"] != "IMAGE":
        raise NotPlain(f"extension of type {cards['XTENSION']!r}")
    if cards.integer("PCOUNT", 0) or cards.integer("GCOUNT", 1) != 1 or cards.get("GROUPS"):
        raise NotPlain("random groups")
    bitpix = cards.integer("BITPIX", 0)
    if bitpix not in _DTYPES:
        raise RejectedObject(
            "bad-header", f"BITPIX = {bitpix}", f"one of {sorted(_DTYPES)} is needed"
        )
    # the standard gives BLANK no meaning for floating point, where old archives still write it
    if "ZIMAGE" in cards or ("BLANK" in cards and bitpix > 0):
        raise NotPlain("BLANK or compression")
    scale, zero = _scaling(cards)
    if (scale, zero) != (1.0, 0.0) and (bitpix != 16 or (scale, zero) == (1.0, 32768.0)):
        raise NotPlain("scaled pixels other than 16-bit")
    return ImageLayout(_DTYPES[bitpix], shape, scale, zero)


def axes_of(cards: Cards, prefix: str = "") -> tuple[int, ...]:
    """Lengths of the axes that NAXIS and its followers declare, the slowest first.

    Raises
    ------
    RejectedObject
        If there are more than eight, or a length is missing or negative.
    """
    naxis = cards.integer(f"{prefix}NAXIS", 0)
    if not 0 <= naxis <= 8:
        raise RejectedObject("bad-header", f"{prefix}NAXIS = {naxis}", "cutouts have 2 or 3 axes")
    shape = tuple(cards.integer(f"{prefix}NAXIS{axis}", -1) for axis in range(naxis, 0, -1))
    if any(side < 0 for side in shape):
        raise RejectedObject("bad-header", f"axes {shape}", "no axis may be negative or left out")
    return shape


def _scaling(cards: Cards) -> tuple[float, float]:
    values = []
    for keyword, default in (("BSCALE", 1.0), ("BZERO", 0.0)):
        value = cards.number(keyword) if keyword in cards else default
        if value is None:
            raise RejectedObject("bad-header", f"{keyword} is no number", "get the file anew")
        values.append(value)
    return values[0], values[1]


def check_size(layout: ImageLayout, start: int, available: int, max_bytes: int = MAX_BYTES) -> None:
    """Refuse an image that is too large to hold, or that the file does not hold in full.

    Parameters
    ----------
    layout : of the image
    start : offset of its first byte
    available : size of the file, bytes
    max_bytes : most that may be allocated

    Raises
    ------
    RejectedObject
        ``too-large`` or ``truncated``.
    """
    if layout.n_bytes > max_bytes:
        raise RejectedObject(
            "too-large",
            f"header claims {layout.shape} pixels, {layout.n_bytes} bytes",
            f"at most {max_bytes} bytes are read; cut it from the tile instead",
        )
    if start + layout.n_padded > available:
        raise RejectedObject(
            "truncated",
            f"holds {available} of {start + layout.n_padded} bytes",
            "fetch the file again",
        )


def decode_image(
    data: bytes | bytearray | memoryview,
    layout: ImageLayout,
    start: int,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Pixels in native byte order and the type that astropy gives them; a copy, or `out`."""
    raw = np.frombuffer(data, layout.dtype, layout.n_pixels, start).reshape(layout.shape)
    if layout.scale == 1.0 and layout.zero == 0.0:
        if out is None:
            return raw.astype(layout.native)
        out[...] = raw
        return out
    pixels = raw.astype(np.float32)
    if layout.scale != 1.0:
        np.multiply(pixels, layout.scale, pixels)
    if layout.zero != 0.0:
        pixels += layout.zero
    if out is None:
        return pixels
    out[...] = pixels
    return out


class PrimaryDecoder:
    """Reads the plain primary image of one file after another through one reused buffer.

    Files of a survey often share their header to the byte: a header equal to the last one is not
    parsed again. An instance belongs to one thread.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._buffer = bytearray(2**18)
        self._view = memoryview(self._buffer)
        self._header = b""
        self._layout = ImageLayout("u1", ())

    def read(self, path: Path | str, out: np.ndarray | None = None) -> np.ndarray:
        """The primary image of `path`, native byte order.

        Parameters
        ----------
        path : of the file
        out : C-contiguous array of the image's shape to fill, of any type; spares the allocation

        Raises
        ------
        NotPlain
            If astropy has to read it.
        RejectedObject
            If the file is truncated, no FITS file, or larger than allowed.
        OSError
            If it can not be opened.
        """
        size = self._fill(path)
        start = len(self._header)
        if not start or self._view[:start] != self._header:
            try:
                start = self._parse(size)
            except RejectedObject as fault:
                raise fault.at(path) from None
        layout = self._layout
        if start + layout.n_padded > size:
            try:
                check_size(layout, start, size, self.max_bytes)
            except RejectedObject as fault:
                raise fault.at(path) from None
        return decode_image(self._buffer, layout, start, out)

    def _parse(self, size: int) -> int:
        self._header = b""
        view = self._view[:size]
        if view[:6] != b"SIMPLE":
            raise RejectedObject("not-fits", "no SIMPLE card", "give a FITS file")
        last, end = header_span(view)
        header = bytes(view[:end])
        layout = layout_of(Cards.from_bytes(header[:last]))
        if not layout.shape:
            raise NotPlain("no data in the primary HDU")
        check_size(layout, end, size, self.max_bytes)
        self._header, self._layout = header, layout
        return end

    def _fill(self, path: Path | str) -> int:
        """Read the whole file; the buffer grows until a read leaves room in it."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.readv(descriptor, [self._buffer])
            while size == len(self._buffer):
                if size > self.max_bytes + MAX_HEADER_BYTES:
                    raise RejectedObject(
                        "too-large", f"over {size} bytes", "cut it from the tile", path
                    )
                self._grow()
                size += os.readv(descriptor, [self._view[size:]])
            return size
        finally:
            os.close(descriptor)

    def _grow(self) -> None:
        grown = bytearray(2 * len(self._buffer))
        grown[: len(self._buffer)] = self._buffer
        self._buffer, self._view = grown, memoryview(grown)
