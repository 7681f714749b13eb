"""Orders that a ring of n pixels cannot tell apart.

With the first pixel at φ₀ = 0, or at half a pixel, orders m = q n ± r have the Fourier sums

    G_(qn+r) = σ^q G_r,    G_(qn−r) = σ^q conj(G_r),    σ = 1 or −1,

of a real field. So sums are made for r ≤ n/2 and copied to the orders above, and in synthesis
orders above n/2 are added to those below. Copies are rows of the spectra, whose columns are maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Aliases:
    """Rows of spectra whose order is above n/2, and the row and signs of what they repeat.

    Attributes
    ----------
    row, source : (n,) int64 Tensors; no source occurs twice
    signs : (n, 1, 2) Tensor; factors of the real and the imaginary part
    folded : (n, 1, 2) Tensor; the same in synthesis, where order 0 takes both signs of m
    """

    row: Tensor
    source: Tensor
    signs: Tensor
    folded: Tensor

    def copy(self, spectra: Tensor) -> None:
        """Set the rows above n/2 of (2, rows, columns, 2) spectra, in place."""
        for part in spectra:
            part[self.row] = part.index_select(0, self.source).mul_(self.signs)

    def fold(self, spectra: Tensor) -> None:
        """Add the rows above n/2 to those that they repeat, in place."""
        for part in spectra:
            added = part.index_select(0, self.row).mul_(self.folded)
            part[self.source] = added.add_(part.index_select(0, self.source))


def find_aliases(
    pixels: Tensor, shifted: Tensor, orders: Tensor, dtype: torch.dtype, device: torch.device
) -> list[Aliases]:
    """Return the aliases of all rings, in groups without repeated sources.

    Parameters
    ----------
    pixels : (rings,) pixels of each ring, even
    shifted : (rings,) bool, whether the first pixel is half a pixel off φ = 0
    orders : (rings,) number of orders, from m = 0, that each ring is asked for
    """
    m = torch.arange(int(orders.max()))[:, None].expand(-1, len(pixels))
    wrapped = (m + pixels // 2 - 1) // pixels  # q, with r = m − q n in (−n/2, n/2]
    rest = m - wrapped * pixels
    sign = 1 - 2 * (shifted & (wrapped % 2 == 1)).long()
    width = len(pixels) + 1  # of spectra, see RingPhases
    ring = torch.arange(len(pixels)).expand_as(m)
    signs = torch.stack((sign, sign * torch.where(rest < 0, -1, 1)), -1)
    wanted = (m < orders) & (2 * m > pixels)
    found = []
    half_turns = torch.where(wanted, 2 * m // pixels, 0)
    for level in half_turns.unique().tolist()[1:]:
        here = half_turns == level
        row, source = (o * width + ring[here] for o in (m[here], rest[here].abs()))
        factors = signs[here][:, None].to(device, dtype)
        folded = factors * (1 + (rest[here] == 0))[:, None, None].to(device)
        found.append(Aliases(row.to(device), source.to(device), factors, folded))
    return found
