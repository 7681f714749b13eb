"""Spherical-harmonic transforms as modules: HEALPix maps and Gauss-Legendre grids.

    alm = HealpixTransform(nside=64).analysis(maps)

Maps are (..., pixels) in ring ordering, coefficients (..., n_alm) complex in healpy's layout:
those of m ≥ 0 of a real field, m-major. At spin s > 0 a field is two real components, maps are
(..., 2, pixels), and (..., 2, n_alm) holds E and B, in the convention of healpy's
``map2alm_spin``. float32 and float64 both work, on any device, with gradients of any order.

``adjoint_synthesis`` and ``adjoint_analysis`` are exact adjoints where coefficients of m > 0
count twice, as they do in a real field's sum over both signs.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
from torch import Tensor, nn

from equilens.models.errors import HarmonicError
from equilens.models.spherical.ducc import import_ducc0
from equilens.models.spherical.harmonic_operators import (
    MAP_SHAPES,
    coefficient_count,
    ring_grid,
    sphere_analysis,
    sphere_synthesis,
)
from equilens.models.spherical.rings import check_nside

Backend = Literal["torch", "ducc0"]
LARGEST_TABULATED_NSIDE = 256
PRECISIONS = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class GridTransform(nn.Module):
    """Analysis, synthesis and their adjoints on one grid; it has no parameters and no buffers.

    Parameters
    ----------
    lmax : highest degree, inclusive
    spin : 0 for scalars, s > 0 for pairs of components
    backend : ``"torch"``, or ``"ducc0"`` for tensors on the CPU
    """

    grid: str
    size: int

    def __init__(self, lmax: int, spin: int, backend: Backend) -> None:
        super().__init__()
        if not 0 <= spin <= lmax:
            raise HarmonicError(f"spin must be from 0 to lmax = {lmax}, got {spin}")
        if backend not in ("torch", "ducc0"):
            raise HarmonicError(f"backend must be 'torch' or 'ducc0', got {backend!r}")
        if backend == "ducc0":
            import_ducc0()
        self.lmax, self.spin, self.backend = lmax, spin, backend

    @property
    def map_shape(self) -> tuple[int, ...]:
        """Shape of one component of a map."""
        return MAP_SHAPES[self.grid](self.size)

    @property
    def n_alm(self) -> int:
        """Number of coefficients of one component."""
        return coefficient_count(self.lmax)

    def synthesis(self, alm: Tensor) -> Tensor:
        """Return maps Σ_lm a_lm Y_lm of coefficients (..., n_alm)."""
        return self._maps(alm, -1)

    def analysis(self, maps: Tensor, iterations: int = 3) -> Tensor:
        """Return coefficients of maps by quadrature with weights of 4π in all.

        Each iteration adds the quadrature of what synthesis does not yet give back (Jacobi's
        iteration, as in healpy's ``map2alm(..., iter=iterations)``).
        """
        self._check_iterations(iterations)
        return self._coefficients(maps, iterations)

    def adjoint_synthesis(self, maps: Tensor) -> Tensor:
        """Return Σ_pixels f conj(Y_lm), without weights."""
        return self._coefficients(maps, -1)

    def adjoint_analysis(self, alm: Tensor, iterations: int = 3) -> Tensor:
        """Return the maps that the adjoint of ``analysis`` with these iterations gives."""
        self._check_iterations(iterations)
        return self._maps(alm, iterations)

    def extra_repr(self) -> str:
        return f"lmax={self.lmax}, spin={self.spin}, backend={self.backend!r}"

    def _coefficients(self, maps: Tensor, iterations: int) -> Tensor:
        self._check(maps, self.map_shape, "maps", is_complex=False)
        batch = maps.shape[: maps.ndim - len(self.map_shape) - self._components]
        flat = maps.resolve_neg().reshape(prod(batch), self._components + 1, prod(self.map_shape))
        alm = sphere_analysis(flat, *self._options(maps, iterations))
        # any bad pixel reaches the last zonal coefficient, and that one is quick to look at
        check_finite(alm[..., self.lmax], "maps")
        return alm.reshape(*batch, *self._component_shape, self.n_alm)

    def _maps(self, alm: Tensor, iterations: int) -> Tensor:
        self._check(alm, (self.n_alm,), "alm", is_complex=True)
        batch = alm.shape[: alm.ndim - 1 - self._components]
        flat = alm.resolve_conj().reshape(prod(batch), self._components + 1, self.n_alm)
        maps = sphere_synthesis(flat, *self._options(alm, iterations))
        # any bad coefficient reaches the rings at the equator
        check_finite(maps[..., maps.shape[-1] // 2 - 1], "alm")
        return maps.reshape(*batch, *self._component_shape, *self.map_shape)

    @property
    def _components(self) -> int:
        """Dimensions that components take: 0 for scalars, 1 for pairs."""
        return int(self.spin > 0)

    @property
    def _component_shape(self) -> tuple[int, ...]:
        return (2,) if self.spin else ()

    def _options(self, values: Tensor, iterations: int) -> tuple[str, int, int, int, int, str]:
        backend = self.backend if values.device.type == "cpu" else "torch"
        return self.grid, self.size, self.lmax, self.spin, iterations, backend

    def _check(self, values: Tensor, last: tuple[int, ...], name: str, is_complex: bool) -> None:
        wanted = (*self._component_shape, *last)
        if tuple(values.shape[-len(wanted) :]) != wanted:
            shape = ", ".join(map(str, wanted))
            raise HarmonicError(
                f"{name} of {self!r} must be (..., {shape}), got {tuple(values.shape)}"
            )
        if values.dtype not in PRECISIONS or values.is_complex() != is_complex:
            kind = "complex64 or complex128" if is_complex else "float32 or float64"
            raise HarmonicError(f"{name} must be {kind}, got {values.dtype}")

    @staticmethod
    def _check_iterations(iterations: int) -> None:
        if iterations < 0:
            raise HarmonicError(f"iterations must be at least 0, got {iterations}")


class HealpixTransform(GridTransform):
    """Transforms of HEALPix maps in ring ordering.

    Parameters
    ----------
    nside : a power of two
    lmax : highest degree, inclusive, at most 3 nside − 1, which is also the default
    spin : 0 for scalars, s > 0 for pairs of components
    backend : ``"torch"`` tabulates Legendre functions, 0.53 GB in float32 at nside 256 and lmax
        767, twice that at spin s > 0, eight times with each doubling of nside; ``"ducc0"`` does
        not. ``harmonic_transform`` chooses.

    Raises
    ------
    HarmonicError
        Where nside, lmax or spin is impossible.
    MissingExtraError
        Where ducc0 is asked for and not installed.
    """

    grid = "healpix"

    def __init__(
        self, nside: int, lmax: int | None = None, spin: int = 0, backend: Backend = "torch"
    ) -> None:
        check_nside(nside)
        largest = 3 * nside - 1
        lmax = largest if lmax is None else lmax
        if not 0 <= lmax <= largest:
            raise HarmonicError(
                f"lmax must be from 0 to 3 nside − 1 = {largest} at nside {nside}, got {lmax}"
            )
        super().__init__(lmax, spin, backend)
        self.nside = self.size = nside

    def extra_repr(self) -> str:
        return f"nside={self.nside}, {super().extra_repr()}"


class GaussLegendreGrid(GridTransform):
    """Transforms on lmax + 1 rings at Gauss-Legendre nodes, exact without iterations.

    Maps are (..., n_theta, n_phi), (..., 2, n_theta, n_phi) at spin s > 0, with lmax + 1 rings from
    north to south and 2 lmax + 2 pixels eastwards from φ = 0 in each.

    Parameters
    ----------
    lmax : highest degree, inclusive
    spin : 0 for scalars, s > 0 for pairs of components
    backend : ``"torch"`` or ``"ducc0"``
    """

    grid = "gauss-legendre"

    def __init__(self, lmax: int, spin: int = 0, backend: Backend = "torch") -> None:
        super().__init__(lmax, spin, backend)
        self.size = lmax
        rings = ring_grid(self.grid, lmax)
        south = rings.theta[: lmax + 1 - rings.rings].flip(0)
        self.theta = torch.cat((rings.theta, torch.pi - south))
        mirrored = rings.weights[: lmax + 1 - rings.rings].flip(0)
        self.weights = torch.cat((rings.weights, mirrored))

    def analysis(self, maps: Tensor, iterations: int = 0) -> Tensor:
        """Return coefficients of maps, exact for fields of degrees up to lmax."""
        return super().analysis(maps, iterations)

    def adjoint_analysis(self, alm: Tensor, iterations: int = 0) -> Tensor:
        """Return the maps that the adjoint of ``analysis`` gives."""
        return super().adjoint_analysis(alm, iterations)


def harmonic_transform(
    nside: int,
    lmax: int | None = None,
    spin: int = 0,
    backend: Literal["auto", "torch", "ducc0"] = "auto",
) -> HealpixTransform:
    """Return the transform of HEALPix maps whose backend suits nside.

    ``"auto"`` tabulates in torch up to nside 256 and takes ducc0 above, for tensors on the CPU.
    Tensors on another device use torch at any nside up to 512, with tables of 4.2 GB in float32
    there at lmax 1535. Without ducc0, ``"auto"`` raises above nside 256: it does not fall back
    silently to tables that may not fit.

    Raises
    ------
    HarmonicError
        Where nside, lmax or spin is impossible.
    MissingExtraError
        Where ducc0 is needed and not installed.
    """
    if backend == "auto":
        backend = "torch" if nside <= LARGEST_TABULATED_NSIDE else "ducc0"
    return HealpixTransform(nside, lmax, spin, backend)


def check_finite(values: Tensor, name: str) -> None:
    """Raise HarmonicError where results are not finite; compiled graphs skip it."""
    if torch.compiler.is_compiling() or values.is_meta or values.numel() == 0:
        return
    finite = values.detach().isfinite()
    if not bool(finite.all()):
        bad = int((~finite).flatten(1).any(1).sum())
        raise HarmonicError(
            f"{name} must be finite, got NaN or infinite values in {bad} of {len(values)}: "
            "mask or fill them first"
        )
