"""Surface brightness of galaxies with closed-form total fluxes.

Every profile is a function of the elliptical radius R² = q u² + v² / q, with u along the major
axis: R = radius encloses the same area whatever q, and total fluxes do not depend on q. Lengths
are in arcsec, surface brightness in units of the total flux per arcsec². Components carry a
leading axis K; positions are shaped (K, ...).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

_SOFTENING = 1e-12  # arcsec², keeps log R² finite at the centre


@dataclass(frozen=True)
class _Table:
    """Components as parallel tensors; the first axis counts components."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def select(self, index: Tensor | slice) -> Self:
        """Return the components at `index` (a mask, indices or a slice)."""
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def to(self, device: torch.device | str) -> Self:
        """Return the same components on another device."""
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @classmethod
    def concatenate(cls, tables: list[Self]) -> Self:
        """Return one table with the components of all."""
        return cls(**{f.name: torch.cat([getattr(t, f.name) for t in tables]) for f in fields(cls)})


@dataclass(frozen=True)
class SersicComponents(_Table):
    """Elliptical Sérsic components.

    Parameters
    ----------
    owner : (K,) int64 Tensor
        Row of the cutout that the component belongs to.
    x, y : (K,) Tensor, arcsec from the centre of the cutout
    radius : (K,) Tensor, arcsec
        Half-light radius, the geometric mean of the two axes.
    index : (K,) Tensor
        Sérsic index, at least 0.36.
    axis_ratio, angle : (K,) Tensor; angle in rad from +x
    harmonics : (K, 3) Tensor
        Amplitudes of cos φ, cos 3φ and cos 4φ in ln R: lopsided, asymmetric, discy (< 0) or boxy.
    flux : (K, B) Tensor, nJy
    """

    owner: Tensor
    x: Tensor
    y: Tensor
    radius: Tensor
    index: Tensor
    axis_ratio: Tensor
    angle: Tensor
    harmonics: Tensor
    flux: Tensor


@dataclass(frozen=True)
class PatternComponents(_Table):
    """Discs and rings with an azimuthal pattern: spiral arms, clumpy or broken rings, tidal arcs.

    Parameters
    ----------
    owner, x, y, axis_ratio, angle, flux : as in `SersicComponents`
    radius : (K,) Tensor, arcsec
        Half-light radius of an exponential disc where `width` is 0, else the radius of a ring.
    width : (K,) Tensor, arcsec
        Gaussian width of the ring; 0 for a disc.
    multiplicity : (K,) Tensor
        Number of arms or arcs around the circle.
    contrast : (K,) Tensor
        Concentration k of the pattern exp(k (cos(m φ − phase − winding ln(R/radius)) − 1)).
    phase : (K,) Tensor, rad
    winding : (K,) Tensor
        Multiplicity over the tangent of the pitch angle; 0 for closed rings.
    """

    owner: Tensor
    x: Tensor
    y: Tensor
    radius: Tensor
    width: Tensor
    axis_ratio: Tensor
    angle: Tensor
    multiplicity: Tensor
    contrast: Tensor
    phase: Tensor
    winding: Tensor
    flux: Tensor


def sersic_b(index: Tensor) -> Tensor:
    """Return b_n, for which R = radius encloses half the flux.

    Ciotti & Bertin (1999, A&A 352, 447, eq. 18): off by 2e-4 of its value at
    n = 0.6, 2.5e-5 at n = 1, less beyond.
    """
    i = 1 / index
    series = 46 / 25515 + i * (131 / 1148175 - i * (2194697 / 30690717750))
    return 2 * index - 1 / 3 + i * (4 / 405 + i * series)


def sersic_central_brightness(radius: Tensor, index: Tensor) -> Tensor:
    """Return I(0) of a Sérsic profile of unit total flux, arcsec⁻².

    I(0) = b^{2n} / (2π n r² Γ(2n)) (Ciotti & Bertin 1999, eq. 4).
    """
    log = 2 * index * sersic_b(index).log() - torch.lgamma(2 * index)
    return log.exp() / (2 * torch.pi * index * radius**2)


def elliptical_coordinates(
    dx: Tensor, dy: Tensor, axis_ratio: Tensor, angle: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (u √q, v / √q), whose length is the elliptical radius; arcsec."""
    root = axis_ratio.sqrt()
    cos, sin = torch.cos(angle), torch.sin(angle)
    return root * cos * dx + root * sin * dy, (cos / root) * dy - (sin / root) * dx


def sersic_brightness(dx: Tensor, dy: Tensor, components: SersicComponents) -> Tensor:
    """Return the surface brightness of each component per unit flux, arcsec⁻².

    I(R) = I(0) exp(−b (R eʰ / radius)^{1/n}), h = a1 cos φ + a3 cos 3φ + a4 cos 4φ. The mean of
    e^{−2h} over φ is Π I₀(2 a_m) up to third order in a, which keeps the total flux at one.

    Parameters
    ----------
    dx, dy : (K, ...) Tensor, arcsec from the centre of each component
    """
    shape = (-1,) + (1,) * (torch.broadcast_tensors(dx, dy)[0].dim() - 1)
    index = components.index.view(shape)
    u, v = elliptical_coordinates(
        dx, dy, components.axis_ratio.view(shape), components.angle.view(shape)
    )
    squared = u.square() + v.square() + _SOFTENING
    log = squared.log()
    peak = sersic_central_brightness(components.radius, components.index)
    if bool(components.harmonics.any()):
        log += 2 * _harmonic_sum(u, squared, components.harmonics, shape)
        peak = peak / torch.special.i0(2 * components.harmonics).prod(dim=1)
    b = sersic_b(components.index)
    offset = b.log() - components.radius.log() / components.index
    power = log.mul_(0.5 / index).add_(offset.view(shape)).exp_()
    return power.neg_().exp_().mul_(peak.view(shape))


def _harmonic_sum(u: Tensor, squared: Tensor, harmonics: Tensor, shape: tuple[int, ...]) -> Tensor:
    # Chebyshev polynomials of cos φ need no inverse trigonometry
    a1, a3, a4 = (harmonics[:, m].view(shape) for m in range(3))
    cos = squared.rsqrt().mul_(u)
    cos2 = cos.square()
    even = cos2.sub(1).mul_(cos2).mul_(8).add_(1).mul_(a4)
    return cos2.mul_(4 * a3).add_(a1 - 3 * a3).mul_(cos).add_(even)


def pattern_brightness(dx: Tensor, dy: Tensor, components: PatternComponents) -> Tensor:
    """Return the surface brightness of each patterned component per unit flux, arcsec⁻².

    The pattern's mean over azimuth is e^{−k} I₀(k) at every radius, so the total flux is that of
    the radial profile: ∫ = 2π h² for a disc of scale length h, and 2π [w² e^{−s²} +
    r w √(π/2) (1 + erf s)] with s = r / (√2 w) for a ring.
    """
    shape = (-1,) + (1,) * (torch.broadcast_tensors(dx, dy)[0].dim() - 1)
    view = {f.name: getattr(components, f.name) for f in fields(components)}
    view = {k: v.view(shape) for k, v in view.items() if k not in ("owner", "flux")}
    u, v = elliptical_coordinates(dx, dy, view["axis_ratio"], view["angle"])
    squared = u.square() + v.square() + _SOFTENING
    argument = torch.atan2(v, u).mul_(view["multiplicity"]).sub_(view["phase"])
    if bool(components.winding.any()):
        argument -= view["winding"] * (0.5 * squared.log() - view["radius"].log())
    pattern = argument.cos_().sub_(1).mul_(view["contrast"]).exp_()
    pattern *= (1 / torch.special.i0e(components.contrast)).view(shape)
    return pattern.mul_(_radial_brightness(squared.sqrt_(), components, shape))


def _radial_brightness(r: Tensor, components: PatternComponents, shape: tuple[int, ...]) -> Tensor:
    radius, width = components.radius, components.width
    is_disc = width <= 0
    scale = radius / 1.67834699  # half-light radius of an exponential disc in scale lengths
    w = torch.where(is_disc, torch.ones_like(width), width)
    s = radius / (2**0.5 * w)
    ring_area = w**2 * torch.exp(-(s**2)) + radius * w * (torch.pi / 2) ** 0.5 * (1 + torch.erf(s))
    area = 2 * torch.pi * torch.where(is_disc, scale**2, ring_area)
    disc = r / scale.view(shape)
    ring = 0.5 * ((r - radius.view(shape)) / w.view(shape)).square()
    return torch.where(is_disc.view(shape), disc, ring).neg_().exp_().div_(area.view(shape))
