"""The continuous groups of the plane, SO(2) and O(2), and all planar groups by name.

A real representation of a compact group consists of trigonometric polynomials of the rotation
angle. Those of degree d have the same mean over SO(2) as over C_N for every N > d, and over O(2)
as over D_N: e^{imθ} averages to zero over C_N unless N divides m. Each continuous group thus hands
out the finite subgroup that does for a given degree, its ``quadrature``, and everything that a
finite group computes by averaging is computed the same way, without approximation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from equilens.models.errors import GroupError
from equilens.models.groups import CyclicGroup, DihedralGroup, Group, PlanarGroup


@dataclass(frozen=True, repr=False)
class ContinuousGroup(Group):
    """SO(2) or O(2); an element is a rotation angle, and whether y → −y acts before it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @property
    def name(self) -> str:
        """``SO2`` or ``O2``."""
        return type(self).__name__

    def finite(self, n: int) -> PlanarGroup:
        """Return the subgroup with ``n`` rotations: C_n of SO(2), D_n of O(2)."""
        return (DihedralGroup if self.has_reflections else CyclicGroup)(n)

    def quadrature(self, degree: int) -> PlanarGroup:
        """Return the smallest C_N or D_N that averages polynomials of that degree exactly."""
        if degree < 0:
            raise GroupError(f"the degree of a trigonometric polynomial must be ≥ 0, got {degree}")
        return self.finite(degree + 1)

    def contains(self, subgroup: Group) -> bool:
        """True for every planar group, apart from those with reflections in SO(2)."""
        planar = isinstance(subgroup, (PlanarGroup, ContinuousGroup))
        return planar and (self.has_reflections or not subgroup.has_reflections)


class SO2(ContinuousGroup):
    """All rotations of the plane."""


class O2(ContinuousGroup):
    """All rotations and reflections of the plane."""

    has_reflections = True


_FINITE = re.compile(r"([CD])([1-9]\d*)")


def named_group(name: str) -> Group:
    """Return the planar group of that name: ``C4``, ``D8``, ``SO2``, ``O2``, …

    Raises
    ------
    GroupError
        Where the name is none of these.
    """
    if name in ("SO2", "O2"):
        return SO2() if name == "SO2" else O2()
    if match := _FINITE.fullmatch(name):
        return (CyclicGroup if match[1] == "C" else DihedralGroup)(int(match[2]))
    raise GroupError(f"a planar group must be named CN, DN, SO2 or O2, got {name!r}")


def require_subgroup(subgroup: Group, group: Group) -> None:
    """Raise GroupError where ``subgroup`` is not contained in ``group``."""
    if not group.contains(subgroup):
        raise GroupError(
            f"{subgroup!r} is not a subgroup of {group!r}: the number of rotations must divide, "
            f"and reflections need a group that has some"
        )
