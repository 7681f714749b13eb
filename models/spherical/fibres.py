"""What the channels of a field on the sphere are: spins, and their two parts.

Fields over S² = SO(3)/SO(2) are of a type of SO(2):

=================== =========================================================================
``trivial``         a scalar
``irrep(k)``        spin k: components (F_θ, F_φ) on the grid, (E, B) among coefficients, with
                    the signs of healpy
``bandlimited(N)``  a function on SO(3) of frequencies |n| ≤ N in γ: values at angles γ on the
                    grid; among coefficients its Fourier components 0, 1E, 1B, … NE, NB
=================== =========================================================================

The last is the regular representation as far as a finite number of channels holds it: a function
on SO(3) = SO(3)/1, seen as a field over the sphere. Its component k is a field of spin k:

    f(R_z(α) R_y(β) R_z(γ)) = F_0 + √2 Σ_k (cos kγ F_kθ + sin kγ F_kφ)(β, α).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equilens.models.continuous_groups import SO2
from equilens.models.errors import FieldTypeError
from equilens.models.fields import FieldBlock, FieldType
from equilens.models.homogeneous import sphere


@dataclass(frozen=True)
class FibreBlock:
    """Adjacent fields of one representation.

    Parameters
    ----------
    fields : number of fields
    spins : spin of each channel of one field, such as (0, 1, 1, 2, 2)
    is_function : whether the fields are functions on SO(3)
    """

    fields: int
    spins: tuple[int, ...]
    is_function: bool

    @property
    def channels(self) -> int:
        """Channels of all its fields."""
        return self.fields * len(self.spins)

    def parts_within(self, degree: int) -> int:
        """Channels of one field that have coefficients of that degree: l ≥ spin."""
        return sum(spin <= degree for spin in self.spins)


def functions_on_rotations(channels: int, n_max: int) -> FieldType:
    """Return the type of functions on SO(3) whose frequencies in γ stay within ``n_max``."""
    return sphere().field_type(f"{channels}xbandlimited({n_max})")


def fibre_blocks(field_type: FieldType) -> tuple[FibreBlock, ...]:
    """Return the blocks of a field type over the sphere.

    Raises
    ------
    FieldTypeError
        Where the group is not SO(2), or a term is none of trivial, irrep(k) and bandlimited(N).
    """
    if field_type.group != SO2():
        raise FieldTypeError(
            f"fields on the sphere must be of a type of SO2, got {field_type!r}; "
            f"see homogeneous.sphere().field_type"
        )
    return tuple(_fibre_block(field_type, block) for block in field_type.blocks)


def _fibre_block(field_type: FieldType, block: FieldBlock) -> FibreBlock:
    representation = block.representation
    name, top = representation.name.partition("(")[0], representation.frequency
    if name == "bandlimited":
        spins = (0, *(k for k in range(1, top + 1) for _ in range(2)))
        return FibreBlock(block.count, spins, True)
    if name == "trivial" or (name == "irrep" and top == 0):
        return FibreBlock(block.count, (0,), False)
    if name == "irrep":
        return FibreBlock(block.count, (top, top), False)
    raise FieldTypeError(
        f"fields on the sphere must be trivial, irrep(k) or bandlimited(N), got {field_type!r}"
    )


def channel_spins(field_type: FieldType) -> Tensor:
    """Return the spin of each channel, (channels,) int64."""
    blocks = fibre_blocks(field_type)
    return torch.tensor([spin for block in blocks for spin in block.fields * block.spins])


def require_functions(field_type: FieldType, layer: str) -> FibreBlock:
    """Return the one block of functions on SO(3), or of scalars, that the type consists of.

    Raises
    ------
    FieldTypeError
        For any other type.
    """
    blocks = fibre_blocks(field_type)
    if len(blocks) != 1 or not (blocks[0].is_function or blocks[0].spins == (0,)):
        raise FieldTypeError(
            f"{layer} needs functions on SO(3) of one band, such as 8xbandlimited(2), or scalars, "
            f"got {field_type!r}"
        )
    return blocks[0]
