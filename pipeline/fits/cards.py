"""FITS header cards, found in one pass over the raw bytes and parsed only when asked for.

A survey header holds hundreds of cards and ingest needs a dozen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

from equilens.pipeline.errors import RejectedObject

BLOCK = 2880
CARD = 80
CardValue = str | int | float | bool | None
# a header longer than this is hostile: the longest real ones (stacks listing their inputs) have
# some 3,000 cards
MAX_HEADER_BYTES = 200 * BLOCK

_STRING = re.compile(r"'((?:[^']|'')*)'")


class Cards(Mapping[str, CardValue]):
    """Keywords of one header; of a repeated keyword the first card counts."""

    __slots__ = ("_raw",)

    def __init__(self, raw: dict[str, str]) -> None:
        self._raw = raw

    @classmethod
    def from_bytes(cls, header: bytes) -> Cards:
        """Split the bytes of a header, up to and without its END card."""
        text = header.decode("latin-1")
        starts = range(len(text) - CARD, -1, -CARD)
        # walking backwards lets the first of repeated cards win
        return cls({text[i : i + 8].rstrip(): text[i + 8 : i + CARD] for i in starts})

    def __getitem__(self, keyword: str) -> CardValue:
        return parse_value(self._raw[keyword])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __contains__(self, keyword: object) -> bool:
        return keyword in self._raw

    def __repr__(self) -> str:
        return f"Cards({len(self)} keywords)"

    def __or__(self, other: Cards) -> Cards:
        """Both sets of cards; where both have a keyword, `other` counts."""
        return Cards({**self._raw, **other._raw})

    def raw(self, keywords: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
        """Keyword and unparsed field of those `keywords` that are there."""
        return tuple((key, self._raw[key]) for key in keywords if key in self._raw)

    def number(self, keyword: str) -> float | None:
        """The card's value where it is a number, else None."""
        if keyword not in self._raw:
            return None
        value = self[keyword]
        return float(value) if isinstance(value, (int, float)) else None

    def integer(self, keyword: str, default: int) -> int:
        """The card's value where it must be a whole number.

        Raises
        ------
        RejectedObject
            If the card holds anything else.
        """
        if keyword not in self._raw:
            return default
        value = self[keyword]
        if isinstance(value, bool) or not isinstance(value, int):
            raise RejectedObject(
                "bad-header",
                f"{keyword} = {value!r}",
                "a whole number is needed: get the file anew",
            )
        return value


@lru_cache(maxsize=4096)
def parse_value(field: str) -> CardValue:
    """Value of a card from its columns 9 to 80; None where it has none or none that is valid."""
    if field[:1] != "=":
        return None
    body = field[1:].strip()
    if body.startswith("'"):
        match = _STRING.match(body)
        return match.group(1).replace("''", "'").rstrip() if match else None
    token = body.split("/", 1)[0].strip()
    if token in ("T", "F"):
        return token == "T"
    return _number(token)


def _number(token: str) -> int | float | None:
    # FORTRAN writes double precision exponents with a D; Python would also accept 1_000 and nan
    if len(token) > 40 or not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([EeDd][+-]?\d+)?", token):
        return None
    if token.lstrip("+-").isdigit():
        return int(token)
    return float(token.upper().replace("D", "E"))
