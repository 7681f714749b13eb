"""Tables of spin-weighted Legendre functions, and the sums over rings or degrees that use them.

At order m the harmonics of spin s behave in θ as (Goldberg et al. 1967, J. Math. Phys. 8, 2155)

    F±_lm(θ) = √((2l+1)/4π) [(−1)^s d^l_(m,−s)(θ) ± d^l_ms(θ)] / 2,

and at s = 0 as F+ alone, without the half. F±(π − θ) = ±(−1)^(l+m+s) F±(θ): degrees with l − m
even and odd meet the even or the odd part of a field, so northern rings suffice, at half the
memory and half the arithmetic. Orders are taken in blocks; a block leaves out rings near the
pole where all its functions are negligible.

Names: sums over rings turn `spectra`, (2, orders, rings, columns), even part first, into `rows`,
(rows, columns), the coefficients in the order block, parity of l − m, m, l; columns are the maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from equilens.models.spherical.wigner import wigner_d_orders

ORDERS_PER_BLOCK = 16
NEGLIGIBLE = {torch.float32: 1e-10, torch.float64: 1e-19}


@dataclass(frozen=True, eq=False)
class LegendreTable:
    """F+ or F− of one block of orders and one parity of l − m.

    Attributes
    ----------
    values : (orders, degrees, rings) Tensor, zero beyond lmax
    part : part of the field that it meets: 0 even, 1 odd
    orders : slice of orders
    rings : slice of northern rings
    rows : slice of coefficients
    """

    values: Tensor
    part: int
    orders: slice
    rings: slice
    rows: slice

    def add_over_rings(self, spectra: Tensor, rows: Tensor) -> None:
        """Add Σ_rings F(θ) spectra to the coefficients, in place."""
        block = self.coefficients(rows)
        block.baddbmm_(self.values, self.share(spectra))

    def over_degrees(self, rows: Tensor) -> Tensor:
        """Return Σ_l F_l(θ) coefficients: (orders, rings, columns)."""
        return torch.bmm(self.values.mT, self.coefficients(rows))

    def share(self, spectra: Tensor) -> Tensor:
        """View of the spectra that this table meets: (orders, rings, columns)."""
        return spectra[self.part, self.orders, self.rings]

    def coefficients(self, rows: Tensor) -> Tensor:
        """Return this table's share of the rows as (orders, degrees, columns)."""
        return rows[self.rows].view(*self.values.shape[:2], rows.shape[-1])


def legendre_tables(
    theta: Tensor, lmax: int, spin: int, dtype: torch.dtype, device: torch.device
) -> tuple[list[LegendreTable], list[LegendreTable]]:
    """Return tables of −F+ and of F−, or of F+ and none at spin 0."""
    plus: list[LegendreTable] = []
    minus: list[LegendreTable] = []
    start = 0
    for first in range(0, lmax + 1, ORDERS_PER_BLOCK):
        orders = torch.arange(first, min(first + ORDERS_PER_BLOCK, lmax + 1))
        functions = legendre_functions(theta, lmax, orders, spin)
        kept = first_ring_above(functions, NEGLIGIBLE[dtype])
        for parity in (0, 1):
            tables = [
                split_degrees(f[..., kept:], orders, parity).to(device, dtype) for f in functions
            ]
            degrees = tables[0].shape[1]
            rows = slice(start, start + len(orders) * degrees)
            start = rows.stop
            block = (slice(first, first + len(orders)), slice(kept, len(theta)), rows)
            part = (parity + spin) % 2
            plus.append(LegendreTable(tables[0], part, *block))
            minus += [LegendreTable(table, 1 - part, *block) for table in tables[1:]]
    return plus, minus


def legendre_functions(theta: Tensor, lmax: int, orders: Tensor, spin: int) -> list[Tensor]:
    """Return [F+] at spin 0, [−F+, F−] else; each (lmax + 1, orders, rings), float64."""
    norm = ((2 * torch.arange(lmax + 1, dtype=torch.float64) + 1) / (4 * pi)).sqrt()[:, None, None]
    if spin == 0:
        return [norm * wigner_d_orders(lmax, orders, 0, theta)]
    first = (-1) ** spin * norm / 2 * wigner_d_orders(lmax, orders, -spin, theta)
    second = norm / 2 * wigner_d_orders(lmax, orders, spin, theta)
    return [-first - second, first - second]


def first_ring_above(functions: list[Tensor], negligible: float) -> int:
    """Index of the first ring from the pole where any function is above ``negligible``."""
    seen = torch.stack([f.abs().amax((0, 1)) for f in functions]).amax(0) > negligible
    return int(seen.to(torch.uint8).argmax())


def split_degrees(functions: Tensor, orders: Tensor, parity: int) -> Tensor:
    """Keep degrees l = m + parity, m + parity + 2 …: (orders, degrees, rings)."""
    longest = (len(functions) - int(orders[0]) - parity + 1) // 2
    found = torch.zeros(len(orders), longest, functions.shape[2], dtype=functions.dtype)
    for index, order in enumerate(orders.tolist()):
        kept = functions[order + parity :: 2, index]
        found[index, : len(kept)] = kept
    return found


def row_indices(lmax: int) -> tuple[Tensor, Tensor]:
    """Indices between rows and the (n_alm,) coefficients of healpy, m-major.

    The first is the coefficient of each row (any, where a row is beyond lmax and its table zero),
    the second the row of each coefficient.
    """
    coefficient: list[Tensor] = []
    for first in range(0, lmax + 1, ORDERS_PER_BLOCK):
        order = torch.arange(first, min(first + ORDERS_PER_BLOCK, lmax + 1))[:, None]
        for parity in (0, 1):
            longest = (lmax - first - parity) // 2 + 1
            degree = order + parity + 2 * torch.arange(longest)
            index = order * (2 * lmax + 1 - order) // 2 + degree
            coefficient.append(torch.where(degree <= lmax, index, -1).flatten())
    wanted = torch.cat(coefficient)
    row = torch.empty((lmax + 1) * (lmax + 2) // 2, dtype=torch.int64)
    present = wanted >= 0
    row[wanted[present]] = torch.arange(len(wanted))[present]
    return wanted.clamp(min=0), row
