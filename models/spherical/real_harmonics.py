"""Real coefficients of fields on the sphere and on SO(3), and how rotations mix them.

A degree l has 2l + 1 real coefficients, ordered 0, 1c, 1s, 2c, 2s, …: of a real map

    f(θ, φ) = Σ_l √((2l+1)/4π) [x_0 d^l_00 + √2 Σ_m d^l_m0(θ) (x_mc cos mφ + x_ms sin mφ)],

so that x_mc = √2 Re a_lm and x_ms = −√2 Im a_lm, and ∫ f² is the sum of squares. Degrees follow
each other: a tensor (..., (lmax + 1)²) holds degree l at l² … (l + 1)². Rotations then are real
orthogonal matrices: Wigner's D^l in this basis, Z(α) Δ^l(β) Z(γ), where Z turns each pair (mc, ms)
as the representation ``irrep(m)`` does, and Δ^l leaves cosines and sines apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilens.models.errors import HarmonicError
from equilens.models.spherical.wigner import wigner_d_orders


def n_coefficients(lmax: int) -> int:
    """Number of coefficients of degrees 0 … lmax."""
    return (lmax + 1) ** 2


def lmax_of(coefficients: Tensor) -> int:
    """Return the highest degree of a tensor (..., (lmax + 1)²).

    Raises
    ------
    HarmonicError
        Where the last axis is no square.
    """
    lmax = round(coefficients.shape[-1] ** 0.5) - 1
    if n_coefficients(lmax) != coefficients.shape[-1]:
        raise HarmonicError(
            f"real coefficients must have a last axis of (lmax + 1)², got shape "
            f"{tuple(coefficients.shape)}; from_alm converts those of healpy"
        )
    return lmax


def degree_slice(degree: int) -> slice:
    """Where the coefficients of one degree lie."""
    return slice(degree**2, (degree + 1) ** 2)


def from_alm(alm: Tensor, lmax: int) -> Tensor:
    """Return real coefficients (..., (lmax + 1)²) of complex a_lm in healpy's order.

    Parameters
    ----------
    alm : (..., (lmax + 1)(lmax + 2) / 2) complex Tensor, m-major, m ≥ 0
    lmax : highest degree, inclusive
    """
    place, imaginary = _alm_places(lmax)
    if alm.shape[-1] != (lmax + 1) * (lmax + 2) // 2:
        raise HarmonicError(
            f"a_lm up to lmax = {lmax} must be {(lmax + 1) * (lmax + 2) // 2} numbers, got shape "
            f"{tuple(alm.shape)}"
        )
    place = place.to(alm.device)
    chosen = alm.index_select(-1, place)
    scale = (1 + (place > lmax).to(chosen.real)).sqrt()
    return torch.where(imaginary.to(alm.device), -chosen.imag, chosen.real) * scale


def to_alm(coefficients: Tensor) -> Tensor:
    """Return complex a_lm in healpy's order of real coefficients (..., (lmax + 1)²)."""
    lmax = lmax_of(coefficients)
    place, imaginary = _alm_places(lmax)
    shape = (*coefficients.shape[:-1], (lmax + 1) * (lmax + 2) // 2)
    scaled = coefficients / (1 + (place > lmax).to(coefficients)).sqrt()
    parts = []
    for chosen, sign in ((~imaginary, 1), (imaginary, -1)):
        part = coefficients.new_zeros(shape)
        index = place[chosen].to(coefficients.device)
        parts.append(part.index_add(-1, index, sign * scaled[..., chosen.to(scaled.device)]))
    return torch.complex(*parts)


def _alm_places(lmax: int) -> tuple[Tensor, Tensor]:
    """Return for each real coefficient its a_lm, and whether it is the imaginary part."""
    pairs = [(degree, (j + 1) // 2) for degree in range(lmax + 1) for j in range(2 * degree + 1)]
    place = [m * (2 * lmax + 1 - m) // 2 + degree for degree, m in pairs]
    imaginary = [j > 0 and j % 2 == 0 for l_ in range(lmax + 1) for j in range(2 * l_ + 1)]
    return torch.tensor(place), torch.tensor(imaginary)


def real_wigner(
    lmax: int, angles: Tensor, rows: int | None = None, columns: int | None = None
) -> list[Tensor]:
    """Return the real Wigner matrices of rotations, one (N, 2l + 1, 2l + 1) Tensor a degree.

    Parameters
    ----------
    lmax : highest degree, inclusive
    angles : (N, 3) Tensor, radians
        Euler angles α, β, γ of R = R_z(α) R_y(β) R_z(γ).
    rows, columns : highest order of either index (lmax)
        A degree l then has min(2l + 1, 2 rows + 1) rows.
    """
    rows, columns = (lmax if top is None else min(top, lmax) for top in (rows, columns))
    alpha, beta, gamma = angles.to(torch.float64).unbind(-1)
    rings, ring_of = torch.unique(beta, return_inverse=True)
    middle = _about_y(lmax, rows, columns, rings)
    matrices = []
    for degree in range(lmax + 1):
        tall, wide = (2 * min(top, degree) + 1 for top in (rows, columns))
        matrix = middle[degree, :tall, :wide].permute(2, 0, 1)[ring_of]
        turned = _turn_pairs(matrix.mT, -gamma).mT
        matrices.append(_turn_pairs(turned, alpha))
    return matrices


def _about_y(lmax: int, rows: int, columns: int, beta: Tensor) -> Tensor:
    """Δ^l(β), shape (lmax + 1, 2 rows + 1, 2 columns + 1, N), in the order 0, 1c, 1s, …"""
    found = beta.new_zeros(lmax + 1, 2 * rows + 1, 2 * columns + 1, len(beta))
    orders = torch.arange(-rows, rows + 1, device=beta.device)
    m = torch.arange(rows + 1, device=beta.device)
    single = (1 + (m > 0).to(beta)).sqrt()[:, None] * 0.5**0.5
    sign = (1.0 - 2.0 * (m % 2)).to(beta)[:, None]
    for n in range(columns + 1):
        table = wigner_d_orders(lmax, orders, n, beta)
        there, mirrored = table[:, rows:], sign * table[:, : rows + 1].flip(1)
        cosines = (there + mirrored) * single * (0.5**0.5 if n == 0 else 1.0)
        found[:, 0, max(2 * n - 1, 0)] = cosines[:, 0]
        found[:, 1::2, max(2 * n - 1, 0)] = cosines[:, 1:]
        if n:
            found[:, 2::2, 2 * n] = (there - mirrored)[:, 1:]
    return found


def _turn_pairs(matrix: Tensor, angle: Tensor) -> Tensor:
    """Apply Z(angle) to the rows 0, 1c, 1s, … of (N, rows, columns) matrices."""
    cosine_rows, sine_rows = matrix[:, 1::2], matrix[:, 2::2]
    m = torch.arange(1, cosine_rows.shape[1] + 1, device=matrix.device)
    phase = (angle[:, None] * m)[..., None]
    cosine, sine = torch.cos(phase), torch.sin(phase)
    pairs = torch.stack(
        [cosine * cosine_rows - sine * sine_rows, sine * cosine_rows + cosine * sine_rows], dim=2
    )
    return torch.cat([matrix[:, :1], pairs.flatten(1, 2)], dim=1)


def rotate(coefficients: Tensor, angles: Tensor) -> Tensor:
    """Return the coefficients of x ↦ f(R⁻¹ x): exact for band-limited fields of any spin.

    Parameters
    ----------
    coefficients : (N, ..., (lmax + 1)²) Tensor
    angles : (3,) or (N, 3) Tensor, radians
        Euler angles α, β, γ of R = R_z(α) R_y(β) R_z(γ); one rotation for all, or one each.
    """
    lmax = lmax_of(coefficients)
    each = angles.reshape(-1, 3)
    flat = coefficients.flatten(1, -2) if coefficients.ndim > 2 else coefficients[:, None]
    turned = [
        flat[..., degree_slice(degree)] @ matrix.to(coefficients).mT
        for degree, matrix in enumerate(real_wigner(lmax, each))
    ]
    return torch.cat(turned, dim=-1).reshape(coefficients.shape)


def random_rotations(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Return Euler angles (n, 3) in radians of rotations uniform on SO(3), float64."""
    draw = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    turns = 2 * torch.pi * draw
    return torch.stack([turns[:, 0], torch.acos(1 - 2 * draw[:, 1]), turns[:, 2]], dim=1)
