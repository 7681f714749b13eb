"""Elliptical power-law mass with external shear: isothermal in closed form, any slope as a series.

Notation: κ = (3 − γ')/2 (θ_E / ψ)^{γ' − 1} with ψ² = q x² + y² / q along the principal axes, γ' the
slope of the density in space. The mean of κ within the ellipse ψ = θ_E, of area π θ_E², is one.
For γ' = 2 this is κ = θ_E / (2 ψ): Kormann, Schneider & Bartelmann (1994, A&A 284, 285) write the
same with f = q and ξ_0 = θ_E. Tessore & Metcalf (2015, A&A 580, A79) write t = γ' − 1 and
b = θ_E √q.

Positions and deflections are in arcsec, angles in radians from +x towards +y. Parameters broadcast
against the positions, so batched callers append the trailing axes themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from equilens.pipeline.simulation.errors import SimulationError

_MOST_TERMS = 200
_SMALLEST_ECCENTRICITY = 1e-6  # arctan(e t) / e keeps full relative accuracy down to here


@dataclass(frozen=True)
class Partner:
    """Second deflectors, singular isothermal spheres; an Einstein radius of 0 is none.

    Parameters
    ----------
    einstein_radius, x, y : (L,) Tensor, arcsec
    """

    einstein_radius: Tensor
    x: Tensor
    y: Tensor

    def map(self, change: Callable[[Tensor], Tensor]) -> Partner:
        """Return the same deflectors with every value changed alike."""
        return Partner(change(self.einstein_radius), change(self.x), change(self.y))


@dataclass(frozen=True)
class LensModel:
    """A batch of elliptical power-law deflectors with external shear, each with or without partner.

    Parameters
    ----------
    einstein_radius : (L,) Tensor, arcsec
    axis_ratio : (L,) Tensor
        Minor over major axis of the surface density, in (0, 1].
    angle : (L,) Tensor, rad
        Direction of the major axis.
    x, y : (L,) Tensor, arcsec
        Centre of the mass; the shear vanishes there too.
    shear1, shear2 : (L,) Tensor
        External shear, γ1 > 0 stretching images along x.
    slope : (L,) Tensor, optional
        γ' of the density r^{−γ'}, in (1, 3); None is isothermal, γ' = 2.
    partner : Partner, optional
        Of each, in the same plane.
    """

    einstein_radius: Tensor
    axis_ratio: Tensor
    angle: Tensor
    x: Tensor
    y: Tensor
    shear1: Tensor
    shear2: Tensor
    slope: Tensor | None = None
    partner: Partner | None = None

    def __post_init__(self) -> None:
        q = self.axis_ratio
        if q.numel() and not bool(((q > 0) & (q <= 1)).all()):
            raise SimulationError(
                f"axis_ratio must lie in (0, 1], got {q.min():g} to {q.max():g}; "
                "give the minor over the major axis"
            )
        g = self.slope
        if g is not None and g.numel() and not bool(((g > 1) & (g < 3)).all()):
            raise SimulationError(
                f"slope must lie in (1, 3), got {g.min():g} to {g.max():g}; isothermal is 2"
            )

    def take(self, index: Tensor) -> LensModel:
        """Return the deflectors at `index`, shaped like `index`."""
        return self._map(lambda value: value[index])

    def expand(self, n_axes: int) -> LensModel:
        """Return the same deflectors with `n_axes` trailing axes of length one."""
        shape = self.einstein_radius.shape + (1,) * n_axes
        return self._map(lambda value: value.reshape(shape))

    def to(self, device: torch.device | torch.dtype) -> LensModel:
        """Return the same deflectors on another device, or of another dtype."""
        return self._map(lambda value: value.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> LensModel:
        changed: dict[str, Any] = {
            name: value.map(change) if isinstance(value, Partner) else change(value)
            for name, value in vars(self).items()
            if value is not None
        }
        return LensModel(**changed)


def sie_deflection(
    x: Tensor, y: Tensor, einstein_radius: Tensor, axis_ratio: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the reduced deflection of a singular isothermal ellipsoid at the origin.

    α_x = θ_E √q / e · arctan(e x / ψ'), α_y = θ_E √q / e · artanh(e y / ψ'), with e² = 1 − q² and
    ψ'² = q² x² + y², along the principal axes (Kormann et al. 1994, eq. 27a).

    Parameters
    ----------
    x, y : (...) Tensor, arcsec, relative to the centre
    einstein_radius, axis_ratio, angle : Tensors that broadcast against x

    Returns
    -------
    (...) Tensor, (...) Tensor, arcsec
    """
    cos, sin = torch.cos(angle), torch.sin(angle)
    along, across = cos * x + sin * y, cos * y - sin * x
    eccentricity = (1 - axis_ratio**2).sqrt().clamp_min(_SMALLEST_ECCENTRICITY)
    radius = (axis_ratio * along).square().add_(across.square())
    tiny = torch.finfo(radius.dtype).tiny
    inverse = radius.clamp_min_(tiny).rsqrt_().mul_(eccentricity)
    scale = einstein_radius * axis_ratio.sqrt() / eccentricity
    alpha_along = torch.atan_(along * inverse).mul_(scale)
    alpha_across = torch.atanh_(across * inverse).mul_(scale)
    return cos * alpha_along - sin * alpha_across, sin * alpha_along + cos * alpha_across


def power_law_deflection(
    x: Tensor,
    y: Tensor,
    einstein_radius: Tensor,
    axis_ratio: Tensor,
    angle: Tensor,
    slope: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the reduced deflection of an elliptical power law at the origin.

    α = 2 b / (1 + q) (b / R)^{t − 1} e^{iφ} Σ a_n e^{2inφ} with R e^{iφ} = q x + i y along the
    principal axes, a_0 = 1 and a_n = −f a_{n−1} (2n − 2 + t) / (2n + 2 − t), f = (1 − q)/(1 + q)
    (Tessore & Metcalf 2015, eqs. 13, 23 and 27), to 1e-5, in double precision to 1e-14.
    """
    cos, sin, t = torch.cos(angle), torch.sin(angle), slope - 1
    along, across = cos * x + sin * y, cos * y - sin * x
    u = axis_ratio * along
    squared = u.square().add_(across.square()).clamp_min_(torch.finfo(x.dtype).tiny)
    cos2 = (u.square() - across.square()).div_(squared)
    sin2 = (2 * u).mul_(across).div_(squared)
    real, imaginary = angular_sum(cos2, sin2, *series(axis_ratio, t))
    b = einstein_radius * axis_ratio.sqrt()
    scale = squared.log_().mul_(-0.5 * t).exp_().mul_(2 * b**t / (1 + axis_ratio))
    alpha_along = (u * real).sub_(across * imaginary).mul_(scale)
    alpha_across = imaginary.mul_(u).add_(real.mul_(across)).mul_(scale)
    return cos * alpha_along - sin * alpha_across, sin * alpha_along + cos * alpha_across


def angular_sum(
    cos2: Tensor, sin2: Tensor, terms: list[Tensor], ratio: Tensor
) -> tuple[Tensor, Tensor]:
    """Return real and imaginary part of Σ a_n zⁿ, z = e^{2iφ}, with `terms` a_0 to a_N.

    Clenshaw's recurrence serves both. From term N on, where ratios of terms hardly change, the sum
    is geometric: a_N (z^N − ρ z^{N − 1}) / (1 − 2 ρ cos 2φ + ρ²), which halves the terms needed.
    """
    twice = 2 * cos2
    weight = terms[-1] / (1 + ratio.square() - ratio * twice)
    if len(terms) == 1:
        return weight * (1 - ratio * cos2), weight.mul_(ratio).mul_(sin2)
    before, last = weight, torch.addcmul(terms[-2] - ratio * weight, twice, weight)
    for a in reversed(terms[:-2]):
        before, last = last, torch.addcmul(a, twice, last).sub_(before)
    return last.sub_(before * cos2), before.mul(sin2)


def series(axis_ratio: Tensor, t: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return a_0 to a_N of `power_law_deflection`, and the ratio ρ = a_{N+1} / a_N."""
    f = (1 - axis_ratio) / (1 + axis_ratio)
    terms = [torch.ones_like(f * t)]
    for n in range(1, _terms_needed(f, t) + 1):
        terms.append(-f * terms[-1] * ((2 * n - 2 + t) / (2 * n + 2 - t)))
    n = len(terms)
    return terms, -f * ((2 * n - 2 + t) / (2 * n + 2 - t))


def _terms_needed(f: Tensor, t: Tensor) -> int:
    """Return the N from which on the sum is geometric within 1e-5 of α, in float64 1e-14."""
    if not f.numel():
        return 1
    tolerance = 1e-14 if f.dtype == torch.float64 else 1e-5
    largest, steep, shallow = float(f.max()), float(t.max()), float(t.min())
    term = 1.0
    for n in range(1, _MOST_TERMS):
        term *= largest * (2 * n - 2 + steep) / (2 * n + 2 - steep)
        change = 4 * (2 - shallow) / (2 * n + 2 - steep) ** 2
        if term * largest**2 * change / (1 - largest) < tolerance:
            return n
    return _MOST_TERMS


def deflection(x: Tensor, y: Tensor, lens: LensModel) -> tuple[Tensor, Tensor]:
    """Return the deflection of the ellipsoid without shear; x and y relative to its centre."""
    shape = lens.einstein_radius, lens.axis_ratio, lens.angle
    if lens.slope is None:
        return sie_deflection(x, y, *shape)
    return power_law_deflection(x, y, *shape, lens.slope)


def partner_deflection(x: Tensor, y: Tensor, partner: Partner) -> tuple[Tensor, Tensor]:
    """Return the deflection θ_E d / |d| of partners, d = θ − θ_partner."""
    dx, dy = x - partner.x, y - partner.y
    pull = partner.einstein_radius / torch.hypot(dx, dy).clamp_min(1e-6)
    return pull * dx, pull * dy


def without_partners(lens: LensModel) -> LensModel:
    """Return the deflectors alone."""
    return replace(lens, partner=None)


def shear_deflection(x: Tensor, y: Tensor, shear1: Tensor, shear2: Tensor) -> tuple[Tensor, Tensor]:
    """Return α = Γ θ of an external shear, Γ = [[γ1, γ2], [γ2, −γ1]]; arcsec in, arcsec out."""
    return shear1 * x + shear2 * y, shear2 * x - shear1 * y


def ray_shoot(x: Tensor, y: Tensor, lens: LensModel) -> tuple[Tensor, Tensor]:
    """Return the source-plane position β = θ − α(θ), arcsec.

    Parameters
    ----------
    x, y : (L, ...) Tensor, arcsec
    lens : LensModel whose fields broadcast against x
    """
    dx, dy = x - lens.x, y - lens.y
    alpha_x, alpha_y = deflection(dx, dy, lens)
    shear_x, shear_y = shear_deflection(dx, dy, lens.shear1, lens.shear2)
    beta_x, beta_y = x - alpha_x - shear_x, y - alpha_y - shear_y
    if lens.partner is None:
        return beta_x, beta_y
    partner_x, partner_y = partner_deflection(x, y, lens.partner)
    return beta_x - partner_x, beta_y - partner_y


def convergence(x: Tensor, y: Tensor, lens: LensModel) -> Tensor:
    """Return κ of the ellipsoid at image positions in arcsec."""
    dx, dy = x - lens.x, y - lens.y
    cos, sin = torch.cos(lens.angle), torch.sin(lens.angle)
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    psi_squared = lens.axis_ratio * along.square() + across.square() / lens.axis_ratio
    psi_squared.clamp_min_(1e-20)
    if lens.slope is None:
        return 0.5 * lens.einstein_radius * psi_squared.rsqrt()
    t = lens.slope - 1
    log = 0.5 * psi_squared.log() - lens.einstein_radius.log()
    return (-t * log).exp_() * (1 - 0.5 * t)


def lens_shear(x: Tensor, y: Tensor, lens: LensModel) -> tuple[Tensor, Tensor]:
    """Return (γ1, γ2) of the ellipsoid alone.

    α is homogeneous of degree 1 − t, so Euler's theorem on z ∂α/∂z + z* ∂α/∂z* = (1 − t) α gives
    γ = −κ e^{2iφ} + (1 − t) α / z* (Tessore & Metcalf 2015, eq. 20; for t = 1 Kormann et al. 1994,
    section 3).
    """
    dx, dy = x - lens.x, y - lens.y
    kappa, squared = convergence(x, y, lens), (dx.square() + dy.square()).clamp_min(1e-20)
    cos2, sin2 = (dx.square() - dy.square()) / squared, 2 * dx * dy / squared
    gamma1, gamma2 = -kappa * cos2, -kappa * sin2
    if lens.slope is not None:
        alpha_x, alpha_y = deflection(dx, dy, lens)
        factor = (2 - lens.slope) / squared
        gamma1 = gamma1 + factor * (alpha_x * dx - alpha_y * dy)
        gamma2 = gamma2 + factor * (alpha_x * dy + alpha_y * dx)
    return gamma1, gamma2


def jacobian(x: Tensor, y: Tensor, lens: LensModel) -> tuple[Tensor, Tensor, Tensor]:
    """Return (∂β_x/∂x, ∂β_x/∂y, ∂β_y/∂y); the matrix is symmetric."""
    kappa = convergence(x, y, lens)
    gamma1, gamma2 = lens_shear(x, y, lens)
    gamma1, gamma2 = lens.shear1 + gamma1, lens.shear2 + gamma2
    a, b, d = 1 - kappa - gamma1, -gamma2, 1 - kappa + gamma1
    if lens.partner is None:
        return a, b, d
    dx, dy = x - lens.partner.x, y - lens.partner.y
    squared = (dx.square() + dy.square()).clamp_min(1e-20)
    pull = lens.partner.einstein_radius * squared**-1.5
    return a - pull * dy.square(), b + pull * dx * dy, d - pull * dx.square()


def magnification(x: Tensor, y: Tensor, lens: LensModel) -> Tensor:
    """Return the signed magnification 1 / det(∂β/∂θ); infinite on critical curves."""
    a, b, d = jacobian(x, y, lens)
    return 1 / (a * d - b * b)


def cut_position(lens: LensModel, direction: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Return a source position at a fraction of the way to the cut.

    The cut is the curve inside which a second image exists. For an isothermal profile it is the
    limit of β = θ − α for θ → 0, exactly −α(φ), as the deflection depends on direction only and
    shear vanishes at the centre. A shallower profile (γ' < 2) has a radial critical curve, and the
    cut is what it maps to. A steeper one images every source twice, at any distance; its cut is
    taken as that of the isothermal ellipsoid, where second images are still a tenth of the
    source's brightness. A fraction below one is multiply imaged in all three cases. A partner
    moves the whole curve by its deflection at the centre.

    Parameters
    ----------
    lens : LensModel with (L,) fields
    direction : (L,) Tensor, rad
    fraction : (L,) Tensor

    Returns
    -------
    (L,) Tensor, (L,) Tensor, arcsec, in the frame of the cutout
    """
    unit = torch.cos(direction), torch.sin(direction)
    shape = lens.einstein_radius, lens.axis_ratio, lens.angle
    beta_x, beta_y = (-alpha for alpha in sie_deflection(*unit, *shape))
    if lens.slope is not None:
        shallow_x, shallow_y = _radial_caustic(lens, direction)
        shallow = lens.slope < 2
        beta_x = torch.where(shallow, shallow_x, beta_x)
        beta_y = torch.where(shallow, shallow_y, beta_y)
    x, y = lens.x, lens.y
    if lens.partner is not None:
        moved_x, moved_y = partner_deflection(x, y, lens.partner)
        x, y = x - moved_x, y - moved_y
    return x + fraction * beta_x, y + fraction * beta_y


def _radial_caustic(lens: LensModel, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Return β on the radial critical curve, relative to the centre; any value where γ' ≥ 2.

    On a ray, κ = K u and γ = G u + Γ with u = r^{−t}, so that det(∂β/∂θ) = 0 is quadratic in u.
    """
    lens, direction = lens.to(torch.float64), direction.double()
    assert lens.slope is not None
    cos, sin, t = torch.cos(direction), torch.sin(direction), lens.slope - 1
    at = lens.x + cos, lens.y + sin
    kappa, (g1, g2) = convergence(*at, lens), lens_shear(*at, lens)
    a = (kappa.square() - g1.square() - g2.square()).clamp_min(1e-12)
    b = kappa + g1 * lens.shear1 + g2 * lens.shear2
    c = 1 - lens.shear1.square() - lens.shear2.square()
    u = (b + (b.square() - a * c).clamp_min(0).sqrt()) / a
    r = u ** (-1 / t)
    beta_x, beta_y = ray_shoot(lens.x + r * cos, lens.y + r * sin, without_partners(lens))
    return (beta_x - lens.x).to(torch.float32), (beta_y - lens.y).to(torch.float32)
