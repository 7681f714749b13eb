"""Ray shooting at many points of many lenses: what depends on the lens alone is computed once.

A table has one row a quantity and one column a lens; points pick columns, so that every pixel of a
chunk is shot in one pass without repeating the series of `power_law_deflection` for each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from equilens.pipeline.simulation.lensing import (
    LensModel,
    angular_sum,
    partner_deflection,
    ray_shoot,
    series,
    without_partners,
)

_FIXED = 11


class RayTable:
    """Deflectors prepared for points given with their lens's row.

    Parameters
    ----------
    lens : LensModel with (L,) fields
    """

    def __init__(self, lens: LensModel) -> None:
        self.lens = lens
        self._alone = without_partners(lens)
        self._partner = lens.partner
        self._table: Tensor | None = None
        if lens.slope is None:
            return
        q, t = lens.axis_ratio, lens.slope - 1
        terms, ratio = series(q, t)
        scale = 2 * (lens.einstein_radius * q.sqrt()) ** t / (1 + q)
        turn = torch.cos(lens.angle), torch.sin(lens.angle)
        fixed = (lens.x, lens.y, *turn, q, -0.5 * t, scale, lens.shear1, lens.shear2)
        # κ r ≤ (2 − t) |α| / (2 q), and |γ| ≤ κ + |1 − t| |α| / r
        bounds = ((2 - t) / (2 * q), (1 - t).abs())
        self._table = torch.stack([*fixed, *bounds, ratio, *terms])

    def shoot(self, x: Tensor, y: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Return β at (M,) or (M, S) points, arcsec, of lenses `row` (M,)."""
        beta = self._shoot_alone(x, y, row)
        if self._partner is not None:
            at = (self._partner.einstein_radius[row] > 0).nonzero()[:, 0]
            rows = row[at].view(-1, *(1,) * (x.dim() - 1))
            partners = self._partner.map(lambda value: value[rows])
            for moved, alpha in zip(beta, partner_deflection(x[at], y[at], partners), strict=True):
                moved[at] -= alpha
        return beta

    def _shoot_alone(self, x: Tensor, y: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        if self._table is None:
            return ray_shoot(x, y, self._alone.take(row.view(-1, *(1,) * (x.dim() - 1))))
        columns = self._table.index_select(1, row).view(len(self._table), -1, *(1,) * (x.dim() - 1))
        x0, y0, cos, sin, q, power, scale, shear1, shear2, _, _, ratio, *terms = columns
        dx, dy = x - x0, y - y0
        u, v = (cos * dx).addcmul_(sin, dy).mul_(q), (cos * dy).sub_(sin * dx)
        squared = u.square().addcmul_(v, v).clamp_min_(torch.finfo(x.dtype).tiny)
        inverse = squared.reciprocal()
        cos2 = u.square().sub_(v.square()).mul_(inverse)
        sin2 = (u * v).mul_(2).mul_(inverse)
        real, imaginary = angular_sum(cos2, sin2, terms, ratio)
        pull = squared.log_().mul_(power).exp_().mul_(scale)
        along = (u * real).sub_(v * imaginary).mul_(pull)
        across = (u * imaginary).addcmul_(v, real).mul_(pull)
        beta_x = x - cos * along + sin * across - shear1 * dx - shear2 * dy
        return beta_x, y - sin * along - cos * across - shear2 * dx + shear1 * dy

    def largest_stretch(
        self, x: Tensor, y: Tensor, beta: tuple[Tensor, Tensor], row: Tensor
    ) -> Tensor:
        """Return a bound on the larger eigenvalue of ∂β/∂θ at (M,) points, external shear aside.

        It is |1 − κ| + |γ|, and |1 − κ| + κ = max(1, 2κ − 1). A partner adds at most its κ + |γ|.
        """
        bound = self._largest_alone(x, y, beta, row)
        if self._partner is not None:
            partner = self._partner.map(lambda value: value[row])
            away = torch.hypot(x - partner.x, y - partner.y).clamp_min_(1e-6)
            bound += partner.einstein_radius / away
        return bound

    def _largest_alone(
        self, x: Tensor, y: Tensor, beta: tuple[Tensor, Tensor], row: Tensor
    ) -> Tensor:
        pull = torch.hypot(x - beta[0], y - beta[1])
        pull /= torch.hypot(x - self.lens.x[row], y - self.lens.y[row]).clamp_min_(1e-6)
        if self._table is None:
            kappa = pull * (0.5 / self.lens.axis_ratio)[row]
            return (2 * kappa - 1).clamp_min_(1.0)
        kappa_bound, extra = self._table[_FIXED - 2 : _FIXED].index_select(1, row)
        return (2 * kappa_bound * pull).sub_(1).clamp_min_(1.0).addcmul_(extra, pull)
