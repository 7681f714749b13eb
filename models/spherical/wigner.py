"""Wigner's small d functions d^l_mn(β), the matrix elements of a rotation about the y axis.

D^l_mn(α, β, γ) = e^{−imα} d^l_mn(β) e^{−inγ} in the z-y-z convention with the Condon-Shortley
phase, so d¹_10 = −sin β / √2 and Y_lm(θ, φ) = √((2l+1)/4π) d^l_m0(θ) e^{imφ}
(Varshalovich, Moskalev and Khersonskii 1988, section 4.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilens.models.errors import HarmonicError

# First values are as small as sin^(m+n): beyond this sum they leave the range of float64 at
# angles where a later degree is of order one.
LARGEST_SUM = 1800


def wigner_d(lmax: int, m: int, n: int, beta: Tensor) -> Tensor:
    """Return d^l_mn(β) for all degrees l = 0 … lmax.

    Parameters
    ----------
    lmax : highest degree, inclusive
    m, n : orders, of either sign
    beta : (...) Tensor, radians in [0, π]

    Returns
    -------
    (lmax + 1, ...) float64 Tensor, zero where l < max(|m|, |n|)

    Raises
    ------
    HarmonicError
        Where |m| or |n| is above lmax, or lmax + |n| above 1800.
    """
    orders = torch.tensor([m], device=beta.device)
    return wigner_d_orders(lmax, orders, n, beta)[:, 0]


def wigner_d_orders(lmax: int, orders: Tensor, n: int, beta: Tensor) -> Tensor:
    """Return d^l_mn(β) of several orders m at once, as a (lmax + 1, orders, ...) float64 Tensor.

    Three terms link neighbouring degrees (Varshalovich et al., eq. 4.8.2); upwards in l the
    wanted solution is the dominant one, so rounding does not grow.
    """
    check_orders(lmax, orders, n)
    beta = beta.to(torch.float64)
    m = orders.to(torch.float64).reshape(-1, *[1] * beta.ndim)
    first = first_degree_values(m, n, beta)
    first_degree = m.abs().clamp(min=abs(n))
    cosine = torch.cos(beta)
    found = beta.new_zeros(lmax + 1, *first.shape)
    for degree in range(int(first_degree.min()), lmax + 1):
        found[degree] = torch.where(first_degree == degree, first, 0.0)
        if degree:
            on_last, last, before = recurrence(degree, m, n)
            found[degree] += (cosine * on_last - last) * found[degree - 1]
        if degree > 1:
            found[degree] -= before * found[degree - 2]
    return found


def recurrence(degree: int, m: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients a, b, c of d^l = (a cos β − b) d^(l−1) − c d^(l−2); zero up to the first l."""
    before = degree - 1
    norm = ((degree**2 - m**2) * (degree**2 - n**2)).clamp(min=0.0).rsqrt()
    norm = torch.where(norm.isinf(), 0.0, norm)
    on_cosine = norm * degree * (2 * degree - 1)
    if before == 0:
        return on_cosine, torch.zeros_like(m), torch.zeros_like(m)
    last = on_cosine * m * n / (before * degree)
    product = ((before**2 - m**2) * (before**2 - n**2)).clamp(min=0.0)
    return on_cosine, last, norm * product.sqrt() * degree / before


def first_degree_values(m: Tensor, n: int, beta: Tensor) -> Tensor:
    """d^l_mn at l = max(|m|, |n|): ±√((2l)! / (|m+n|! |m−n|!)) cos^|m+n|(β/2) sin^|m−n|(β/2)."""
    together, apart = (m + n).abs(), (m - n).abs()
    degree = m.abs().clamp(min=abs(n))
    factorials = torch.lgamma(2 * degree + 1) - torch.lgamma(together + 1)
    factorials = (factorials - torch.lgamma(apart + 1)) / 2
    half = beta / 2
    powers = torch.xlogy(together, torch.cos(half)) + torch.xlogy(apart, torch.sin(half))
    odd = (m > n) & (apart % 2 == 1)
    return torch.where(odd, -1.0, 1.0) * torch.exp(factorials + powers)


def check_orders(lmax: int, orders: Tensor, n: int) -> None:
    """Raise HarmonicError where an order is above lmax, or first values would underflow."""
    largest = max(int(orders.abs().max()), abs(n))
    if largest > lmax:
        raise HarmonicError(f"orders m and n must be at most lmax = {lmax}, got {largest}")
    if lmax + abs(n) > LARGEST_SUM:
        raise HarmonicError(
            f"lmax + |n| must be at most {LARGEST_SUM} in this recurrence, got {lmax} + {abs(n)}; "
            "use the ducc0 backend for higher degrees"
        )
