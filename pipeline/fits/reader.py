"""Read the images of any FITS file: quickly where it is plain, by a FITS library where it is not.

A file is read once; its checksum is that of the bytes that were decoded. Nothing is allocated
that a header claims and the file does not hold. Whatever is wrong with a file, it leaves here as
a `RejectedObject`.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import Cards
from equilens.pipeline.fits.primary import (
    MAX_BYTES,
    ImageLayout,
    NotPlain,
    check_size,
    decode_image,
    header_span,
    layout_of,
)
from equilens.pipeline.fits.structure import check_structure

Engine = Literal["auto", "astropy", "fitsio"]
_GZIP = b"\x1f\x8b"
_NOT_FITS = "give a FITS file, or leave it out of the source"


@dataclass(frozen=True)
class FitsImage:
    """One image of a file.

    Attributes
    ----------
    name : EXTNAME, "" where there is none
    number : position among the file's HDUs, 0 for the primary
    cards : its header
    pixels : native byte order, in the type that astropy gives; None where it holds no data
    """

    name: str
    number: int
    cards: Cards
    pixels: np.ndarray | None


@dataclass(frozen=True)
class FitsFile:
    """The images of one file, with the sha256 and size of the bytes that were read."""

    path: Path
    images: tuple[FitsImage, ...]
    checksum: str
    n_bytes: int

    @property
    def first(self) -> FitsImage:
        """The first image with pixels.

        Raises
        ------
        RejectedObject
            If there is none.
        """
        for image in self.images:
            if image.pixels is not None:
                return image
        raise RejectedObject("not-fits", "holds no image", "give a file with an image", self.path)

    def find(self, name: str) -> FitsImage | None:
        """The image of that EXTNAME, or of that HDU number where `name` is one."""
        for image in self.images:
            if image.name == name or (name.isdigit() and image.number == int(name)):
                return image
        return None


def read_fits(path: Path | str, engine: Engine = "auto", max_bytes: int = MAX_BYTES) -> FitsFile:
    """Read every image of a FITS file.

    Parameters
    ----------
    path : plain, gzip-compressed or tile-compressed
    engine : ``auto`` decodes plain files here and hands others to astropy; ``astropy`` and
        ``fitsio`` hand over all
    max_bytes : most that may be read, decompressed or allocated for one file

    Raises
    ------
    RejectedObject
        If the file is missing, no FITS file, truncated, damaged or larger than allowed.
    """
    path = path if isinstance(path, Path) else Path(path)
    try:
        raw = _read_bytes(path, max_bytes)
        checksum = hashlib.sha256(raw).hexdigest()
        data = _gunzip(raw, max_bytes) if raw[:2] == _GZIP else raw
        if data[:6] != b"SIMPLE":
            found = f"begins with {data[:6]!r}" if data else "is empty"
            raise RejectedObject("not-fits", found, _NOT_FITS)
        images = _images(path, data, engine, max_bytes)
    except RejectedObject as fault:
        raise fault.at(path) from None
    return FitsFile(path, images, checksum, len(raw))


def _images(path: Path, data: bytes, engine: Engine, max_bytes: int) -> tuple[FitsImage, ...]:
    if engine == "auto":
        try:
            return tuple(plain_images(data, max_bytes))
        except NotPlain:
            engine = "astropy"
    check_structure(data, max_bytes)
    if engine == "fitsio":
        return _guarded(_fitsio_images, path, max_bytes)
    return _guarded(_astropy_images, data, max_bytes)


def _read_bytes(path: Path, max_bytes: int) -> bytes:
    try:
        # O_NONBLOCK: a named pipe in the source must not stop the run
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise RejectedObject(
            "missing-file", error.strerror or str(error), "restore the file, or its permissions"
        ) from None
    try:
        size = os.fstat(descriptor).st_size
        if size > max_bytes:
            raise RejectedObject(
                "too-large", f"{size} bytes", f"at most {max_bytes} are read; cut it from the tile"
            )
        return _read_all(descriptor, size)
    except OSError as error:
        raise RejectedObject("not-fits", error.strerror or str(error), _NOT_FITS) from None
    finally:
        os.close(descriptor)


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size)
    # one call reads at most 2 GiB
    while 0 < len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            break
        data += more
    return data


def _gunzip(raw: bytes, max_bytes: int) -> bytes:
    """Decompress, but never more than `max_bytes`."""
    decoder = zlib.decompressobj(wbits=31)
    try:
        data = decoder.decompress(raw, max_bytes + 1)
    except zlib.error as error:
        raise RejectedObject("not-fits", f"damaged gzip: {error}", "fetch the file again") from None
    if len(data) > max_bytes:
        raise RejectedObject(
            "too-large", f"gzip holds over {max_bytes} bytes", "cut it from the tile"
        )
    if not decoder.eof:
        raise RejectedObject("truncated", f"gzip of {len(raw)} bytes ends early", "fetch it again")
    return data


def plain_images(data: bytes, max_bytes: int = MAX_BYTES) -> Iterator[FitsImage]:
    """Walk a file of plain images.

    Raises
    ------
    NotPlain
        At the first HDU that astropy has to read.
    RejectedObject
        ``truncated``, ``too-large`` or ``bad-header``.
    """
    start = number = 0
    primary = Cards({})
    # after the last HDU the standard allows anything; an HDU announces itself
    while start < len(data) and (number == 0 or data[start : start + 8] == b"XTENSION"):
        last, end = header_span(data, start)
        cards = Cards.from_bytes(data[start:last])
        layout = layout_of(cards)
        check_size(layout, end, len(data), max_bytes)
        primary = cards if number == 0 else primary
        yield _image(number, cards, primary, _decoded(data, layout, end))
        start, number = end + layout.n_padded, number + 1


def _decoded(data: bytes, layout: ImageLayout, start: int) -> np.ndarray | None:
    return decode_image(data, layout, start) if layout.n_pixels else None


def _image(number: int, cards: Cards, primary: Cards, pixels: np.ndarray | None) -> FitsImage:
    # zero points often stand in the primary header alone
    merged = cards if number == 0 else primary | cards
    return FitsImage(str(cards.get("EXTNAME") or ""), number, merged, pixels)


def _guarded(read: Any, source: Any, max_bytes: int) -> tuple[FitsImage, ...]:
    """Run a foreign reader; whatever it raises on damaged bytes is this object's row."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return tuple(read(source, max_bytes))
    except RejectedObject:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        rule = "truncated" if "truncated" in text.lower() else "not-fits"
        raise RejectedObject(rule, text[:200], "fetch the file again") from None


def _astropy_images(data: bytes, max_bytes: int) -> Iterator[FitsImage]:
    from astropy.io import fits

    with fits.open(BytesIO(data), memmap=False, lazy_load_hdus=False) as hdus:
        primary = Cards({})
        for number, hdu in enumerate(hdus):
            if not hdu.is_image:
                continue
            cards = Cards.from_bytes(hdu.header.tostring().encode("latin-1", "replace"))
            primary = cards if number == 0 else primary
            pixels = None
            if hdu.shape and 0 not in hdu.shape:
                # a compressed image may be larger than its file: the claim alone is bounded
                claim = ImageLayout(">f8", tuple(int(side) for side in hdu.shape))
                check_size(claim, 0, claim.n_padded, 2 * max_bytes)
                pixels = np.asarray(hdu.data)
                pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
            yield _image(number, cards, primary, pixels)


def _fitsio_images(path: Path, max_bytes: int) -> Iterator[FitsImage]:
    import fitsio

    # CFITSIO gives brackets and pipes in a name a meaning of their own
    if any(mark in str(path) for mark in "[]()|!+"):
        raise RejectedObject("not-fits", "name has a meaning for CFITSIO", "rename it", path)
    with fitsio.FITS(str(path.resolve())) as hdus:
        primary = Cards({})
        for number, hdu in enumerate(hdus):
            if hdu.get_exttype() != "IMAGE_HDU":
                continue
            text = hdu.read_header().__str__()
            lines = "".join(line[:80].ljust(80) for line in text.split("\n"))
            cards = Cards.from_bytes(lines.encode("latin-1", "replace"))
            primary = cards if number == 0 else primary
            pixels = None
            if hdu.has_data():
                claim = ImageLayout(">f8", tuple(hdu.get_dims()))
                check_size(claim, 0, claim.n_padded, 2 * max_bytes)
                pixels = hdu.read()
            yield _image(number, cards, primary, pixels)
