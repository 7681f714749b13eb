"""Field types as values."""

import numpy as np
import pytest

from equilens.models.continuous_groups import O2, SO2
from equilens.models.errors import FieldTypeError, GroupError
from equilens.models.fields import (
    FieldType,
    regular_type,
    require_finite,
    require_permutation,
    trivial_type,
)
from equilens.models.groups import CyclicGroup, DihedralGroup

D4 = DihedralGroup(4)


def test_channels_fields_and_repr():
    mixed = FieldType(D4, "4xtrivial + 2xirrep(1,1) + regular")
    assert (mixed.channels, mixed.n_fields) == (4 + 4 + 8, 7)
    assert repr(mixed) == "4xtrivial+2xirrep(1,1)+regular[D4]"
    assert mixed.owner_of_channel() == [0, 1, 2, 3, 4, 4, 5, 5] + [6] * 8
    assert not mixed.is_permutation
    assert regular_type(D4, 64) == FieldType(D4, "8xregular")
    assert hash(regular_type(D4, 64)) == hash(FieldType(D4, "8xregular"))


def test_matrices_are_block_diagonal_and_orthogonal():
    matrices = FieldType(D4, "2xtrivial+2xirrep(1,1)").matrices()
    np.testing.assert_allclose(matrices @ matrices.transpose(0, 2, 1), [np.eye(6)] * 8, atol=1e-15)
    assert (matrices[:, :2, 2:] == 0).all()
    assert (matrices[:, 2:4, 4:] == 0).all()


@pytest.mark.parametrize("spec", ["", "0xregular", "-1xregular", "2*regular", "regular+"])
def test_broken_specs_are_refused(spec):
    with pytest.raises(FieldTypeError):
        FieldType(D4, spec)


def test_misfits_name_requirement_value_and_remedy():
    with pytest.raises(FieldTypeError, match=r"multiple of 8.*got 20"):
        regular_type(D4, 20)
    with pytest.raises(FieldTypeError, match="use GatedNonlinearity"):
        require_permutation(FieldType(D4, "irrep(1,1)"), "ReLU")
    assert trivial_type(CyclicGroup(3), 5).is_permutation


def test_a_restricted_type_has_the_same_channels_and_matrices():
    d4, c4 = FieldType(D4, "2xtrivial+3xirrep(1,1)+regular"), CyclicGroup(4)
    lowered = d4.restrict(c4)
    assert lowered == FieldType(c4, "2xtrivial+3xirrep(1)+restricted(D4,regular)")
    np.testing.assert_array_equal(lowered.matrices(), d4.matrices()[:4])
    assert d4.restrict(D4) is d4


def test_inducing_multiplies_channels_by_the_index():
    fields = FieldType(CyclicGroup(4), "2xtrivial+irrep(1)+regular")
    raised = fields.induce(D4)
    assert raised.spec == "2xquotient(C4)+induced(C4,irrep(1))+induced(C4,regular)"
    assert raised.channels == 2 * fields.channels
    with pytest.raises(GroupError, match="not a subgroup"):
        fields.induce(DihedralGroup(3))


def test_continuous_types():
    fields = FieldType(SO2(), "8xirrep(0)+8xirrep(1)")
    assert (fields.channels, fields.n_fields, fields.is_permutation) == (24, 16, False)
    assert repr(fields) == "8xirrep(0)+8xirrep(1)[SO2]"
    assert fields.matrices().shape == (3, 24, 24)
    assert trivial_type(O2(), 3).is_permutation
    mixed = FieldType(O2(), "bandlimited(1)+irrep(1,3)+quotient(SO2)")
    finite = mixed.restrict(DihedralGroup(7))
    np.testing.assert_allclose(finite.matrices(), mixed.matrices(), atol=1e-14)
    with pytest.raises(FieldTypeError, match=r"finite group, got SO2\(\); restrict"):
        regular_type(SO2(), 8)
    assert require_finite(D4, "this layer") is D4 is regular_type(D4, 8).finite_group
    with pytest.raises(FieldTypeError, match="enumerates group elements needs a finite group"):
        _ = fields.finite_group
