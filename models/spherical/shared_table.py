"""A table with one row for all pixels that are alike, filled as its rows are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equilens.models.spherical.pixels import Integers, require_nside
from equilens.models.spherical.shared_rows import SharedRows

ROWS_AT_ONCE = 2048


class Placement(NamedTuple):
    """Where the values of some pixels' windows are in a table.

    Attributes
    ----------
    places : (n, size) int64 Tensor
    conjugation, parity : (n, 1) Tensor
        −1 where a mirror conjugates values, and where it negates those that turn an odd number of
        times.
    """

    places: Tensor
    conjugation: Tensor
    parity: Tensor


class SharedTable:
    """Complex values that belong to the window of each pixel of a HEALPix map.

    Under φ → −φ a window's axes change places and values become conjugate; under θ → π − θ the
    axes change places and reverse, and bearings α become π − α.

    Parameters
    ----------
    nside : int
        At least 4, so that windows do not meet themselves.
    margin : int
        Rings that a window reaches from its pixel.
    orders : (4, size) integers
        Places in a representative's window, by mirrors: none, east-west, north-south, both.
    odd : (layers,) of bool
        Whether the layer's values turn about the centre an odd number of times.
    fit : callable
        (n,) NESTED pixels to values (layers, n, size).
    """

    @torch.inference_mode(False)
    def __init__(
        self,
        nside: int,
        margin: int,
        orders: Integers,
        odd: tuple[bool, ...],
        fit: Callable[[Integers], Tensor],
    ) -> None:
        require_nside(nside, at_least=4)
        self.nside, self.rows = nside, SharedRows(nside, margin)
        self._orders, self._odd, self._fit = orders, odd, fit
        self._known = np.zeros(len(self.rows), dtype=bool)
        shape = (len(odd), 2, len(self.rows), orders.shape[1])
        self._values = torch.empty(shape)

    def __repr__(self) -> str:
        return (
            f"SharedTable(nside={self.nside}, {len(self.rows)} rows, {self.n_bytes / 1e6:.0f} MB)"
        )

    @property
    def n_bytes(self) -> int:
        """Memory of the whole table."""
        return self._values.nelement() * self._values.element_size()

    def place(self, pixels: Integers) -> Placement:
        """Return where the windows of NESTED pixels are; computes their rows if need be."""
        found = self.rows.find(pixels)
        self.complete(np.unique(found.row))
        order = self._orders[found.east_west + 2 * found.north_south]
        places = torch.from_numpy(found.row[:, None] * order.shape[1] + order)
        conjugate, southern = found.east_west ^ found.north_south, found.north_south
        signs = (torch.from_numpy(1.0 - 2.0 * flag).float() for flag in (conjugate, southern))
        return Placement(places, *(sign[:, None] for sign in signs))

    def gather(self, layer: int, at: Placement) -> tuple[Tensor, Tensor]:
        """Return real and imaginary part of a layer's values there, each (n, size)."""
        real, imaginary = (
            part.reshape(-1).index_select(0, at.places.reshape(-1)).view(at.places.shape)
            for part in self._values[layer]
        )
        imaginary *= at.conjugation
        if self._odd[layer]:
            real *= at.parity
            imaginary *= at.parity
        return real, imaginary

    @torch.inference_mode(False)
    def complete(self, rows: Integers | None = None) -> None:
        """Compute some rows, default all, unless they are known."""
        wanted = np.arange(len(self.rows)) if rows is None else rows
        missing = wanted[~self._known[wanted]]
        centres = self.rows.representatives(missing)
        for start in range(0, len(missing), ROWS_AT_ONCE):
            some = slice(start, start + ROWS_AT_ONCE)
            values = torch.view_as_real(self._fit(centres[some]))
            self._values[:, :, missing[some]] = values.movedim(-1, 1).float()
        self._known[missing] = True


def mirrored_squares(side: int) -> Integers:
    """Return the orders of a square window whose middle is its pixel's, x slowest."""
    places = np.arange(side**2).reshape(side, side)
    turned = places[::-1, ::-1]
    return np.stack([order.ravel() for order in (places, places.T, turned.T, turned)])
