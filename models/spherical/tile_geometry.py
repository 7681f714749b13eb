"""The pixels that a network sees at once, and the tables that its layers need of them.

>>> sphere = TileGeometry(16, np.arange(12 * 16**2))
>>> sphere, sphere.coarser()
(TileGeometry(nside=16, 1 × 3072 pixels), TileGeometry(nside=8, 1 × 768 pixels))
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from equilens.models.errors import PixelError
from equilens.models.spherical.pixels import Integers, require_nside, transport
from equilens.models.spherical.shared_table import Placement, SharedTable
from equilens.models.spherical.steered_gaussians import SteeredGaussian, kernels_of_degree
from equilens.models.spherical.stencil_sum import Windows
from equilens.models.spherical.stencil_tables import (
    WINDOW,
    child_windows,
    pooling_table,
    upsampling_table,
    window_table,
    windows,
)

# Tables outlive the pass that first asks for them. Had that been in inference mode, no later pass
# could keep them for its gradient: hence ``inference_mode(False)`` wherever one is made.

Complex = tuple[Tensor, Tensor]
"""Real and imaginary part."""


class StencilKey(NamedTuple):
    """A kernel on fields in a neighbour's frame: W e^{itτ}.

    Attributes
    ----------
    turns, order : int
        m ≥ 0 and b of the ``SteeredGaussian``.
    transport : int
        t, by how many times the frames' angle the neighbours' values turn on their way.
    """

    turns: int
    order: int
    transport: int


class TileGeometry:
    """Some pixels of a HEALPix map, in one place or in several at once.

    Layers take features (B, channels, n) on it. With one place, all B maps lie on these pixels;
    with several, map b lies on the pixels of place b. Neighbours outside the tile count as zero,
    so that values near a tile's edge are not those of the sky, and the tile needs a halo: as deep
    as all layers together reach.

    Parameters
    ----------
    nside : int
    pixels : (n,) or (places, n) integers
        NESTED, each at most once a place; −1 fills up a place that has fewer. For layers that
        change the resolution, whole groups of siblings, in order.
    device : torch.device, optional
        Where the features are.
    """

    def __init__(
        self, nside: int, pixels: Integers, device: torch.device | str | None = None
    ) -> None:
        require_nside(nside)
        pixels = np.atleast_2d(np.asarray(pixels, dtype=np.int64))
        if pixels.size == 0 or pixels.min() < -1 or pixels.max() >= 12 * nside**2:
            raise PixelError(
                f"a tile's pixels must be −1 … {12 * nside**2 - 1} at nside {nside} and at least "
                f"one, got {pixels.size} of {pixels.min(initial=0)} … {pixels.max(initial=0)}"
            )
        self.nside, self.pixels = nside, pixels
        self.device = torch.device("cpu") if device is None else torch.device(device)
        self._stencils: dict[tuple[int, StencilKey], Tensor] = {}
        self._resampling: dict[tuple[str, int], Tensor] = {}
        self._tables: dict[int, tuple[SharedTable, Placement, Complex]] = {}

    def __repr__(self) -> str:
        places, n = self.pixels.shape
        return f"TileGeometry(nside={self.nside}, {places} × {n} pixels)"

    def __reduce__(self) -> tuple[type[TileGeometry], tuple[int, Integers, torch.device]]:
        # tables may be a thousand times larger, and every process has its own
        return TileGeometry, (self.nside, self.pixels, self.device)

    @property
    def places(self) -> int:
        """Number of places."""
        return self.pixels.shape[0]

    @property
    def n(self) -> int:
        """Pixels of each place."""
        return self.pixels.shape[1]

    @cached_property
    @torch.inference_mode(False)
    def present(self) -> Tensor:
        """(places, n) bool Tensor, False where −1 fills up."""
        return torch.from_numpy(self.pixels >= 0).to(self.device)

    @cached_property
    @torch.inference_mode(False)
    def windows(self) -> Windows:
        """The window of each pixel, (places n, 25) rows of the flattened tile."""
        return self._find(windows(self.nside, self._known), self.pixels)

    @cached_property
    @torch.inference_mode(False)
    def child_windows(self) -> Windows:
        """The 16 children that each parent in ``coarser()`` is pooled from."""
        parents = self.coarser()
        found = child_windows(parents.nside, parents._known)
        return self._find(found, parents.pixels)

    @cached_property
    @torch.inference_mode(False)
    def parent_windows(self) -> Windows:
        """The 25 parents, rows of the flattened ``coarser()``, that give each pixel its value."""
        coarse = self.coarser().windows
        places, present = (part.repeat_interleave(4, 0) for part in (coarse.places, coarse.present))
        return Windows(places, present, coarse.n_rows)

    @torch.inference_mode(False)
    def stencils(self, key: StencilKey, degree: int) -> Tensor:
        """Return W e^{itτ} on ``windows``, (2, places n, 25): real and imaginary part.

        Isotropic kernels of what needs no transport are real: (1, places n, 25).

        Parameters
        ----------
        degree : int
            Highest derivative in the table that the kernel is taken from.
        """
        if (degree, key) not in self._stencils:
            self._stencils[degree, key] = self._stencil(key, degree)
        return self._stencils[degree, key]

    @torch.inference_mode(False)
    def pooling(self, spin: int) -> Tensor:
        """Return the weights of spin fields on ``child_windows``, (2, places n / 4, 16)."""
        if ("down", spin) not in self._resampling:
            parents = self.coarser()
            table = pooling_table(parents.nside)
            at = table.place(parents._known)
            weights = _carried(table.gather(0, at), table.gather(1, at), spin)
            self._resampling["down", spin] = _present(weights, self.child_windows)
        return self._resampling["down", spin]

    @torch.inference_mode(False)
    def upsampling(self, spin: int) -> Tensor:
        """Return the weights of spin fields on ``parent_windows``, (2, places n, 25)."""
        if ("up", spin) not in self._resampling:
            parents = self.coarser()
            table = upsampling_table(parents.nside)
            at = table.place(parents._known)
            weights = _carried(table.gather(0, at), table.gather(1, at), spin)
            weights = weights.reshape(2, -1, WINDOW)
            self._resampling["up", spin] = _present(weights, self.parent_windows)
        return self._resampling["up", spin]

    def coarser(self) -> TileGeometry:
        """Return the tile of the parents; PixelError unless all siblings are together."""
        return self._parents

    def to(self, device: torch.device | str) -> TileGeometry:
        """Return the same tile for features on another device."""
        return TileGeometry(self.nside, self.pixels, device)

    @cached_property
    @torch.inference_mode(False)
    def siblings(self) -> Tensor:
        """(places, n) complex Tensor, e^{iτ} from each pixel's frame to its parent's."""
        _, phases = transport(self.nside // 2, self._known // 4, self.nside, self._known[:, None])
        return (
            torch.from_numpy(phases).to(torch.complex64).view(self.places, self.n).to(self.device)
        )

    @cached_property
    def _known(self) -> Integers:
        """All pixels in a row, 0 instead of −1."""
        return np.maximum(self.pixels.reshape(-1), 0)

    @cached_property
    def _parents(self) -> TileGeometry:
        if self.n % 4 == 0:
            quads = self.pixels.reshape(self.places, -1, 4)
            first = quads[:, :, :1]
            siblings = (quads == first + np.arange(4)) & (first % 4 == 0)
            if (siblings | (quads == -1)).all():
                parents = np.where(first < 0, -1, first // 4)[:, :, 0]
                return TileGeometry(self.nside // 2, parents, self.device)
        raise PixelError(
            f"only whole groups of four siblings in NESTED order have parents, got {self!r}; "
            "make the tile of all children of some coarse pixels"
        )

    def _find(self, wanted: Integers, centres: Integers) -> Windows:
        """Return where windows (places m, K) of the centres (places, m) are in this tile."""
        n_sky = 12 * self.nside**2
        shift = np.arange(self.places)[:, None] * n_sky
        labels = np.where(self.pixels < 0, -2, self.pixels + shift).reshape(-1)
        shifts = np.repeat(shift, centres.shape[1])[:, None]
        missing = (wanted < 0) | (centres.reshape(-1, 1) < 0)
        sought = np.where(missing, -1, wanted + shifts)
        order = np.argsort(labels)
        at = np.searchsorted(labels, sought, sorter=order)
        at = order[np.minimum(at, len(order) - 1)]
        present = torch.from_numpy(labels[at] == sought)
        # spread over the tile, so that no row is in very many windows when read backwards
        own = np.arange(len(sought))[:, None] % self.pixels.size
        places = torch.from_numpy(np.where(present, at, own).astype(np.int32))
        return Windows(places.to(self.device), present.to(self.device), self.pixels.size)

    def _stencil(self, key: StencilKey, degree: int) -> Tensor:
        table, at, phases = self._window_table(degree)
        layer = kernels_of_degree(degree).index(SteeredGaussian(key.turns, key.order))
        weights = table.gather(layer, at)
        if key.turns == key.transport == 0:
            return _present(weights[0][None], self.windows)
        return _present(_carried(weights, phases, key.transport), self.windows)

    def _window_table(self, degree: int) -> tuple[SharedTable, Placement, Complex]:
        """Return a table, where this tile is in it, and how its frames turn."""
        if degree not in self._tables:
            table = window_table(self.nside, degree)
            at = table.place(self._known)
            self._tables[degree] = table, at, table.gather(-1, at)
        return self._tables[degree]


def _carried(weights: Complex, phases: Complex, times: int) -> Tensor:
    """W e^{itτ}, real and imaginary part (2, N, K)."""
    real, imaginary = weights
    cosine, sine = phases
    if times < 0:
        sine = -sine
    for _ in range(abs(times)):
        real, imaginary = (
            torch.addcmul(real * cosine, imaginary, sine, value=-1),
            torch.addcmul(real * sine, imaginary, cosine),
        )
    return torch.stack([real, imaginary])


def _present(weights: Tensor, found: Windows) -> Tensor:
    """Return weights on the windows' device, zero where a sample is missing."""
    weights = weights.to(found.places.device)
    return weights.mul_(found.present)
