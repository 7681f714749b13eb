"""Spherical-harmonic sums over a grid of rings, in plain torch.

Coefficients are healpy's: alm of m ≥ 0, m-major, of real fields; two fields at spin s > 0, with E
and B such that f₁ ± if₂ = −Σ (E ± iB) ±sY_lm. Sums first follow the rings in φ (``phases``), then
go over rings or degrees (``legendre``): the plan of Driscoll and Healy (1994) and of
libsharp (Reinecke and Seljebotn 2013, A&A 554, A112), as dense products of many maps at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilens.models.spherical.legendre import LegendreTable, legendre_tables, row_indices
from equilens.models.spherical.phases import Parts, RingPhases
from equilens.models.spherical.rings import RingGrid


class RingTransform:
    """Sums for one grid, lmax, spin, precision and device; tables are built here, once.

    Parameters
    ----------
    grid : the rings
    lmax : highest degree, inclusive
    spin : 0, or s > 0 for pairs of fields
    dtype : float32 or float64
    device : where maps will be

    Notes
    -----
    Maps are (maps, fields, pixels), coefficients (maps, fields, n_alm), with one field at
    spin 0 and two above. Columns are all maps' fields, real and imaginary parts.
    """

    def __init__(
        self, grid: RingGrid, lmax: int, spin: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.plus, self.minus = legendre_tables(grid.theta, lmax, spin, dtype, device)
        self.lmax, self.fields = lmax, min(spin, 1) + 1
        self.coefficient, self.row = (index.to(device) for index in row_indices(lmax))
        self.phases = RingPhases(grid, orders_by_ring(self.plus, grid.rings), dtype, device)
        self.weights = grid.weights.to(device, dtype)
        # north and south of one part; the equator is its own mirror
        self.both_weights = self.weights * 2
        if grid.has_equator:
            self.both_weights[-1] /= 2

    def synthesis(self, alm: Tensor) -> Tensor:
        """Return Σ_lm a_lm Y_lm as maps."""
        return self._to_maps(self._inverse(self._to_rows(alm)))

    def adjoint_synthesis(self, maps: Tensor) -> Tensor:
        """Return Σ_pixels f conj(Y_lm), the adjoint where m > 0 counts twice."""
        return self._from_rows(self._forward(self.phases.split(maps.flatten(0, 1))))

    def analysis(self, maps: Tensor, iterations: int) -> Tensor:
        """Return coefficients by quadrature, each iteration adding those of the residual."""
        parts = self.phases.split(maps.flatten(0, 1))
        rows = self._forward(self.phases.scaled(parts, self.weights))
        return self._from_rows(self._refined(rows, iterations))

    def adjoint_analysis(self, alm: Tensor, iterations: int) -> Tensor:
        """Return the maps that the adjoint of ``analysis`` gives."""
        parts = self._inverse(self._refined(self._to_rows(alm), iterations))
        return self._to_maps(self.phases.scaled(parts, self.weights))

    def _refined(self, first: Tensor, iterations: int) -> Tensor:
        """Jacobi's iteration a ← a + a₀ − A w S a, which needs no maps, only their parts."""
        rows = first
        for _ in range(iterations):
            parts = self.phases.scaled(self._inverse(rows), self.both_weights)
            rows = rows + first - self._forward(parts)
        return rows

    def _forward(self, parts: Parts) -> Tensor:
        """Sums over pixels: complex (rows, maps · fields) of the parts."""
        spectra = torch.view_as_real(self.phases.fourier(parts)).flatten(-2)
        rows = self._over_rings(self.plus, spectra)
        if self.minus:
            rows += turned(self._over_rings(self.minus, spectra))
        return rows

    def _over_rings(self, tables: list[LegendreTable], spectra: Tensor) -> Tensor:
        rows = spectra.new_zeros(tables[-1].rows.stop, spectra.shape[-1])
        for table in tables:
            table.add_over_rings(spectra, rows)
        return torch.view_as_complex(rows.unflatten(-1, (-1, 2)))

    def _inverse(self, rows: Tensor) -> Parts:
        """Sums over degrees and orders: the parts of the fields with these coefficients."""
        spectra = self.phases.new_spectra(rows.shape[-1], rows.device)
        columns = torch.view_as_real(spectra).flatten(-2)
        coefficients = torch.view_as_real(rows).flatten(-2)
        belt = self.phases.grid.cap_rings
        for table in self.plus:
            table.share(columns).copy_(table.over_degrees(coefficients))
            # the belt is transformed as one, with the orders that a ring was not asked for
            columns[table.part, table.orders, belt : table.rings.start] = 0
        if self.minus:
            coefficients = torch.view_as_real(turned(rows)).flatten(-2)
            for table in self.minus:
                table.share(columns).add_(table.over_degrees(coefficients))
        return self.phases.inverse(spectra)

    def _to_rows(self, alm: Tensor) -> Tensor:
        columns = alm.flatten(0, 1).mT.clone(memory_format=torch.contiguous_format)
        # real fields have real coefficients at m = 0
        columns.imag[: self.lmax + 1] = 0
        return columns.index_select(0, self.coefficient)

    def _from_rows(self, rows: Tensor) -> Tensor:
        return rows.index_select(0, self.row).mT.contiguous().unflatten(0, (-1, self.fields))

    def _to_maps(self, parts: Parts) -> Tensor:
        return self.phases.join(parts).unflatten(0, (-1, self.fields))


def turned(rows: Tensor) -> Tensor:
    """(E, B) → (−iB, iE), the coefficients that meet F−; its own adjoint."""
    electric, magnetic = rows.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((-1j * magnetic, 1j * electric), -1).flatten(-2)


def orders_by_ring(tables: list[LegendreTable], rings: int) -> Tensor:
    """Number of orders, from m = 0, that tables ask of each ring: (rings,) int64 Tensor."""
    orders = torch.zeros(rings, dtype=torch.int64)
    for table in tables:
        orders[table.rings] = table.orders.stop
    return orders
