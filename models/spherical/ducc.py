"""The same sums by ducc0 (extra ``sht``), whose cost in memory stays small at any nside.

ducc0 recomputes Legendre functions instead of tabulating them (Reinecke and Seljebotn 2013,
A&A 554, A112), on the CPU alone. It is GPL-licensed and imported when first used.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from equilens.models.errors import MissingExtraError
from equilens.models.spherical.rings import RingGrid


class DuccTransform:
    """What ``RingTransform`` does, with its shapes and conventions, by ducc0.

    Parameters
    ----------
    grid : the rings
    lmax : highest degree, inclusive
    spin : 0, or s > 0 for pairs of fields

    Raises
    ------
    MissingExtraError
        Where ducc0 is not installed.
    """

    def __init__(self, grid: RingGrid, lmax: int, spin: int) -> None:
        self.sht: Any = import_ducc0().sht
        geometry = ring_geometry(grid)
        self.options: dict[str, Any] = {"lmax": lmax, "spin": spin, **geometry}
        weights = torch.cat((grid.weights, grid.weights.flip(0)[int(grid.has_equator) :]))
        self.weights = np.repeat(weights.numpy(), geometry["nphi"].astype(np.int64))

    def synthesis(self, alm: Tensor) -> Tensor:
        """Return Σ_lm a_lm Y_lm as maps."""
        return each(self._synthesis, alm)

    def adjoint_synthesis(self, maps: Tensor) -> Tensor:
        """Return Σ_pixels f conj(Y_lm), the adjoint where m > 0 counts twice."""
        return each(self._adjoint, maps)

    def analysis(self, maps: Tensor, iterations: int) -> Tensor:
        """Return coefficients by quadrature, each iteration adding those of the residual."""

        def refined(field: np.ndarray) -> np.ndarray:
            weights = self.weights.astype(field.dtype)
            alm = self._adjoint(field * weights)
            for _ in range(iterations):
                alm += self._adjoint((field - self._synthesis(alm)) * weights)
            return alm

        return each(refined, maps)

    def adjoint_analysis(self, alm: Tensor, iterations: int) -> Tensor:
        """Return the maps that the adjoint of ``analysis`` gives."""

        def refined(coefficients: np.ndarray) -> np.ndarray:
            first = self._synthesis(coefficients)
            weights = self.weights.astype(first.dtype)
            maps = first * weights
            for _ in range(iterations):
                maps += (first - self._synthesis(self._adjoint(maps))) * weights
            return maps

        return each(refined, alm)

    def _synthesis(self, alm: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.sht.synthesis(alm=alm, nthreads=threads(), **self.options)
        return found

    def _adjoint(self, field: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.sht.adjoint_synthesis(
            map=field, nthreads=threads(), **self.options
        )
        return found


def import_ducc0() -> ModuleType:
    """Import ducc0, or say how to get it."""
    try:
        import ducc0
    except ImportError as error:
        raise MissingExtraError(
            "transforms above nside 256 use ducc0, which is not installed: "
            "pip install 'equilens[sht]', or ask for backend='torch'"
        ) from error
    module: ModuleType = ducc0
    return module


def ring_geometry(grid: RingGrid) -> dict[str, np.ndarray]:
    """Colatitude, pixels, azimuth of the first, and its index, of all rings, north to south."""
    lengths = grid.lengths().numpy()
    offset = np.where(grid.offsets().numpy(), np.pi / lengths, 0.0)
    theta = grid.theta.numpy()
    south = slice(-1 - grid.has_equator, None, -1)
    both = [np.concatenate((x, x[south])) for x in (lengths, offset)]
    start = np.concatenate(([0], np.cumsum(both[0])[:-1]))
    return {
        "theta": np.concatenate((theta, np.pi - theta[south])),
        "nphi": both[0].astype(np.uint64),
        "phi0": both[1],
        "ringstart": start.astype(np.uint64),
    }


def each(function: Any, batch: Tensor) -> Tensor:
    """Apply a function of numpy arrays to each element of a batch on the CPU."""
    fields = batch.detach().resolve_conj().cpu().contiguous().numpy()
    found = np.stack([function(field) for field in fields])
    return torch.from_numpy(found).to(batch.device)


def threads() -> int:
    """As many threads as torch uses."""
    return torch.get_num_threads()
