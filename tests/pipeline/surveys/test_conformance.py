"""The public conformance suite passes for every survey that ships, and fails for broken ones."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from equilens.pipeline.surveys import Survey, get_survey
from equilens.pipeline.surveys.conformance import SurveyConformance


class TestBolognaSpace(SurveyConformance):
    survey = get_survey("bologna-space")


class TestBolognaGround(SurveyConformance):
    survey = get_survey("bologna-ground")


class TestEuclid(SurveyConformance):
    survey = get_survey("euclid-mer")


class TestPanstarrs1(SurveyConformance):
    survey = get_survey("panstarrs1")


class TestDesCube(SurveyConformance):
    survey = get_survey("des-cube")


class TestLsstLike(SurveyConformance):
    survey = get_survey("lsst-like")


@dataclass(frozen=True)
class SwappedBands(Survey):
    def read(self, ref, max_bytes=2**28):
        raw = super().read(ref, max_bytes)
        return replace(raw, images=np.ascontiguousarray(raw.images[::-1]))


@dataclass(frozen=True)
class UnmaskedNans(Survey):
    def read(self, ref, max_bytes=2**28):
        raw = super().read(ref, max_bytes)
        raw.images[:, 0, 0] = np.nan
        return raw


@dataclass(frozen=True)
class LosesObjects(Survey):
    def discover(self, source, night=None):
        yield from list(super().discover(source, night))[1:]


@dataclass(frozen=True)
class ForgivesEverything(Survey):
    def read(self, ref, max_bytes=2**28):
        try:
            return super().read(ref, max_bytes)
        except Exception:
            return super().read(next(r for r in super().discover(ref.root) if r.id != ref.id))


@dataclass(frozen=True)
class ShiftedPositions(Survey):
    def read(self, ref, max_bytes=2**28):
        raw = super().read(ref, max_bytes)
        return replace(raw, ra=raw.ra + self.pixel_scale_arcsec / 3600)


BROKEN = [
    (SwappedBands, "test_reads_the_pixels_that_were_written_band_by_band"),
    (UnmaskedNans, "test_reads_the_pixels_that_were_written_band_by_band"),
    (LosesObjects, "test_finds_every_object_once_and_in_a_stable_order"),
    (ForgivesEverything, "test_a_truncated_file_costs_its_objects_and_no_others"),
    (ForgivesEverything, "test_a_file_that_is_not_fits_costs_its_objects_and_no_others"),
    (ForgivesEverything, "test_a_missing_file_is_rejected_by_name"),
    (ShiftedPositions, "test_positions_are_those_of_the_centre_pixel"),
]


@pytest.mark.parametrize(
    ("kind", "test"), BROKEN, ids=lambda value: getattr(value, "__name__", value)
)
def test_suite_fails_for_a_broken_survey(kind, test, tmp_path):
    sound = get_survey("lsst-like")
    suite = SurveyConformance()
    suite.survey = kind(**{name: getattr(sound, name) for name in sound.__dataclass_fields__})
    with pytest.raises(AssertionError):
        getattr(suite, test)(tmp_path)


class Changeable(Survey):
    __setattr__ = object.__setattr__


def test_suite_fails_for_a_survey_that_can_be_changed():
    sound = get_survey("lsst-like")
    suite = SurveyConformance()
    suite.survey = Changeable(**{n: getattr(sound, n) for n in sound.__dataclass_fields__})
    with pytest.raises(AssertionError, match="can be changed"):
        suite.test_is_a_frozen_value_that_workers_can_receive()
