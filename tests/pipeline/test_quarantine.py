from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilens.pipeline.errors import PipelineError, RejectedObject
from equilens.pipeline.quarantine import (
    ZERO_NOISE,
    QuarantineRow,
    count_by_rule,
    read_quarantine,
    write_quarantine,
)

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=20)


@given(rows=st.lists(st.builds(QuarantineRow, TEXT, TEXT, TEXT, TEXT, TEXT), max_size=4))
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("q") / "quarantine.csv"
    write_quarantine(path, rows)
    assert read_quarantine(path) == rows


def test_no_rows_still_have_a_header(tmp_path):
    write_quarantine(tmp_path / "q.csv", [])
    assert (tmp_path / "q.csv").read_text() == "id,file,rule,value,remedy\n"
    assert read_quarantine(tmp_path / "q.csv") == []


def test_other_tables_are_refused(tmp_path):
    (tmp_path / "q.csv").write_text("id,score\n1,2\n")
    with pytest.raises(PipelineError, match="columns id,file,rule"):
        read_quarantine(tmp_path / "q.csv")


def test_row_of_a_rejection():
    row = QuarantineRow.of("a", ZERO_NOISE.broken("line\n" + "x" * 900), "a.fits")
    assert row.file == "a.fits"
    assert row.rule == "zero-noise"
    assert "\n" not in row.value
    assert len(row.value) == 500
    assert QuarantineRow.of("a", RejectedObject("r", "v", "do", "b"), "a.fits").file == "b"


@pytest.mark.parametrize(
    ("file", "named"),
    [("/sky/night/a.fits", "night/a.fits"), ("/elsewhere/a.fits", "/elsewhere/a.fits"),
     ("b.fits", "b.fits"), ("", "from the object")],
)  # fmt: skip
def test_files_are_named_from_the_source_folder_on(file, named):
    fault = RejectedObject("truncated", "holds 3 bytes", "get it anew", file)
    assert QuarantineRow.of("a", fault, "from the object", Path("/sky")).file == named


def test_counts_are_sorted():
    rows = [QuarantineRow(str(i), "", rule, "", "") for i, rule in enumerate("abbcbc")]
    assert list(count_by_rule(rows).items()) == [("b", 3), ("c", 2), ("a", 1)]
