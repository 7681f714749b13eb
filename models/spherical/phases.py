"""Fourier sums along rings: between the pixels of maps and the orders m of every ring.

`parts` are a field's even and odd parts under reflection at the equator, on northern rings: the
cap's as a (2, maps, cap pixels) Tensor, the belt's as (2, maps, rings, pixels of a ring).
`spectra` are their sums Σ f e^{−imφ}, a (2, orders, rings + 1, maps) complex Tensor: maps last, so
that sums over rings are matrix products; the last ring is unused.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from equilens.models.spherical.aliasing import find_aliases
from equilens.models.spherical.rings import RingGrid

Parts = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class CapRing:
    """A ring of the cap: its pixels in both caps, and (orders,) factors e^{∓imφ₀}, m ≤ n/2."""

    north: slice
    south: slice
    analysis: Tensor
    synthesis: Tensor


class RingPhases:
    """Fourier sums along the rings of a grid.

    Parameters
    ----------
    grid : the rings
    orders : (rings,) int64 Tensor; number of orders, from m = 0, that each ring is asked for
    dtype : float32 or float64
    device : where maps will be
    """

    def __init__(
        self, grid: RingGrid, orders: Tensor, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.grid = grid
        self.orders = int(orders.max())
        self.dtype = torch.complex64 if dtype == torch.float32 else torch.complex128
        self.aliases = find_aliases(grid.lengths(), grid.offsets(), orders, dtype, device)
        self.belt = half_pixel_phases(grid.belt_pixels, self.orders).to(device, self.dtype)
        self.belt_synthesis = self.belt.conj_physical()
        self.cap = [
            self._cap_ring(number, min(count, 2 * number + 1), device)
            for number, count in enumerate(orders[: grid.cap_rings].tolist(), start=1)
        ]

    def _cap_ring(self, number: int, orders: int, device: torch.device) -> CapRing:
        """Ring of 4 · number pixels."""
        start, stop = 2 * number * (number - 1), 2 * number * (number + 1)
        south = slice(self.grid.cap_pixels - stop, self.grid.cap_pixels - start)
        phases = half_pixel_phases(4 * number, orders).to(device, self.dtype)
        doubled = phases.conj_physical()
        doubled[2 * number :] *= 2  # order n/2 takes both signs of m
        return CapRing(slice(start, stop), south, phases, doubled)

    def split(self, maps: Tensor) -> Parts:
        """Return even and odd parts, north + south and north − south, of (maps, pixels)."""
        north, belt, south = self._zones(maps)
        cap = maps.new_empty(2, *north.shape)
        for ring in self.cap:
            sides = north[:, ring.north], south[:, ring.south]
            torch.add(*sides, out=cap[0, :, ring.north])
            torch.sub(*sides, out=cap[1, :, ring.north])
        sides = belt[:, : self._belt_rings], belt[:, -self._belt_rings :].flip(1)
        parts = maps.new_empty(2, *sides[0].shape)
        torch.add(*sides, out=parts[0])
        torch.sub(*sides, out=parts[1])
        if self.grid.has_equator:
            parts[0, :, -1] /= 2
        return cap, parts

    def join(self, parts: Parts) -> Tensor:
        """Return the maps, even + odd in the north and even − odd in the south."""
        cap, belt = parts
        maps = belt.new_empty(belt.shape[1], self.grid.pixels)
        north, zone, south = self._zones(maps)
        torch.add(*cap, out=north)
        for ring in self.cap:
            torch.sub(*cap[..., ring.north], out=south[:, ring.south])
        mirrored = self._belt_rings - self.grid.has_equator
        torch.add(*belt, out=zone[:, : self._belt_rings])
        zone[:, self._belt_rings :] = (belt[0] - belt[1])[:, :mirrored].flip(1)
        return maps

    def scaled(self, parts: Parts, factors: Tensor) -> Parts:
        """Multiply each ring by its factor of (rings,), in place."""
        cap, belt = parts
        first = self.grid.cap_rings
        lengths = 4 * torch.arange(1, first + 1, device=factors.device)
        cap *= torch.repeat_interleave(factors[:first], lengths)
        belt *= factors[first:, None]
        return cap, belt

    def fourier(self, parts: Parts) -> Tensor:
        """Return the spectra of the parts; orders that a ring was not asked for stay unset."""
        cap, belt = parts
        spectra = self.new_spectra(belt.shape[1], belt.device)
        for index, ring in enumerate(self.cap):
            count = len(ring.analysis)
            half = torch.fft.rfft(cap[..., ring.north])[..., :count]
            torch.mul(half.mT, ring.analysis[:, None], out=spectra[:, :count, index])
        half = torch.fft.rfft(belt)[..., : self.orders]
        self._shifted(half).mul_(self.belt[: half.shape[-1]])
        spectra[:, : half.shape[-1], self._belt] = half.permute(0, 3, 2, 1)
        for alias in self.aliases:
            alias.copy(torch.view_as_real(spectra).flatten(1, 2))
        return spectra

    def inverse(self, spectra: Tensor) -> Parts:
        """Return Σ_m spectra e^{imφ}, over m of both signs, of real fields; spectra are used up."""
        for alias in self.aliases:
            alias.fold(torch.view_as_real(spectra).flatten(1, 2))
        n, pixels = spectra.shape[-1], self.grid.belt_pixels
        cap = spectra.real.new_empty(2, n, self.grid.cap_pixels)
        for index, ring in enumerate(self.cap):
            count = len(ring.synthesis)
            half = spectra.new_empty(2, n, count)
            torch.mul(spectra[:, :count, index].mT, ring.synthesis, out=half)
            length = ring.north.stop - ring.north.start
            cap[..., ring.north] = torch.fft.irfft(half, length, norm="forward")
        half = spectra[:, : pixels // 2 + 1, self._belt].permute(0, 3, 2, 1).contiguous()
        self._shifted(half).mul_(self.belt_synthesis[: half.shape[-1]])
        if half.shape[-1] > pixels // 2:
            half[..., -1] *= 2  # order n/2 takes both signs of m
        return cap, torch.fft.irfft(half, pixels, norm="forward")

    def new_spectra(self, maps: int, device: torch.device) -> Tensor:
        """Unset spectra; one ring too many, lest orders lie a power of two apart in memory."""
        shape = (2, self.orders, self.grid.rings + 1, maps)
        return torch.empty(shape, dtype=self.dtype, device=device)

    @property
    def _belt_rings(self) -> int:
        """Northern rings of the belt, with the equator's."""
        return self.grid.rings - self.grid.cap_rings

    @property
    def _belt(self) -> slice:
        """Rings of the belt among the northern ones."""
        return slice(self.grid.cap_rings, self.grid.rings)

    def _zones(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Views of the northern cap, the belt by rings, and the southern cap."""
        cap, n = self.grid.cap_pixels, self.grid.belt_pixels
        belt = maps[:, cap : self.grid.pixels - cap]
        return maps[:, :cap], belt.unflatten(1, (-1, n)), maps[:, self.grid.pixels - cap :]

    def _shifted(self, spectra: Tensor) -> Tensor:
        """View of those rings of the belt that start half a pixel off."""
        if self.grid.shifted is None:
            return spectra[:, :, :0]
        return spectra[:, :, self.grid.shifted :: 2]


def half_pixel_phases(pixels: int, orders: int) -> Tensor:
    """e^{−imφ₀} of a ring that starts half a pixel off zero: (orders,) complex128."""
    angle = -pi / pixels * torch.arange(orders, dtype=torch.float64)
    return torch.polar(torch.ones_like(angle), angle)
