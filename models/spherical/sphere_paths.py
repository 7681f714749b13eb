"""Which steered kernels take one kind of field on the sphere to another.

A field of spin s is a complex number z = x + iy in each pixel's frame (e_θ, e_φ). A kernel commutes
with SO(3) where it acts on values that geodesics have carried to the centre (Cohen et al. 2019,
arXiv:1902.04615, theorem 3.2): with α the bearing of the neighbour and τ how the frames turn,

    z → c R(ρ) e^{i(s' − s)α} e^{isτ} z        and        z → c R(ρ) e^{i(s' + s)α} e^{−isτ} z̄.

Under SO(2) the number c is complex. Under O(2) parity is kept as well and c is real; a scalar that
changes sign in a mirror counts as the imaginary part of a number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from equilens.models.continuous_groups import ContinuousGroup
from equilens.models.errors import FieldTypeError
from equilens.models.fields import FieldType
from equilens.models.irreps import Representation
from equilens.models.spherical.steered_gaussians import kernels_of_degree
from equilens.models.spherical.tile_geometry import StencilKey

QUARTER_TURN = np.array([[0.0, -1.0], [1.0, 0.0]])


@dataclass(frozen=True, repr=False)
class Spin:
    """How one field transforms: its rotation frequency, and whether it is odd in mirrors."""

    frequency: int
    odd: bool = False

    def __repr__(self) -> str:
        return f"spin {self.frequency}{' odd' * self.odd}"

    @property
    def components(self) -> tuple[int, ...]:
        """Parts of z, 0 real and 1 imaginary, that the field's channels are."""
        return (0, 1) if self.frequency else (int(self.odd),)


def spin_of(representation: Representation) -> Spin:
    """Return the spin of an irreducible representation of SO(2) or O(2).

    Raises
    ------
    FieldTypeError
        For other representations and groups.
    """
    group, size = representation.group, representation.size
    plain = representation.name == "trivial" or representation.name.startswith("irrep")
    if not isinstance(group, ContinuousGroup) or not plain:
        raise FieldTypeError(
            "a layer on the sphere needs irreps of SO(2) or O(2), such as "
            f"FieldType(SO2(), '8xirrep(0)+4xirrep(2)'), got {representation!r}"
        )
    odd = group.has_reflections and size == 1 and bool(representation.matrices[-1, 0, 0] < 0)
    return Spin(representation.frequency, odd)


@dataclass(frozen=True)
class SpinChannels:
    """All channels of a field type that belong to fields of one spin."""

    spin: Spin
    channels: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of fields."""
        return len(self.channels) // len(self.spin.components)


def channels_by_spin(field_type: FieldType) -> tuple[SpinChannels, ...]:
    """Return the channels of each spin, in order of first appearance."""
    found: dict[Spin, list[int]] = {}
    start = 0
    for block in field_type.blocks:
        channels = found.setdefault(spin_of(block.representation), [])
        channels.extend(range(start, start + block.channels))
        start += block.channels
    return tuple(SpinChannels(spin, tuple(channels)) for spin, channels in found.items())


@dataclass(frozen=True)
class Path:
    """One equivariant map between two spins: real stencils with a small matrix each.

    Attributes
    ----------
    key : StencilKey or None
        None for the pixel's own value.
    matrices : (2, out components, in components) array
        Of the stencil's real and imaginary part.
    """

    key: StencilKey | None
    matrices: np.ndarray


def paths_between(source: Spin, target: Spin, degree: int, complex_weights: bool) -> list[Path]:
    """Return all maps with kernels of at most that degree, and that of the pixel to itself."""
    # the conjugate of a scalar, and the one that a scalar takes, are nothing new
    signs = (1,) if 0 in (source.frequency, target.frequency) else (1, -1)
    factors = (np.eye(2), QUARTER_TURN) if complex_weights else (np.eye(2),)
    found = []
    for sign in signs:
        turns = target.frequency - sign * source.frequency
        carried = sign * source.frequency
        # a kernel of −m turns is the conjugate of that of m
        flip = -1 if turns < 0 else 1
        keys: list[StencilKey | None] = [
            StencilKey(kernel.turns, kernel.order, flip * carried)
            for kernel in kernels_of_degree(degree)
            if kernel.turns == abs(turns)
        ]
        if turns == 0 and sign == 1:
            keys.insert(0, None)
        for key in keys:
            # what stays in place or is not turned has no imaginary part
            real_only = key is None or key.turns == key.transport == 0
            parts = _complex_product(sign, flip) * np.array([1.0, not real_only])[:, None, None]
            for factor in factors:
                matrices = (factor @ parts)[:, target.components][:, :, source.components]
                if matrices.any():
                    found.append(Path(key, matrices))
    return found


def _complex_product(sign: int, flip: int) -> np.ndarray:
    """(Re A, Im A) times z or z̄, as matrices (2, 2, 2) on (x, y)."""
    conjugation = np.diag([1.0, float(sign)])
    return np.stack([conjugation, flip * QUARTER_TURN @ conjugation])
