"""Published equivariant networks by symmetry G, stabiliser H and field type ρ.

The scheme is that of Cohen, Geiger & Weiler 2019 (arXiv:1811.02017): a network's feature spaces are
fields over G/H of type ρ, and its linear layers all maps between them that commute with G. Each row
is a network under the type that its own paper gives it. Where equilens has that type, the row's
layers are built and measured.

>>> print(classification_table(classification()))
G          H     G/H  ρ                          network, arXiv                      equilens
Z²         C1    Z²   trivial                    LeCun et al. 1990                   yes
p4         C4    Z²   regular                    Cohen & Welling 2016, 1602.07576    yes
p4m        D4    Z²   regular                    Cohen & Welling 2016, 1602.07576    yes
p4         C4    Z²   regular                    Dieleman et al. 2016, 1602.02660    yes
p4m        D4    Z²   irreps, regular, quotient  Cohen & Welling 2017, 1612.08498    yes
p6m        D6    A₂   regular                    Hoogeboom et al. 2018, 1803.02108   no hexagons
R² ⋊ C8    C8    R²   regular                    Zhou et al. 2017, 1701.01833        yes
R² ⋊ C16   C16   R²   regular                    Weiler et al. 2018, 1711.07289      yes
R² ⋊ C8    C8    R²   regular                    Bekkers et al. 2018, 1804.03393     yes
SE(2)      SO2   R²   irreps                     Worrall et al. 2017, 1612.04642     yes
R² ⋊ D8    D8    R²   any                        Weiler & Cesa 2019, 1911.08251      yes
E(2)       O2    R²   irreps, induced            Weiler & Cesa 2019, 1911.08251      yes
Z³ ⋊ Cube  Cube  Z³   regular                    Winkels & Cohen 2018, 1804.04656    no volumes
Z³ ⋊ Cube  Cube  Z³   regular                    Worrall & Brostow 2018, 1804.04458  no volumes
SE(3)      SO3   R³   irreps                     Thomas et al. 2018, 1802.08219      no volumes
SE(3)      SO3   R³   irreps                     Weiler et al. 2018, 1807.02547      no volumes
SE(3)      SO3   R³   irreps                     Kondor 2018, 1803.01588             no volumes
SO3        SO2   S²   regular                    Cohen et al. 2018, 1801.10130       no sphere
SO3        SO2   S²   trivial                    Esteves et al. 2018, 1711.06721     no sphere
SO3        SO2   S²   trivial                    Perraudin et al. 2019, 1810.12186   no sphere
SO3        SO2   S²   irreps                     Kondor et al. 2018, 1806.09231      no sphere
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from equilens.models.continuous_groups import O2, SO2
from equilens.models.fields import FieldBlock, FieldType
from equilens.models.groups import CyclicGroup, DihedralGroup, PlanarGroup
from equilens.models.homogeneous import (
    SO3,
    Cube,
    HomogeneousSpace,
    Motions,
    pixel_grid,
    plane,
    sphere,
)
from equilens.models.kernel_basis import kernels_at
from equilens.models.kernel_constraint import constraint_error
from equilens.models.planar.convolutions import SteerableConv
from equilens.models.testing import equivariance_error

KERNEL_SIZE = 3
GRID_TOLERANCE, CONSTRAINT_TOLERANCE = 1e-5, 1e-9
"""Of float32 layers at quarter turns and reflections, and of float64 kernels at any element."""


@dataclass(frozen=True)
class PublishedNetwork:
    """One row: a network and its type.

    Parameters
    ----------
    space : HomogeneousSpace
        G/H.
    fields : str
        ρ, in words.
    paper : str
        Authors and year, with the arXiv number where there is one.
    spec : str
        Fields that stand for ρ, as FieldType takes them; empty where equilens has none.
    lacking : str
        What equilens lacks for the row; empty where it has it.
    """

    space: HomogeneousSpace
    fields: str
    paper: str
    spec: str = ""
    lacking: str = ""


@dataclass(frozen=True)
class ClassifiedNetwork:
    """A row with what was measured of equilens' own layers of its type.

    Parameters
    ----------
    network : PublishedNetwork
    grid_error : float or None
        Largest relative equivariance error of the layers on the pixel grid, float32.
    constraint_error : float or None
        Largest violation of the kernel constraint over group elements, float64; for types that
        turn by angles which the grid lacks.
    """

    network: PublishedNetwork
    grid_error: float | None = None
    constraint_error: float | None = None

    @property
    def works(self) -> bool:
        """True where equilens has the type and its layers hold to it."""
        if self.grid_error is None:
            return False
        return (
            self.grid_error <= GRID_TOLERANCE
            and (self.constraint_error or 0.0) <= CONSTRAINT_TOLERANCE
        )

    @property
    def verdict(self) -> str:
        """``yes``, ``FAILS``, or what is lacking."""
        return self.network.lacking or ("yes" if self.works else "FAILS")


_VOLUME = HomogeneousSpace(Motions("R³", SO3()), SO3())
_VOXELS = HomogeneousSpace(Motions("Z³", Cube()), Cube())
_HEXAGONS = HomogeneousSpace(Motions("A₂", DihedralGroup(6)), DihedralGroup(6))
_D4_FIELDS = "regular+irrep(0,0)+irrep(1,0)+irrep(0,2)+irrep(1,2)+irrep(1,1)+quotient(D1)"
_O2_FIELDS = "irrep(1,0)+irrep(1,1)+irrep(1,2)+induced(SO2,irrep(1))"
_D8_FIELDS = "regular+irrep(1,1)+quotient(C2)+induced(C4,irrep(1))"

PUBLISHED: tuple[PublishedNetwork, ...] = (
    PublishedNetwork(pixel_grid(CyclicGroup(1)), "trivial", "LeCun et al. 1990", "3xtrivial"),
    PublishedNetwork(
        pixel_grid(CyclicGroup(4)), "regular", "Cohen & Welling 2016, 1602.07576", "2xregular"
    ),
    PublishedNetwork(
        pixel_grid(DihedralGroup(4)), "regular", "Cohen & Welling 2016, 1602.07576", "2xregular"
    ),
    PublishedNetwork(
        pixel_grid(CyclicGroup(4)), "regular", "Dieleman et al. 2016, 1602.02660", "2xregular"
    ),
    PublishedNetwork(
        pixel_grid(DihedralGroup(4)),
        "irreps, regular, quotient",
        "Cohen & Welling 2017, 1612.08498",
        _D4_FIELDS,
    ),
    PublishedNetwork(
        _HEXAGONS, "regular", "Hoogeboom et al. 2018, 1803.02108", lacking="no hexagons"
    ),
    PublishedNetwork(plane(CyclicGroup(8)), "regular", "Zhou et al. 2017, 1701.01833", "2xregular"),
    PublishedNetwork(
        plane(CyclicGroup(16)), "regular", "Weiler et al. 2018, 1711.07289", "regular"
    ),
    PublishedNetwork(
        plane(CyclicGroup(8)), "regular", "Bekkers et al. 2018, 1804.03393", "2xregular"
    ),
    PublishedNetwork(
        plane(SO2()),
        "irreps",
        "Worrall et al. 2017, 1612.04642",
        "2xirrep(0)+2xirrep(1)+2xirrep(2)",
    ),
    PublishedNetwork(plane(DihedralGroup(8)), "any", "Weiler & Cesa 2019, 1911.08251", _D8_FIELDS),
    PublishedNetwork(plane(O2()), "irreps, induced", "Weiler & Cesa 2019, 1911.08251", _O2_FIELDS),
    PublishedNetwork(_VOXELS, "regular", "Winkels & Cohen 2018, 1804.04656", lacking="no volumes"),
    PublishedNetwork(
        _VOXELS, "regular", "Worrall & Brostow 2018, 1804.04458", lacking="no volumes"
    ),
    PublishedNetwork(_VOLUME, "irreps", "Thomas et al. 2018, 1802.08219", lacking="no volumes"),
    PublishedNetwork(_VOLUME, "irreps", "Weiler et al. 2018, 1807.02547", lacking="no volumes"),
    PublishedNetwork(_VOLUME, "irreps", "Kondor 2018, 1803.01588", lacking="no volumes"),
    PublishedNetwork(sphere(), "regular", "Cohen et al. 2018, 1801.10130", lacking="no sphere"),
    PublishedNetwork(sphere(), "trivial", "Esteves et al. 2018, 1711.06721", lacking="no sphere"),
    PublishedNetwork(sphere(), "trivial", "Perraudin et al. 2019, 1810.12186", lacking="no sphere"),
    PublishedNetwork(sphere(), "irreps", "Kondor et al. 2018, 1806.09231", lacking="no sphere"),
)
"""arXiv numbers stand after the year."""


def classification(
    networks: Sequence[PublishedNetwork] = PUBLISHED,
) -> tuple[ClassifiedNetwork, ...]:
    """Build and measure the layers of each row that equilens has."""
    return tuple(_measure(network) for network in networks)


def _measure(network: PublishedNetwork) -> ClassifiedNetwork:
    if network.lacking:
        return ClassifiedNetwork(network)
    fields = network.space.field_type(network.spec)
    on_pixels = network.space.base_space == "Z²"
    return ClassifiedNetwork(
        network, _grid_error(fields), None if on_pixels else _constraint_error(fields)
    )


def _grid_error(fields: FieldType) -> float:
    """Lift an image to the fields and convolve them once, under all symmetries of the square."""
    group = fields.group
    image = FieldType(group, "trivial")
    square = _square_group(fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        lift = SteerableConv(image, fields, KERNEL_SIZE, padding=1)
        layers = torch.nn.Sequential(lift, SteerableConv(fields, fields, KERNEL_SIZE, padding=1))
        pixels = torch.randn(1, 1, 9, 9)
    types = {"in_type": image.restrict(square), "out_type": fields.restrict(square)}
    return equivariance_error(layers, square, pixels, **types)


def _square_group(fields: FieldType) -> PlanarGroup:
    """Return the part of a group that maps pixels to pixels."""
    kind = DihedralGroup if fields.group.has_reflections else CyclicGroup
    return next(kind(n) for n in (4, 2, 1) if fields.group.contains(kind(n)))


def _constraint_error(fields: FieldType) -> float:
    return max(
        constraint_error(partial(kernels_at, out_rep=out, in_rep=into, size=KERNEL_SIZE), out, into)
        for out, into in _pairs(fields.blocks)
    )


def _pairs(blocks: Sequence[FieldBlock]) -> Iterator[tuple]:
    for out in blocks:
        for into in blocks:
            yield out.representation, into.representation


def classification_table(rows: Sequence[ClassifiedNetwork]) -> str:
    """Return the rows as text: G, H, G/H, ρ, network, and whether equilens has it."""
    lines = [("G", "H", "G/H", "ρ", "network, arXiv", "equilens")]
    for row in rows:
        space, network = row.network.space, row.network
        names = space.symmetry.name, space.stabilizer.name, space.base_space
        lines.append((*names, network.fields, network.paper, row.verdict))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    return "\n".join(line.rstrip() for line in padded)
