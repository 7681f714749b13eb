"""Homogeneous spaces and the field types over them."""

import numpy as np
import pytest

from equilens.models.continuous_groups import O2, SO2
from equilens.models.errors import FieldTypeError, GroupError
from equilens.models.fields import FieldType
from equilens.models.groups import CyclicGroup, DihedralGroup
from equilens.models.homogeneous import (
    SO3,
    Cube,
    HomogeneousSpace,
    Motions,
    pixel_grid,
    plane,
    sphere,
)
from equilens.models.representations import regular


@pytest.mark.parametrize(
    ("space", "text"),
    [
        (pixel_grid(CyclicGroup(1)), "Z²/C1 = Z²"),
        (pixel_grid(CyclicGroup(4)), "p4/C4 = Z²"),
        (pixel_grid(DihedralGroup(4)), "p4m/D4 = Z²"),
        (plane(SO2()), "SE(2)/SO2 = R²"),
        (plane(O2()), "E(2)/O2 = R²"),
        (plane(DihedralGroup(8)), "R² ⋊ D8/D8 = R²"),
        (sphere(), "SO3/SO2 = S²"),
        (HomogeneousSpace(SO3(), CyclicGroup(1)), "SO3/C1 = SO3"),
        (HomogeneousSpace(Motions("R³", SO3()), SO3()), "SE(3)/SO3 = R³"),
        (HomogeneousSpace(Motions("Z³", Cube()), CyclicGroup(4)), "Z³ ⋊ Cube/C4 = Z³ ⋊ Cube/C4"),
        (HomogeneousSpace(Motions("R²", O2()), SO2()), "E(2)/SO2 = E(2)/SO2"),
    ],
)
def test_spaces_are_named(space, text):
    assert repr(space) == text


def test_spaces_are_values():
    assert len({plane(SO2()), plane(SO2()), plane(O2()), sphere()}) == 3


@pytest.mark.parametrize(
    "build",
    [
        lambda: pixel_grid(CyclicGroup(8)),
        lambda: pixel_grid(SO2()),
        lambda: Motions("A₂", DihedralGroup(4)),
        lambda: Motions("R⁴", SO3()),
        lambda: HomogeneousSpace(Motions("R²", SO2()), DihedralGroup(1)),
        lambda: HomogeneousSpace(Motions("Z²", CyclicGroup(4)), CyclicGroup(8)),
        lambda: HomogeneousSpace(Cube(), CyclicGroup(5)),
        lambda: HomogeneousSpace(Cube(), SO2()),
        lambda: HomogeneousSpace(SO3(), DihedralGroup(1)),
    ],
)
def test_impossible_spaces_are_refused(build):
    with pytest.raises(GroupError, match=r"must|not a subgroup"):
        build()


def test_field_types_are_representations_of_the_stabiliser():
    assert plane(SO2()).field_type("8xirrep(1)") == FieldType(SO2(), "8xirrep(1)")
    with pytest.raises(FieldTypeError, match=r"0…2 for DihedralGroup\(4\)"):
        pixel_grid(DihedralGroup(4)).field_type("irrep(1,3)")
    volume = HomogeneousSpace(Motions("R³", SO3()), SO3())
    with pytest.raises(FieldTypeError, match=r"need representations of SO3\(\)"):
        volume.field_type("trivial")


def test_inducing_in_stages():
    """Scalars on p4m are regular fields on the pixels; by way of p4m/C2 they are the same."""
    p4m = Motions("Z²", DihedralGroup(4))
    group, half, pixels = (
        HomogeneousSpace(p4m, h) for h in (CyclicGroup(1), CyclicGroup(2), DihedralGroup(4))
    )
    scalars = group.field_type("trivial")
    at_once = group.as_fields_over(pixels, scalars)
    assert at_once == FieldType(DihedralGroup(4), "regular")
    staged = half.as_fields_over(pixels, group.as_fields_over(half, scalars))
    characters = [np.trace(t.matrices(), axis1=1, axis2=2) for t in (at_once, staged)]
    np.testing.assert_allclose(*characters, atol=1e-12)
    np.testing.assert_array_equal(characters[0], regular(DihedralGroup(4)).character)
    with pytest.raises(FieldTypeError, match="one symmetry"):
        group.as_fields_over(plane(DihedralGroup(4)), scalars)
    with pytest.raises(FieldTypeError, match="over the first"):
        half.as_fields_over(pixels, scalars)
