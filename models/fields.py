"""Field types: how the channels of a feature map transform. Values, checked when layers are built.

Tensors stay plain: a map of field type ``8xregular`` over D_4 is an (N, 64, H, W) tensor whose
channels 0…7 are the first field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from equilens.models.errors import FieldTypeError
from equilens.models.groups import Group, PlanarGroup
from equilens.models.representations import (
    Representation,
    induce,
    parse_representation,
    restrict,
)


@dataclass(frozen=True)
class FieldBlock:
    """``count`` adjacent fields of one representation."""

    count: int
    representation: Representation

    @property
    def channels(self) -> int:
        """Channels of all fields in the block."""
        return self.count * self.representation.size


@dataclass(frozen=True, repr=False)
class FieldType:
    """A sum of representations of one group, such as ``FieldType(DihedralGroup(4), "8xregular")``.

    Parameters
    ----------
    group : Group
    spec : str
        Terms joined by ``+``, each ``NAME`` or ``COUNTxNAME``; the channels follow this order.
        Names are those of ``representations``.
    """

    group: Group
    spec: str
    blocks: tuple[FieldBlock, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        terms = self.spec.replace(" ", "").split("+")
        object.__setattr__(self, "blocks", tuple(self._block(term) for term in terms))
        object.__setattr__(self, "spec", "+".join(terms))

    def _block(self, term: str) -> FieldBlock:
        count, separator, name = term.partition("x")
        if not separator:
            count, name = "1", term
        if not count.isdecimal() or int(count) < 1:
            raise FieldTypeError(
                f"a field type's term must be NAME or COUNTxNAME with COUNT ≥ 1, got {term!r} "
                f"in {self.spec!r}"
            )
        return FieldBlock(int(count), parse_representation(self.group, name))

    def __repr__(self) -> str:
        return f"{self.spec}[{self.group.name}]"

    @property
    def finite_group(self) -> PlanarGroup:
        """The group, for layers that enumerate its elements; FieldTypeError for SO(2) and O(2)."""
        return require_finite(self.group, "a layer that enumerates group elements")

    @property
    def channels(self) -> int:
        """Number of channels that a feature map of this type has."""
        return sum(block.channels for block in self.blocks)

    @property
    def n_fields(self) -> int:
        """Number of fields."""
        return sum(block.count for block in self.blocks)

    @property
    def is_permutation(self) -> bool:
        """True where pointwise nonlinearities commute with the group."""
        return all(block.representation.is_permutation for block in self.blocks)

    def owner_of_channel(self) -> list[int]:
        """Return for each channel the number of the field that it belongs to."""
        sizes = [block.representation.size for block in self.blocks for _ in range(block.count)]
        return [number for number, size in enumerate(sizes) for _ in range(size)]

    def matrices(self) -> np.ndarray:
        """Return ρ(g) on all channels, shape (order, channels, channels), float64.

        Of a continuous group at the samples of its highest frequency; restrict the type to a
        finite subgroup to choose them.
        """
        reps = [block.representation for block in self.blocks for _ in range(block.count)]
        samples = max(reps, key=lambda rep: rep.frequency).samples
        matrices = np.zeros((samples.order, self.channels, self.channels))
        start = 0
        for rep in reps:
            inside = slice(start, start + rep.size)
            matrices[:, inside, inside] = rep.on(samples)
            start += rep.size
        return matrices

    def restrict(self, subgroup: Group) -> FieldType:
        """Return the type of the same channels under a subgroup, for layers that ask for less.

        A map of this type is one of the restricted type as it stands.
        """
        return self._each(lambda rep: restrict(rep, subgroup), subgroup)

    def induce(self, group: Group) -> FieldType:
        """Return the type of the fields induced to a larger group: index times the channels."""
        return self._each(lambda rep: induce(rep, group), group)

    def _each(self, change: Callable[[Representation], Representation], group: Group) -> FieldType:
        if group == self.group:
            return self
        names = [change(block.representation).name for block in self.blocks]
        counts = [f"{block.count}x" if block.count > 1 else "" for block in self.blocks]
        return FieldType(group, "+".join(map("".join, zip(counts, names, strict=True))))


def trivial_type(group: Group, channels: int) -> FieldType:
    """Return scalars: every channel invariant."""
    return FieldType(group, f"{channels}xtrivial")


def regular_type(group: Group, channels: int) -> FieldType:
    """Return regular fields that take ``channels`` channels in all.

    Raises
    ------
    FieldTypeError
        Where the group is continuous, or its order does not divide ``channels``.
    """
    group = require_finite(group, "a regular field")
    if channels < group.order or channels % group.order:
        raise FieldTypeError(
            f"channels of regular fields must be a multiple of {group.order}, the order of "
            f"{group!r}, got {channels}"
        )
    return FieldType(group, f"{channels // group.order}xregular")


def require_finite(group: Group, layer: str) -> PlanarGroup:
    """Return a finite group as what it is; raise FieldTypeError for SO(2) and O(2)."""
    if not isinstance(group, PlanarGroup):
        raise FieldTypeError(
            f"{layer} needs a finite group, got {group!r}; restrict its fields to C_N or D_N first"
        )
    return group


def require_same_group(in_type: FieldType, out_type: FieldType, layer: str) -> None:
    """Raise FieldTypeError where a layer's input and output belong to different groups."""
    if in_type.group != out_type.group:
        raise FieldTypeError(
            f"{layer} needs one group on both sides, got {in_type!r} → {out_type!r}; "
            f"restrict one of them first"
        )


def require_permutation(field_type: FieldType, layer: str) -> None:
    """Raise FieldTypeError where channels mix under the group."""
    if not field_type.is_permutation:
        raise FieldTypeError(
            f"{layer} acts channel by channel, so it needs regular, quotient or trivial fields, "
            f"got {field_type!r}; use GatedNonlinearity or NormNonlinearity for irreps"
        )
