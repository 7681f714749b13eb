"""IAU names: truncation, seams and unknown positions."""

from fractions import Fraction

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.catalogs.errors import PositionError
from equilens.catalogs.naming import candidate_names, iau_name


@pytest.mark.parametrize(
    ("ra", "dec", "name"),
    [
        (63.783125, -(50 + 42.7 / 3600), "J041507.95-500042.7"),
        (63.783125, -(50 + 42.7999 / 3600), "J041507.95-500042.7"),
        (15 * 59.999 / 3600, 59.99 / 3600, "J000059.99+000059.9"),
        (0, 0, "J000000.00+000000.0"),
        (0, -0.0, "J000000.00+000000.0"),
        (0, -1e-6, "J000000.00-000000.0"),
        (359.9999999, 90, "J235959.99+900000.0"),
        (360, -90, "J000000.00-900000.0"),
        (360 - 1e-13, 0, "J000000.00+000000.0"),
        (-1e-20, 0, "J000000.00+000000.0"),
        (-15, 0, "J230000.00+000000.0"),
    ],
)
def test_by_hand(ra, dec, name):
    assert iau_name(ra, dec) == f"EQL {name}"


@settings(deadline=None)
@given(st.floats(0, 359.99999), st.floats(-90, 90))
def test_name_is_the_corner_of_its_cell(ra, dec):
    """Exact rational arithmetic as the oracle: less than one last digit below, never above."""
    name = iau_name(ra, dec).removeprefix("EQL J")
    seconds = int(name[0:2]) * 3600 + int(name[2:4]) * 60 + Fraction(name[4:9])
    arcsec = int(name[10:12]) * 3600 + int(name[12:14]) * 60 + Fraction(name[14:])
    noise = Fraction(1, 10**8)
    assert -noise <= Fraction(ra) * 240 - seconds < Fraction(1, 100)
    assert -noise <= abs(Fraction(dec)) * 3600 - arcsec < Fraction(1, 10)
    assert 0 <= Fraction(name[4:9]) < 60
    assert 0 <= Fraction(name[14:]) < 60
    assert name[9] == ("-" if dec < 0 else "+")


def test_rounding_would_give_another_name():
    """Negative control: astropy's default rounds, and may even write sixty seconds' neighbour."""
    position = SkyCoord(15 * 59.999 / 3600, 0, unit="deg")
    assert position.ra.to_string("hour", sep="", precision=2, pad=True) == "000100.00"
    assert iau_name(position.ra.deg, 0) == "EQL J000059.99+000000.0"


def test_unknown_positions_are_named_by_survey_and_id():
    names = candidate_names([10, np.nan, 10], [5, 5, np.nan], ["a", "b", "c 1"], "des-cube")
    assert names.tolist() == ["EQL J004000.00+050000.0", "EQL des-cube b", "EQL des-cube c 1"]


@pytest.mark.parametrize("position", [(np.nan, 0), (0, 90.1), (np.inf, 0), (0, np.nan)])
def test_no_name_without_a_position(position):
    with pytest.raises(PositionError, match="finite ra"):
        iau_name(*position)
