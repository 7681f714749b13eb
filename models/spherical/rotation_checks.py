"""Public checks that a module on the sphere commutes with rotations by any angle.

Coefficients rotate without error, so nothing but the module is measured; it may take and give
coefficients (N, channels, (lmax + 1)²) of any spins, or give invariants (N, features).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from equilens.models.errors import EquivarianceError
from equilens.models.fields import FieldType
from equilens.models.spherical.fibres import channel_spins
from equilens.models.spherical.real_harmonics import (
    n_coefficients,
    random_rotations,
    rotate,
)


def rotation_error(module: Callable[[Tensor], Tensor], fields: Tensor, angles: Tensor) -> float:
    """Return |module(R f) − R module(f)| / |module(f)|, norms over all maps and channels.

    Parameters
    ----------
    module : callable
        In evaluation mode.
    fields : (N, channels, (lmax + 1)²) Tensor
    angles : (3,) or (N, 3) Tensor, radians
        Euler angles of one rotation for all maps, or one each.
    """
    with torch.no_grad():
        before, after = module(fields), module(rotate(fields, angles))
    expected = rotate(before, angles) if before.ndim == 3 else before
    return float((after - expected).norm() / before.norm())


def assert_rotation_equivariant(
    module: Callable[[Tensor], Tensor],
    fields: Tensor,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> None:
    """Raise EquivarianceError where a module does not commute with a random rotation a map.

    Parameters
    ----------
    tolerance : float
        Largest relative error; 1e-5 suits linear layers in float32.
    seed : int
        Of the rotations.
    """
    angles = random_rotations(len(fields), torch.Generator().manual_seed(seed))
    error = rotation_error(module, fields, angles)
    # written so that a NaN fails too
    if not error <= tolerance:
        raise EquivarianceError(
            f"{type(module).__name__} must commute with rotations within {tolerance:g}; "
            f"{len(fields)} random ones (seed {seed}) are off by {error:.2g}"
        )


def random_fields(
    field_type: FieldType,
    lmax: int,
    n: int,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return Gaussian coefficients (n, channels, (lmax + 1)²), the same power in each degree.

    Those of degrees below a channel's spin are 0. Each field's mean square is 1.
    """
    shape = (n, field_type.channels, n_coefficients(lmax))
    draw = torch.randn(shape, generator=generator, dtype=torch.float64)
    degree = torch.arange(lmax + 1).repeat_interleave(2 * torch.arange(lmax + 1) + 1)
    spins = channel_spins(field_type)[:, None]
    owner = torch.tensor(field_type.owner_of_channel())
    shared = torch.bincount(owner)[owner][:, None] * (lmax + 1 - spins)
    flat = (4 * torch.pi / (shared * (2 * degree + 1))).sqrt()
    return (draw * flat * (degree >= spins)).to(dtype)
