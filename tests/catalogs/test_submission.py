"""Submissions in every spelling, joined to truth without losing an object or a bit."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.catalogs.errors import SubmissionError
from equilens.catalogs.ranking import place_among_published, published_ranking
from equilens.catalogs.submission import (
    join_scores,
    lowest_scores,
    read_submission,
    score_submission,
    write_submission,
)

SPELLINGS = {
    "blanks": "7 0.25\n007  -1e-3\n",
    "comma": "7,0.25\n007, -1e-3\n",
    "tab": "7\t0.25\n007\t-1e-3\n",
    "header": "ID score\n7 0.25\n007 -1e-3\n",
    "comments": "# ID score\n\n7,0.25\n# half time\n007,-1e-3\n",
    "quoted": '"ID","p"\n"7","0.25"\n"007","-1e-3"\n',
    "other order": "score,ID\n0.25,7\n-1e-3,007\n",
    "more columns": "ra,id,probability\n1,7,0.25\n2,007,-1e-3\n",
    "byte order mark": "\ufeff7,0.25\n007,-1e-3\n",
    "carriage returns": "7,0.25\r\n007,-1e-3\r\n",
}


def write(tmp_path, text, name="submission.txt"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings(tmp_path, spelling):
    submission = read_submission(write(tmp_path, SPELLINGS[spelling]))
    assert submission.ids.tolist() == ["7", "007"]
    assert submission.scores.tolist() == [0.25, -1e-3]


def test_tables_by_column_name(tmp_path):
    table = Table({"obj": ["7", "007"], "mag": [20.0, 21.0], "p": [0.25, -1e-3]})
    table.write(tmp_path / "t.fits")
    table.write(tmp_path / "t.vot", format="votable")
    table.write(tmp_path / "t.csv")
    pq.write_table(pa.table({n: table[n].tolist() for n in table.colnames}), tmp_path / "t.parquet")
    for name in ("t.fits", "t.vot", "t.csv", "t.parquet"):
        submission = read_submission(tmp_path / name, id_column="obj", score_column="p")
        assert submission.ids.tolist() == ["7", "007"]
        assert submission.scores.tolist() == [0.25, -1e-3]
        with pytest.raises(SubmissionError, match="name it with id_column"):
            read_submission(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0.5\n1 0.7\n", "unique, got 1 repeated"),
        ("1 0.5\n2 high\n", "must be numbers"),
        ("1 0.5\n2\n", "line 2 has 1 fields"),
        ("1\n2\n", "an ID and a score"),
        ("1,0.5,0.3\n2,0.7,0.1\n", "no header"),
        ("", "no data"),
    ],
)
def test_unreadable_submissions_say_why(tmp_path, text, message):
    with pytest.raises(SubmissionError, match=message):
        read_submission(write(tmp_path, text))


@settings(deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=20)
)
def test_written_scores_come_back_to_the_last_bit(tmp_path_factory, scores):
    path = tmp_path_factory.mktemp("s") / "submission.csv"
    write_submission([f"o{i}" for i in range(len(scores))], scores, path)
    assert read_submission(path).scores.tolist() == scores
    assert [p.name for p in path.parent.iterdir()] == ["submission.csv"]


def test_iau_names_as_ids_need_a_comma(tmp_path):
    names = ["EQL J041507.95-500042.7", "EQL J000000.00+000000.0"]
    write_submission(names, [1, 2], tmp_path / "s.csv", delimiter=",")
    assert read_submission(tmp_path / "s.csv").ids.tolist() == names
    with pytest.raises(SubmissionError, match="holds the delimiter"):
        write_submission(names, [1, 2], tmp_path / "s.csv")


def test_quarantined_objects_get_the_lowest_score(tmp_path):
    scores = lowest_scores([2.0, np.nan, -5.0, -np.inf])
    assert scores[1] == scores[3] < -5
    assert scores[[0, 2]].tolist() == [2, -5]
    assert lowest_scores([np.nan]).tolist() == [0]
    with pytest.raises(SubmissionError, match="1 finite scores of 2"):
        write_submission(["a", "b"], [1, np.nan], tmp_path / "s.csv")


def test_join_keeps_the_keys_order_and_counts_what_does_not_match():
    key = np.array(["a", "b", "c", "d"], dtype=object)
    with pytest.raises(SubmissionError, match=r"got 1 of 4 without, such as 'd', and 1 NaN"):
        join_scores(key, ["c", "x", "a", "b"], [3, 9, 1, np.nan])
    joined = join_scores(key, ["c", "x", "a", "b"], [3, 9, 1, np.nan], missing_as_lowest=True)
    assert joined.scores.tolist() == [1, -np.inf, 3, -np.inf]
    assert (joined.n_missing, joined.n_unknown, joined.n_not_a_number) == (1, 1, 1)
    with pytest.raises(SubmissionError, match="compared as text"):
        join_scores(["1"], ["1.0e+00"], [3], missing_as_lowest=True)


def test_missing_objects_stay_in_the_denominator(tmp_path):
    key = write(tmp_path, "ID,is_lens\n" + "".join(f"{i},{int(i < 5)}\n" for i in range(20)))
    found = write(tmp_path, "".join(f"{i} {20 - i}\n" for i in range(2, 20)), "s.txt")
    with pytest.raises(SubmissionError, match="--missing-as-lowest"):
        score_submission(found, key)
    report = score_submission(found, key, missing_as_lowest=True)
    assert (report["n_lenses"], report["n_nonlenses"], report["n_missing"]) == (5, 15, 2)
    assert report["tpr0"] == 3 / 5
    assert report["auroc"] == pytest.approx(3 / 5)


def test_an_infinite_score_is_the_highest_and_json_stays_strict(tmp_path):
    key = write(tmp_path, "ID,is_lens\n1,1\n2,0\n3,1\n")
    report = score_submission(write(tmp_path, "1 inf\n2 0.5\n3 -inf\n", "s.txt"), key)
    assert (report["tpr0"], report["auroc"], report["f_beta_threshold"]) == (0.5, 0.5, None)
    json.dumps(report, allow_nan=False)


def test_ties_and_rounded_scores_follow_the_formulas(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 1000)
    scores = np.round(rng.normal(labels, 1), 1)
    key = write(tmp_path, "ID,is_lens\n" + "".join(f"{i},{x}\n" for i, x in enumerate(labels)))
    order = rng.permutation(1000)
    found = write(tmp_path, "".join(f"{i} {scores[i]}\n" for i in order), "s.txt")
    report = score_submission(found, key)
    lenses, others = scores[labels == 1], np.sort(scores[labels == 0])[::-1]
    wins = (lenses[:, None] > others).mean() + (lenses[:, None] == others).mean() / 2
    assert report["auroc"] == pytest.approx(wins, abs=1e-12)
    assert report["tpr0"] == pytest.approx(np.mean(lenses > others[0]), abs=1e-12)
    assert report["tpr10"] == pytest.approx(np.mean(lenses > others[9]), abs=1e-12)


def test_single_precision_would_lose_tpr0(tmp_path):
    """Negative control: two scores that float32 can not tell apart."""
    key = write(tmp_path, "ID,is_lens\n1,1\n2,0\n")
    found = write(tmp_path, "1 0.99999999999\n2 0.99999999998\n", "s.txt")
    assert score_submission(found, key)["tpr0"] == 1
    assert np.float32(0.99999999999) == np.float32(0.99999999998)


@pytest.mark.skipif(not os.environ.get("EQUILENS_DATA"), reason="EQUILENS_DATA is not set")
def test_real_scores_of_a_published_network():
    path = Path(os.environ["EQUILENS_DATA"]) / "challenge" / "ground" / "real_scores_2000.csv"
    report = score_submission(path, path, score_column="probs")
    assert report["auroc"] == pytest.approx(0.91680892, abs=5e-9)
    assert report["tpr0"] == 0
    assert (report["n_lenses"], report["n_nonlenses"], report["n_missing"]) == (814, 1186, 0)


def test_published_ranking():
    assert len(published_ranking("space")) == 15
    assert len(published_ranking("ground")) == 16
    assert published_ranking("space")[0].auroc == 0.9325338
    places = place_among_published("ground", {"auroc": 0.975, "tpr0": 0.3, "tpr10": None})
    assert {name: place.place for name, place in places.items()} == {"auroc": 3, "tpr0": 1}
    assert places["tpr0"].best.tpr0 == 0.2237273
