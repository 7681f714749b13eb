"""Public checks that a module commutes with its group: for our layers, finders, and yours.

On the grid only multiples of 90° and reflections are exact; ``rotated_scenes`` draws the same
analytic sky at any angle for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from equilens.models.errors import EquivarianceError
from equilens.models.fields import FieldType
from equilens.models.groups import PlanarGroup
from equilens.models.inputs import InputSpec


def grid_elements(group: PlanarGroup) -> list[int]:
    """Return the elements that map the pixel grid onto itself: 90° steps and their reflections."""
    return [g for g in group.elements if 4 * group.split(g)[0] % group.n == 0]


def transform(field: Tensor, group: PlanarGroup, element: int, field_type=None) -> Tensor:
    """Return (g f)(x) = ρ(g) f(g⁻¹ x) for a square map on the grid.

    Parameters
    ----------
    field : (N, C, side, side) Tensor
    group : PlanarGroup
    element : int
        One of ``grid_elements(group)``.
    field_type : FieldType, optional
        How the channels transform; scalars where it is left out.
    """
    quarters, flipped = group.split(element)
    moved = field.flip(2) if flipped else field
    # x runs right and y down, so a positive rotation carries the first axis towards −x
    moved = torch.rot90(moved, -(4 * quarters // group.n), (2, 3))
    if field_type is None:
        return moved
    matrix = torch.as_tensor(field_type.matrices()[element], dtype=field.dtype)
    return torch.einsum("ab,nbhw->nahw", matrix, moved)


def equivariance_errors(
    module: nn.Module,
    group: PlanarGroup,
    *inputs: Tensor,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    elements: Iterable[int] | None = None,
) -> dict[int, float]:
    """Return for each group element max |module(g x) − g module(x)| / max |module(x)|.

    Parameters
    ----------
    module : nn.Module
        Put it in evaluation mode first, unless batch statistics are what you test.
    inputs : Tensors
        Those of four axes are moved on the grid, the first one by ``in_type`` as well; others,
        such as noise levels, stay as they are.
    in_type, out_type : FieldType, optional
        Default: the module's own, else scalars. Outputs of fewer than four axes must be
        invariant.
    elements : iterable of int, optional
        Default: all ``grid_elements``.
    """
    in_type = in_type or getattr(module, "in_type", None)
    out_type = out_type or getattr(module, "out_type", None)
    first, *rest = inputs
    errors = {}
    with torch.no_grad():
        reference = module(*inputs)
        scale = reference.abs().max().clamp(min=torch.finfo(reference.dtype).tiny)
        for g in grid_elements(group) if elements is None else elements:
            others = [transform(x, group, g) if x.ndim == 4 else x for x in rest]
            moved = module(transform(first, group, g, in_type), *others)
            expected = transform(reference, group, g, out_type) if moved.ndim == 4 else reference
            errors[g] = float((moved - expected).abs().max() / scale)
    return errors


def equivariance_error(module: nn.Module, group: PlanarGroup, *inputs: Tensor, **options) -> float:
    """Return the largest of ``equivariance_errors``."""
    return max(equivariance_errors(module, group, *inputs, **options).values())


def assert_equivariant(
    module: nn.Module, group: PlanarGroup, *inputs: Tensor, tolerance: float = 1e-6, **options
) -> None:
    """Raise EquivarianceError where a module does not commute with the group.

    Parameters
    ----------
    tolerance : float
        Largest relative error; 1e-6 suits float32.
    """
    errors = equivariance_errors(module, group, *inputs, **options)
    worst = max(errors, key=errors.__getitem__)
    # written so that a NaN fails too
    if not errors[worst] <= tolerance:
        raise EquivarianceError(
            f"{type(module).__name__} must commute with {group!r} within {tolerance:g}; element "
            f"{worst} (rotations, reflections: {group.split(worst)}) is off by {errors[worst]:.2g}"
        )


def random_inputs(spec: InputSpec, n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images, noise, mask and band_present of n noisy scenes, some masked, some lacking.

    Odd objects have 2 % masked pixels; where there are two bands or more, every third object
    lacks its last one.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (n, spec.n_bands, *spec.shape)
    noise = 0.5 + torch.rand(n, spec.n_bands, generator=generator)
    images = rotated_scenes(spec, n, 0.0, seed) * noise[..., None, None]
    images += torch.randn(shape, generator=generator) * noise[..., None, None]
    mask = torch.rand(shape, generator=generator) < 0.02
    mask[::2] = False
    present = torch.ones(n, spec.n_bands, dtype=torch.bool)
    if spec.n_bands > 1:
        present[::3, -1] = False
    mask |= ~present[..., None, None]
    return images.masked_fill(mask, 0.0), noise.masked_fill(~present, torch.nan), mask, present


def rotated_scenes(spec: InputSpec, n: int, angle_deg: float, seed: int = 0) -> Tensor:
    """Return noise-free scenes (N, B, ny, nx), sampled on a grid turned by any angle.

    Each is a bright blob at the centre and eight around it, of Gaussian widths from 2 to 4 px, so
    that sampling loses nothing; peaks are signal-to-noise 1 to 30.
    """
    generator = torch.Generator().manual_seed(seed)
    half = (min(spec.shape) - 1) / 2
    draws = torch.rand(n, 9, 4, generator=generator, dtype=torch.float64)
    radius = 0.75 * half * draws[..., 0].sqrt()
    radius[:, 0] = 0.0
    phase = 2 * torch.pi * draws[..., 1] + torch.deg2rad(torch.tensor(angle_deg)).double()
    x0, y0 = radius * torch.cos(phase), radius * torch.sin(phase)
    width, peak = 2 + 2 * draws[..., 2], 30 ** draws[..., 3]
    y, x = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in spec.shape)
    columns = torch.exp(-((x - x0[..., None]) ** 2) / (2 * width[..., None] ** 2))
    rows = torch.exp(-((y - y0[..., None]) ** 2) / (2 * width[..., None] ** 2))
    colours = 0.5 + torch.rand(n, 9, spec.n_bands, generator=generator, dtype=torch.float64)
    scenes = torch.einsum("nk,nkb,nky,nkx->nbyx", peak, colours, rows, columns)
    return scenes.float()
