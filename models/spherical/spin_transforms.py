"""Harmonic transforms of fields of one spin: between real coefficients and Fourier series on rings.

A field of spin k has coefficients E and B, with the signs of healpy:

    F_θ + i F_φ = −(−1)^k Σ_lm √((2l+1)/4π) (E_lm + i B_lm) d^l_m,−k(β) e^{imα}        (k > 0),

and a scalar has the one set, with the sign +. Both are orthonormal, so that analysis is the
transpose of synthesis times quadrature weights: exact on a grid that resolves the band.

All arithmetic is real. Only m ≥ 0 and n = −k ≤ 0 are tabulated, a quarter of all (m, n): real
fields give −m, and d^l_mk(π − β) = (−1)^{l+m} d^l_m,−k(β) gives n = k, on rings that mirror each
other. Tables are computed in float64, once a process, and shared by all transforms that use them.

Shapes: rows ((lmax + 1)², parts, batch), waves (2, lmax + 1, parts, n_beta, batch), where the
first axis of waves holds the coefficients of cos mα and of sin mα, and the second m.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from equilens.models.errors import HarmonicError
from equilens.models.spherical.euler_grid import EulerGrid
from equilens.models.spherical.wigner import wigner_d_orders


class SpinTransform(nn.Module):
    """Rows of coefficients ↔ waves on the rings of a grid, for one spin.

    Parameters
    ----------
    spin : int ≥ 0
    lmax : highest degree, inclusive
    grid : EulerGrid
        Its rings; it must resolve lmax.
    dtype : of the tables
    """

    table: Tensor
    weights: Tensor
    places: Tensor
    rows: Tensor
    mirror_sign: Tensor
    has_sine: Tensor

    def __init__(
        self, spin: int, lmax: int, grid: EulerGrid, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        if not 0 <= spin <= lmax:
            raise HarmonicError(f"spin must be 0 … lmax = {lmax}, got {spin}")
        grid.require(lmax)
        self.spin, self.lmax, self.grid = spin, lmax, grid
        places, rows = _places(lmax)
        degree, order = torch.arange(lmax + 1), torch.arange(lmax + 1)[:, None, None]
        mirror = 1 - 2 * ((degree[:, None] + order + spin) % 2)
        buffers = {
            "table": wave_table(spin, lmax, grid, dtype),
            "weights": grid.ring_weights().to(dtype)[:, None],
            "places": places,
            "rows": rows,
            "mirror_sign": mirror.to(dtype),
            "has_sine": (order > 0).to(dtype),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def synthesis(self, rows: Tensor) -> Tensor:
        """Return waves of coefficients."""
        parts, batch = rows.shape[1:]
        size = self.lmax + 1
        # (m, l, cosine and sine, parts, batch); the table is 0 where l < m
        found = rows.index_select(0, self.places).view(size, size, 2, parts, batch)
        if self.spin == 0:
            waves = torch.bmm(self.table, found.flatten(2)).unflatten(2, (2, 1, batch))
            return waves.permute(2, 0, 3, 1, 4)
        helicities = self._helicities(found)
        waves = torch.bmm(self.table, helicities).unflatten(2, (4, batch)).unbind(2)
        real, imaginary = waves[:2]
        mirrored_real, mirrored_imaginary = waves[2].flip(1), waves[3].flip(1)
        cosine = [-real - mirrored_real, mirrored_imaginary - imaginary]
        sine = [imaginary + mirrored_imaginary, mirrored_real - real]
        return torch.stack([torch.stack(cosine, dim=1), torch.stack(sine, dim=1)])

    def analysis(self, waves: Tensor) -> Tensor:
        """Return coefficients of waves, integrated over the rings."""
        weighted = waves * self.weights
        backwards = self.table.mT
        if self.spin == 0:
            flat = weighted.permute(1, 3, 0, 2, 4).flatten(2)
            found = torch.bmm(backwards, flat)
        else:
            (on_cosine, second_cosine), (on_sine, second_sine) = (
                part.unbind(1) for part in weighted.unbind(0)
            )
            helicities = [
                -on_cosine - second_sine,
                on_sine - second_cosine,
                (second_sine - on_cosine).flip(1),
                (on_sine + second_cosine).flip(1),
            ]
            found = self._parts(torch.bmm(backwards, torch.cat(helicities, dim=2)))
        return found.reshape(-1, *waves.shape[2::2]).index_select(0, self.rows)

    def _helicities(self, found: Tensor) -> Tensor:
        """Real and imaginary parts of E + iB, and of E − iB for the mirrored rings."""
        (e_cosine, b_cosine), (e_sine, b_sine) = (part.unbind(2) for part in found.unbind(2))
        e_sine, b_sine = e_sine * self.has_sine, b_sine * self.has_sine
        mirrored = [self.mirror_sign * (e_cosine - b_sine), -self.mirror_sign * (b_cosine + e_sine)]
        return torch.cat([e_cosine + b_sine, b_cosine - e_sine, *mirrored], dim=2)

    def _parts(self, found: Tensor) -> Tensor:
        """The transpose of ``_helicities``."""
        real, imaginary, mirrored_real, mirrored_imaginary = found.chunk(4, dim=2)
        mirrored_real = self.mirror_sign * mirrored_real
        mirrored_imaginary = self.mirror_sign * mirrored_imaginary
        cosine = [real + mirrored_real, imaginary - mirrored_imaginary]
        sine = [-imaginary - mirrored_imaginary, real - mirrored_real]
        return torch.stack(cosine + sine, dim=2)

    def extra_repr(self) -> str:
        return f"spin={self.spin}, lmax={self.lmax}, {self.grid}"


@lru_cache(maxsize=512)
def wave_table(spin: int, lmax: int, grid: EulerGrid, dtype: torch.dtype) -> Tensor:
    """Return (−1)^spin √((2l+1)/4π) d^l_m,−spin(β) for m ≥ 0, shape (m, n_beta, l).

    Orders m > 0 stand for −m too, hence a factor: √2 for scalars, and half of it for each of the
    two helicities of a spin.
    """
    degree = torch.arange(lmax + 1, dtype=torch.float64)
    order = torch.arange(lmax + 1)
    table = wigner_d_orders(lmax, order, -spin, grid.beta()).permute(1, 2, 0)
    single = (1 + (order > 0).double()).sqrt()[:, None, None] / (2 if spin else 1)
    norm = torch.sqrt((2 * degree + 1) / (4 * torch.pi)) * (-1) ** spin
    return (table * single * norm).to(dtype).contiguous()


@lru_cache(maxsize=64)
def _places(lmax: int) -> tuple[Tensor, Tensor]:
    """Coefficient of each (m, l, cosine or sine), and the place of each coefficient there."""
    size = lmax + 1
    degree = torch.arange(size)[None, :, None]
    order = torch.arange(size)[:, None, None]
    sine = torch.arange(2)
    within = (2 * order - 1 + sine).clamp(min=0)
    # where there is no such coefficient, any will do: the table, or sin 0, or has_sine is zero
    places = torch.where(order <= degree, degree**2 + within * (order > 0), 0)
    rows = torch.empty(size**2, dtype=torch.int64)
    exists = (order <= degree) & ((order > 0) | (sine == 0))
    rows[places[exists]] = torch.arange(places.numel()).view(places.shape)[exists]
    return places.flatten(), rows


@lru_cache(maxsize=64)
def ring_series(lmax: int, n_alpha: int, dtype: torch.dtype) -> Tensor:
    """Return cos mα and sin mα at the points of a ring, shape (n_alpha, 2 (lmax + 1))."""
    alpha = torch.arange(n_alpha, dtype=torch.float64) * (2 * torch.pi / n_alpha)
    phase = alpha[:, None] * torch.arange(lmax + 1)
    return torch.cat([torch.cos(phase), torch.sin(phase)], dim=1).to(dtype)


@lru_cache(maxsize=64)
def fibre_series(n_max: int, n_gamma: int, dtype: torch.dtype) -> Tensor:
    """Return 1, √2 cos kγ, √2 sin kγ, … at the angles γ, shape (n_gamma, 2 n_max + 1)."""
    gamma = torch.arange(n_gamma, dtype=torch.float64) * (2 * torch.pi / n_gamma)
    phase = gamma[:, None] * torch.arange(1, n_max + 1)
    pairs = 2**0.5 * torch.stack([torch.cos(phase), torch.sin(phase)], dim=2)
    return torch.cat([torch.ones(n_gamma, 1, dtype=torch.float64), pairs.flatten(1)], 1).to(dtype)
