"""Singular isothermal ellipsoid with external shear, in closed form.

Notation: κ = θ_E / (2 ψ) with ψ² = q x² + y² / q along the principal axes, so that the critical
curve without shear is the ellipse ψ = θ_E, of area π θ_E². Kormann, Schneider & Bartelmann (1994,
A&A 284, 285) write the same with f = q and ξ_0 = θ_E.

Positions and deflections are in arcsec, angles in radians from +x towards +y. Parameters broadcast
against the positions, so batched callers append the trailing axes themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilens.pipeline.simulation.errors import SimulationError

_SMALLEST_ECCENTRICITY = 1e-6  # arctan(e t) / e keeps full relative accuracy down to here


@dataclass(frozen=True)
class LensModel:
    """A batch of SIE deflectors with external shear.

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
    """

    einstein_radius: Tensor
    axis_ratio: Tensor
    angle: Tensor
    x: Tensor
    y: Tensor
    shear1: Tensor
    shear2: Tensor

    def __post_init__(self) -> None:
        q = self.axis_ratio
        if q.numel() and not bool(((q > 0) & (q <= 1)).all()):
            raise SimulationError(
                f"axis_ratio must lie in (0, 1], got {q.min():g} to {q.max():g}; "
                "give the minor over the major axis"
            )

    def take(self, index: Tensor) -> LensModel:
        """Return the deflectors at `index`, shaped like `index`."""
        return LensModel(**{name: value[index] for name, value in vars(self).items()})

    def expand(self, n_axes: int) -> LensModel:
        """Return the same deflectors with `n_axes` trailing axes of length one."""
        shape = self.einstein_radius.shape + (1,) * n_axes
        return LensModel(**{name: value.reshape(shape) for name, value in vars(self).items()})


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
    sie_x, sie_y = sie_deflection(dx, dy, lens.einstein_radius, lens.axis_ratio, lens.angle)
    shear_x, shear_y = shear_deflection(dx, dy, lens.shear1, lens.shear2)
    return x - sie_x - shear_x, y - sie_y - shear_y


def convergence(x: Tensor, y: Tensor, lens: LensModel) -> Tensor:
    """Return κ = θ_E / (2 ψ) of the ellipsoid at image positions in arcsec."""
    dx, dy = x - lens.x, y - lens.y
    cos, sin = torch.cos(lens.angle), torch.sin(lens.angle)
    along, across = cos * dx + sin * dy, cos * dy - sin * dx
    psi_squared = lens.axis_ratio * along.square() + across.square() / lens.axis_ratio
    return 0.5 * lens.einstein_radius * psi_squared.clamp_min(1e-20).rsqrt()


def jacobian(x: Tensor, y: Tensor, lens: LensModel) -> tuple[Tensor, Tensor, Tensor]:
    """Return (∂β_x/∂x, ∂β_x/∂y, ∂β_y/∂y); the matrix is symmetric.

    An isothermal profile of any ellipticity has |γ| = κ with the shear's axis tangential, so
    γ1 = −κ cos 2φ and γ2 = −κ sin 2φ (Kormann et al. 1994, section 3).
    """
    kappa = convergence(x, y, lens)
    phi2 = 2 * torch.atan2(y - lens.y, x - lens.x)
    gamma1 = lens.shear1 - kappa * torch.cos(phi2)
    gamma2 = lens.shear2 - kappa * torch.sin(phi2)
    return 1 - kappa - gamma1, -gamma2, 1 - kappa + gamma1


def magnification(x: Tensor, y: Tensor, lens: LensModel) -> Tensor:
    """Return the signed magnification 1 / det(∂β/∂θ); infinite on critical curves."""
    a, b, d = jacobian(x, y, lens)
    return 1 / (a * d - b * b)


def cut_position(lens: LensModel, direction: Tensor, fraction: Tensor) -> tuple[Tensor, Tensor]:
    """Return a source position at a fraction of the way to the cut.

    The cut is the curve inside which a second image exists: the limit of β = θ − α for θ → 0. The
    deflection of an isothermal profile depends on direction only and shear vanishes at the centre,
    so the cut is exactly −α(φ): a fraction below one is multiply imaged.

    Parameters
    ----------
    lens : LensModel with (L,) fields
    direction : (L,) Tensor, rad
    fraction : (L,) Tensor

    Returns
    -------
    (L,) Tensor, (L,) Tensor, arcsec, in the frame of the cutout
    """
    alpha_x, alpha_y = sie_deflection(
        torch.cos(direction),
        torch.sin(direction),
        lens.einstein_radius,
        lens.axis_ratio,
        lens.angle,
    )
    return lens.x - fraction * alpha_x, lens.y - fraction * alpha_y
