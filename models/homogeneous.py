"""Homogeneous spaces G/H: where fields live, and which group their values transform by.

A feature space is induced: fields over G/H of type ρ, a representation of the stabiliser H, carry
the representation Ind ρ of G (Cohen, Geiger & Weiler 2019, arXiv:1811.02017). G moves the base
space; H is what leaves a point where it is, and ρ says what it does to the values there.

>>> from equilens.models.groups import DihedralGroup
>>> pixel_grid(DihedralGroup(4))
p4m/D4 = Z²
>>> plane(SO2())
SE(2)/SO2 = R²
>>> plane(SO2()).field_type("8xirrep(0)+8xirrep(1)").channels
24
>>> sphere()
SO3/SO2 = S²

Functions on a larger base are fields of a larger type on a smaller one, in stages:

>>> group = HomogeneousSpace(Motions("Z²", CyclicGroup(4)), CyclicGroup(1))
>>> group, group.as_fields_over(pixel_grid(CyclicGroup(4)), group.field_type("3xtrivial"))
(p4/C1 = p4, 3xregular[C4])
"""

from __future__ import annotations

from dataclasses import dataclass

from equilens.models.continuous_groups import SO2, ContinuousGroup, require_subgroup
from equilens.models.errors import FieldTypeError, GroupError
from equilens.models.fields import FieldType
from equilens.models.groups import CyclicGroup, Group, PlanarGroup

TRIVIAL = CyclicGroup(1)

LATTICE_ROTATIONS = {"Z²": (1, 2, 4), "A₂": (1, 2, 3, 6)}
"""Rotations of the square and the hexagonal lattice about one of their points."""

TRANSLATIONS = ("Z²", "A₂", "R²", "Z³", "R³")

WALLPAPER_NAMES = {
    ("Z²", "C2"): "p2",
    ("Z²", "C4"): "p4",
    ("Z²", "D4"): "p4m",
    ("A₂", "C6"): "p6",
    ("A₂", "D6"): "p6m",
    ("R²", "SO2"): "SE(2)",
    ("R²", "O2"): "E(2)",
    ("R³", "SO3"): "SE(3)",
}


@dataclass(frozen=True, repr=False)
class SpatialGroup(Group):
    """A group of rotations of 3-space about a point, known by its name and subgroups only."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def name(self) -> str:
        """``SO3`` or ``Cube``."""
        return type(self).__name__

    def quadrature(self, degree: int) -> PlanarGroup:
        """Raise GroupError: no planar group averages functions of these rotations."""
        raise GroupError(f"{self!r} has no planar quadrature, and fields of it have no layers here")

    def contains(self, subgroup: Group) -> bool:
        """True for itself, and for rotations about one axis that are among its own."""
        if isinstance(subgroup, SpatialGroup):
            return self == subgroup
        return not subgroup.has_reflections


class SO3(SpatialGroup):
    """All rotations of 3-space."""

    def contains(self, subgroup: Group) -> bool:
        """True for rotations about one axis, for the cube's, and for itself."""
        return isinstance(subgroup, SpatialGroup) or super().contains(subgroup)


class Cube(SpatialGroup):
    """The 24 rotations of the cube."""

    def contains(self, subgroup: Group) -> bool:
        """True for C_1, C_2, C_3, C_4 and itself."""
        finite = isinstance(subgroup, SpatialGroup) or (
            isinstance(subgroup, PlanarGroup) and subgroup.n <= 4
        )
        return finite and super().contains(subgroup)


@dataclass(frozen=True, repr=False)
class Motions:
    """Translations joined with a group that fixes the origin, T ⋊ P, such as SE(2) or p4m.

    Parameters
    ----------
    translations : {"Z²", "A₂", "R²", "Z³", "R³"}
        Square pixels, hexagonal pixels, the plane, voxels, 3-space.
    point_group : Group
        Must map the translations onto themselves.
    """

    translations: str
    point_group: Group

    def __post_init__(self) -> None:
        if self.translations not in TRANSLATIONS:
            raise GroupError(
                f"translations must be one of {TRANSLATIONS}, got {self.translations!r}"
            )
        rotations = LATTICE_ROTATIONS.get(self.translations)
        group = self.point_group
        if rotations and not (isinstance(group, PlanarGroup) and group.n in rotations):
            raise GroupError(
                f"{group!r} does not map {self.translations} onto itself: it must have "
                f"{', '.join(map(str, rotations))} rotations; the plane R² takes any group"
            )

    def __repr__(self) -> str:
        return self.name

    @property
    def name(self) -> str:
        """Usual name, such as ``SE(2)``, ``p4m`` or ``R² ⋊ C8``."""
        if self.point_group == TRIVIAL:
            return self.translations
        pair = (self.translations, self.point_group.name)
        return WALLPAPER_NAMES.get(pair, " ⋊ ".join(pair))


@dataclass(frozen=True, repr=False)
class HomogeneousSpace:
    """The space G/H of cosets.

    Parameters
    ----------
    symmetry : Motions or SpatialGroup
        G, which moves the space.
    stabilizer : Group
        H, which fixes its origin: a subgroup of G's point group.
    """

    symmetry: Motions | SpatialGroup
    stabilizer: Group

    def __post_init__(self) -> None:
        fixing = self.symmetry
        require_subgroup(
            self.stabilizer, fixing.point_group if isinstance(fixing, Motions) else fixing
        )

    def __repr__(self) -> str:
        return f"{self.symmetry.name}/{self.stabilizer.name} = {self.base_space}"

    @property
    def base_space(self) -> str:
        """Name of the space: ``Z²``, ``R²``, ``S²``, G where H is trivial, else ``G/H``."""
        symmetry = self.symmetry
        if isinstance(symmetry, Motions) and symmetry.point_group == self.stabilizer:
            return symmetry.translations
        if symmetry == SO3() and self.stabilizer == SO2():
            return "S²"
        quotient = "" if self.stabilizer == TRIVIAL else f"/{self.stabilizer.name}"
        return symmetry.name + quotient

    def field_type(self, spec: str) -> FieldType:
        """Return a type of fields over this space: a representation of H.

        Raises
        ------
        FieldTypeError
            Where H is none of the planar groups, or lacks the representation.
        """
        if not isinstance(self.stabilizer, (PlanarGroup, ContinuousGroup)):
            raise FieldTypeError(
                f"fields over {self!r} need representations of {self.stabilizer!r}; field types "
                f"are those of CN, DN, SO2 and O2"
            )
        return FieldType(self.stabilizer, spec)

    def as_fields_over(self, coarser: HomogeneousSpace, field_type: FieldType) -> FieldType:
        """Return the type over G/H of fields over this space G/K, where K is inside H.

        Inducing in stages, Ind_K^G σ = Ind_H^G (Ind_K^H σ): functions on p4 are regular fields on
        the pixels.
        """
        if coarser.symmetry != self.symmetry or field_type.group != self.stabilizer:
            raise FieldTypeError(
                f"both spaces must have one symmetry and the fields be over the first, got "
                f"{field_type!r} over {self!r} → {coarser!r}"
            )
        return field_type.induce(coarser.stabilizer)


def pixel_grid(group: PlanarGroup) -> HomogeneousSpace:
    """Return Z² with that group of the square: p4m/D4 and its like."""
    return HomogeneousSpace(Motions("Z²", group), group)


def plane(group: Group) -> HomogeneousSpace:
    """Return R² with any planar group: SE(2)/SO(2) and its like."""
    return HomogeneousSpace(Motions("R²", group), group)


def sphere() -> HomogeneousSpace:
    """Return S² = SO(3)/SO(2)."""
    return HomogeneousSpace(SO3(), SO2())
