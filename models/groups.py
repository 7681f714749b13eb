"""Groups that fix the centre of the plane: what they share, and the finite ones, C_N and D_N.

SO(2) and O(2) are in ``continuous_groups``. Elements of finite groups are integers. In C_N the
element ``k`` is the rotation by 2πk/N; in D_N the element ``k + N f`` is r^k s^f, with ``s`` the
reflection y → −y applied first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache

import numpy as np

from equilens.models.errors import GroupError


class Group(ABC):
    """A compact group that acts on the fibre of a field: finite or continuous, a frozen value."""

    has_reflections: bool = False

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name, such as ``D4`` or ``SO2``, as it stands in specs of representations."""

    @property
    def acts_on_pixels(self) -> bool:
        """True where every element maps the square grid onto itself."""
        return False

    @abstractmethod
    def quadrature(self, degree: int) -> PlanarGroup:
        """Return a finite subgroup that averages trigonometric polynomials exactly.

        The mean over its elements of any function of rotation frequencies up to ``degree`` is the
        mean over this whole group. A finite group is its own quadrature.
        """

    @abstractmethod
    def contains(self, subgroup: Group) -> bool:
        """True where ``subgroup``, in its standard position, is one of this group's."""


@dataclass(frozen=True, repr=False)
class PlanarGroup(Group):
    """A finite subgroup of O(2) that fixes the centre pixel.

    Parameters
    ----------
    n : int
        Number of rotations.
    """

    n: int

    def __post_init__(self) -> None:
        if not isinstance(self.n, int) or self.n < 1:
            raise GroupError(f"n, the number of rotations, must be an integer ≥ 1, got {self.n!r}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n})"

    @property
    def name(self) -> str:
        """Short name in Schoenflies' notation, such as ``D4``."""
        return f"{'D' if self.has_reflections else 'C'}{self.n}"

    @property
    def order(self) -> int:
        """Number of elements."""
        return self.n * (2 if self.has_reflections else 1)

    @property
    def elements(self) -> range:
        """All elements; 0 is the identity."""
        return range(self.order)

    def split(self, element: int) -> tuple[int, int]:
        """Return ``(k, f)`` of the element r^k s^f."""
        if element not in self.elements:
            raise GroupError(f"elements of {self!r} are 0…{self.order - 1}, got {element!r}")
        return element % self.n, element // self.n

    def product(self, a: int, b: int) -> int:
        """Return the element ``a b`` (``b`` acts first): r^i s^f r^j s^g = r^(i ± j) s^(f+g)."""
        (i, f), (j, g) = self.split(a), self.split(b)
        return (i + (-j if f else j)) % self.n + self.n * ((f + g) % 2)

    def inverse(self, element: int) -> int:
        """Return the inverse element; reflections are their own."""
        k, f = self.split(element)
        return element if f else (-k) % self.n

    def matrix(self, element: int) -> np.ndarray:
        """Return the (2, 2) float64 orthogonal matrix that acts on column vectors (x, y)."""
        k, f = self.split(element)
        rotation = rotation_matrix(k, self.n)
        return rotation * np.array([1.0, -1.0]) if f else rotation

    @property
    def acts_on_pixels(self) -> bool:
        """True where every element maps the square grid onto itself (n = 1, 2 or 4)."""
        return self.n in (1, 2, 4)

    def quadrature(self, degree: int) -> PlanarGroup:
        """Return the group itself, which averages anything exactly."""
        return self

    def contains(self, subgroup: Group) -> bool:
        """True for C_M, and in dihedral groups for D_M, with M dividing N."""
        fits = isinstance(subgroup, PlanarGroup) and self.n % subgroup.n == 0
        return fits and (self.has_reflections or not subgroup.has_reflections)

    def embed(self, subgroup: PlanarGroup) -> tuple[int, ...]:
        """Return this group's elements that make up ``subgroup``, in the subgroup's order.

        Raises
        ------
        GroupError
            Where ``subgroup`` is none of this group's subgroups C_M or D_M, M dividing N.
        """
        if not self.contains(subgroup):
            raise GroupError(
                f"{subgroup!r} is not a subgroup of {self!r}: its n must divide {self.n}"
                + ("" if self.has_reflections else " and it must be cyclic")
            )
        step = self.n // subgroup.n
        splits = (subgroup.split(element) for element in subgroup.elements)
        return tuple(k * step + self.n * f for k, f in splits)


class CyclicGroup(PlanarGroup):
    """C_N, the rotations by multiples of 2π/N."""


class DihedralGroup(PlanarGroup):
    """D_N, those rotations and N reflections (2N elements)."""

    has_reflections = True


@cache
def rotation_matrix(k: int, n: int) -> np.ndarray:
    """Return the (2, 2) rotation by 2πk/n; exact integers at multiples of 90°."""
    k %= n
    if (4 * k) % n == 0:
        quarter = 4 * k // n
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[quarter]
    else:
        angle = 2 * np.pi * k / n
        cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    matrix.setflags(write=False)
    return matrix
