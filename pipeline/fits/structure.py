"""What a file's headers claim, checked before a FITS library believes them."""

from __future__ import annotations

from math import prod
from mmap import mmap

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.fits.cards import BLOCK, Cards
from equilens.pipeline.fits.primary import MAX_BYTES, axes_of, header_span


def check_structure(data: bytes | mmap, max_bytes: int = MAX_BYTES) -> None:
    """Look at what every header claims before a library believes it.

    A claimed axis count of 10^12 keeps astropy busy until memory ends; a file that ends early only
    makes it warn.

    Raises
    ------
    RejectedObject
        ``truncated``, ``too-large`` or ``bad-header``.
    """
    start = 0
    while start < len(data) and (start == 0 or data[start : start + 8] == b"XTENSION"):
        last, end = header_span(data, start)
        cards = Cards.from_bytes(data[start:last])
        _check_claims(cards, max_bytes)
        start = end + -(-_data_bytes(cards) // BLOCK) * BLOCK
        if start > len(data):
            raise RejectedObject(
                "truncated", f"holds {len(data)} of {start} bytes", "fetch the file again"
            )


def _check_claims(cards: Cards, max_bytes: int) -> None:
    for keyword, most in (("TFIELDS", 999), ("PCOUNT", max_bytes), ("GCOUNT", max_bytes)):
        value = cards.integer(keyword, 0)
        if not 0 <= value <= most:
            raise RejectedObject("bad-header", f"{keyword} = {value}", f"at most {most} is read")
    # compressed images unpack to more than their file holds: a double a pixel is allowed for
    if prod(axes_of(cards, "Z")) * 8 > 2 * max_bytes:
        raise RejectedObject(
            "too-large", f"compressed axes {axes_of(cards, 'Z')}", "cut it from the tile instead"
        )


def _data_bytes(cards: Cards) -> int:
    """Size of an HDU's data, without padding (FITS standard 4.0, equations 1 and 2)."""
    axes = axes_of(cards)
    if not axes:
        return 0
    if cards.get("GROUPS") is True and axes[-1] == 0:
        axes = axes[:-1]
    count = prod(axes) + cards.integer("PCOUNT", 0)
    return abs(cards.integer("BITPIX", 8)) // 8 * cards.integer("GCOUNT", 1) * count
