"""Field types as values."""

import numpy as np
import pytest

from equilens.models.errors import FieldTypeError
from equilens.models.fields import FieldType, regular_type, require_permutation, trivial_type
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
