"""Any cutout size to the survey's: crop or pad about the centre pixel, which is ``n // 2``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Window:
    """Where the pixels of one size go in another, both axes.

    Attributes
    ----------
    source, target : (y, x) slices of equal extent in the old and the new frame
    shift : (dy, dx) added to a pixel's index, and to CRPIX2 and CRPIX1
    cropped, padded : whether pixels were lost, and whether pixels without data were added
    """

    source: tuple[slice, slice]
    target: tuple[slice, slice]
    shift: tuple[int, int]
    cropped: bool
    padded: bool

    @classmethod
    @cache
    def centred(cls, old: tuple[int, int], new: tuple[int, int]) -> Self:
        """Window that keeps the centre pixel n // 2 at the centre.

        Parameters
        ----------
        old, new : (ny, nx)
        """
        shift = (new[0] // 2 - old[0] // 2, new[1] // 2 - old[1] // 2)
        spans = [_span(*sizes) for sizes in zip(old, new, shift, strict=True)]
        return cls(
            source=(spans[0][0], spans[1][0]),
            target=(spans[0][1], spans[1][1]),
            shift=shift,
            cropped=any(_extent(s) < n for (s, _), n in zip(spans, old, strict=True)),
            padded=any(_extent(t) < n for (_, t), n in zip(spans, new, strict=True)),
        )

    def place(self, values: np.ndarray, out: np.ndarray, fill: float | bool) -> None:
        """Put `values` (..., ny, nx) into `out`, with `fill` where no pixel comes from.

        Parameters
        ----------
        values : (..., ny, nx) of the old size
        out : (..., ny, nx) of the new size, overwritten
        fill : the value of padding
        """
        if self.padded:
            out[...] = fill
        out[(..., *self.target)] = values[(..., *self.source)]


def _span(old: int, new: int, shift: int) -> tuple[slice, slice]:
    source, target = max(0, -shift), max(0, shift)
    extent = min(old - source, new - target)
    return slice(source, source + extent), slice(target, target + extent)


def _extent(span: slice) -> int:
    return span.stop - span.start
