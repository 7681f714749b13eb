"""Tests that every survey should pass, for authors of survey plugins.

In a pytest module of your own::

    from equilens.pipeline.surveys.conformance import SurveyConformance

    class TestMySurvey(SurveyConformance):
        survey = my_survey()

Files are written by `write_objects` in the survey's declared layout. A plugin that reads files of
its own kind overrides `write`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np

from equilens.pipeline.errors import RejectedObject
from equilens.pipeline.surveys.check import check_survey
from equilens.pipeline.surveys.objects import ObjectRef, RawCutout
from equilens.pipeline.surveys.survey import Survey
from equilens.pipeline.surveys.synthetic import WrittenObject, write_objects


class SurveyConformance:
    """Subclass it with a ``survey``; pytest collects the rest."""

    survey: Survey

    def write(self, folder: Path) -> list[WrittenObject]:
        """Put at least two objects below `folder`, and say what they hold."""
        return write_objects(self.survey, folder, n=3)

    def test_is_a_frozen_value_that_workers_can_receive(self) -> None:
        assert pickle.loads(pickle.dumps(self.survey)) == self.survey
        assert hash(self.survey) == hash(pickle.loads(pickle.dumps(self.survey)))
        for entry in fields(self.survey):
            try:
                setattr(self.survey, entry.name, None)
            except FrozenInstanceError:
                continue
            raise AssertionError(f"{entry.name} can be changed: make the survey frozen")

    def test_definition_has_no_errors(self) -> None:
        errors = [found for found in check_survey(self.survey) if found.level == "error"]
        assert not errors, errors

    def test_finds_every_object_once_and_in_a_stable_order(self, tmp_path: Path) -> None:
        written = self.write(tmp_path)
        refs = self._refs(tmp_path)
        assert sorted(ref.id for ref in refs) == sorted(item.id for item in written)
        assert all(isinstance(ref.id, str) and ref.fault is None for ref in refs)
        assert [ref.id for ref in self._refs(tmp_path)] == [ref.id for ref in refs]

    def test_reads_the_pixels_that_were_written_band_by_band(self, tmp_path: Path) -> None:
        written = {item.id: item for item in self.write(tmp_path)}
        for ref in self._refs(tmp_path):
            raw, expected = self.survey.read(ref), written[ref.id].images
            self._assert_sound(raw)
            np.testing.assert_array_equal(raw.images[~raw.mask], expected[~raw.mask])
            assert raw.mask.mean() < 0.5, "most pixels are masked"

    def test_positions_are_those_of_the_centre_pixel(self, tmp_path: Path) -> None:
        written = {item.id: item for item in self.write(tmp_path)}
        for ref in self._refs(tmp_path):
            raw = self.survey.read(ref)
            if self.survey.wcs_rule == "none":
                assert np.isnan(raw.ra)
                assert raw.wcs_header == ""
                continue
            item = written[ref.id]
            np.testing.assert_allclose([raw.ra, raw.dec], [item.ra, item.dec], atol=1e-7)

    def test_reads_alike_twice(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        first, second = (self.survey.read(self._refs(tmp_path)[0]) for _ in range(2))
        assert first.checksums == second.checksums
        assert first.images.tobytes() == second.images.tobytes()

    def test_a_truncated_file_costs_its_objects_and_no_others(self, tmp_path: Path) -> None:
        self._assert_one_file_rejected(tmp_path, lambda data: data[: len(data) - 2881])

    def test_a_file_that_is_not_fits_costs_its_objects_and_no_others(self, tmp_path: Path) -> None:
        self._assert_one_file_rejected(tmp_path, lambda data: b"no FITS file\n" * 99)

    def test_a_missing_file_is_rejected_by_name(self, tmp_path: Path) -> None:
        self.write(tmp_path)
        ref = self._refs(tmp_path)[0]
        path = ref.files[0][1]
        path.rename(path.with_name("elsewhere"))
        assert path.name in self._rejection(ref).file

    def _refs(self, folder: Path) -> list[ObjectRef]:
        return list(self.survey.discover(folder))

    def _assert_sound(self, raw: RawCutout) -> None:
        bands, shape = len(self.survey.bands), raw.images.shape[1:]
        assert raw.images.shape == raw.mask.shape == (bands, *shape)
        assert raw.images.dtype == np.dtype("=f4")
        assert raw.mask.dtype == np.dtype(bool)
        assert np.isfinite(raw.images[~raw.mask]).all(), "a pixel that is not finite is not masked"
        assert raw.band_present.shape == raw.zeropoint.shape == (bands,)
        assert np.isfinite(raw.zeropoint[raw.band_present]).all()
        assert len(raw.files) == len(raw.checksums) > 0
        assert all(len(checksum) == 64 for checksum in raw.checksums)

    def _assert_one_file_rejected(self, folder: Path, damage: Callable[[bytes], bytes]) -> None:
        self.write(folder)
        refs = self._refs(folder)
        path = refs[0].files[0][1]
        path.write_bytes(damage(path.read_bytes()))
        for ref in self._refs(folder):
            holds_it = any(path == other for _, other in ref.files)
            if holds_it:
                assert path.name in self._rejection(ref).file
            else:
                self._assert_sound(self.survey.read(ref))

    def _rejection(self, ref: ObjectRef) -> RejectedObject:
        try:
            self.survey.read(ref)
        except RejectedObject as error:
            fault = error
        else:
            raise AssertionError(f"{ref.id} was read from a file that is not whole")
        assert fault.rule, "a rejection names the rule"
        assert fault.remedy, "a rejection names a remedy"
        return fault
