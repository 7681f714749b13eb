"""Rows for sums over windows: one a pixel, all that share its window side by side.

On one place all maps of a batch share their windows, so a row holds a pixel of each. On several
places each map has its own pixels, one below the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from equilens.models.spherical.tile_geometry import TileGeometry


@dataclass(frozen=True)
class Layout:
    """The rows of a batch on a tile.

    Parameters
    ----------
    batch : int
    geometry : TileGeometry
    """

    batch: int
    geometry: TileGeometry

    def by_pixel(self, features: Tensor) -> Tensor:
        """(B, C, n) → (n, B, C) or (B, n, C), a view."""
        return features.permute(2, 0, 1) if self._one_place else features.transpose(1, 2)

    def rows(self, features: Tensor) -> Tensor:
        """(B, C, n) → (pixels of all places, columns)."""
        return self.columns(self.by_pixel(features))

    def columns(self, by_pixel: Tensor) -> Tensor:
        """Values in the order of ``by_pixel`` → (pixels of all places, columns)."""
        return by_pixel.reshape(self.geometry.places * self.geometry.n, -1)

    def maps(self, rows: Tensor) -> Tensor:
        """Values in the order of ``by_pixel`` → (B, C, n), a view."""
        if self._one_place:
            return rows.reshape(self.geometry.n, self.batch, -1).permute(1, 2, 0)
        return rows.reshape(self.batch, self.geometry.n, -1).transpose(1, 2)

    @property
    def _one_place(self) -> bool:
        return self.geometry.places == 1
