"""Objects over nights: never doubled, never lost, under one name."""

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.catalogs.candidates import build_catalog
from equilens.catalogs.lenscat import load_lenscat
from equilens.pipeline.nightly.history import Matching, fold_night, match_objects

NIGHTS = tuple(date(2026, 11, day) for day in (1, 2, 3))
BY_BOTH = Matching(1.0, True, "visit")
BY_PLACE = Matching(1.0, False, "visit")


def night_table(ids, ra, dec, scores, sha="a"):
    n = len(ids)
    return build_catalog(
        list(ids),
        ra,
        dec,
        scores,
        "sky",
        conditions={"flags": np.full(n, "", object), "out_of_domain": np.full(n, "", object)},
        constants={"model_sha256": sha},
        lenscat=load_lenscat().slice(0, 1),
    )


def places(n, offset_arcsec=0.0):
    return 10 + np.arange(n) / 100 + offset_arcsec / 3600, np.zeros(n)


def fold(tables, rules=BY_BOTH):
    before = None
    for night, table in zip(NIGHTS, tables, strict=False):
        found = fold_night(before, table, night, rules)
        before = found.cumulative
    return found


def row_of(table, name):
    return next(row for row in table.to_pylist() if row["name"] == name)


def test_scores_of_repeated_visits_have_the_mean_and_scatter_of_numpy():
    scores = np.array([[1.0, -2.0], [3.0, 0.5], [2.5, 4.0]])
    found = fold([night_table("ab", *places(2), row) for row in scores])
    for row in found.cumulative.to_pylist():
        own = scores[:, "ab".index(row["id"])]
        assert row["score"] == row["mean_score"] == pytest.approx(own.mean())
        assert row["score_scatter"] == pytest.approx(own.std(ddof=1))
        assert (row["best_score"], row["last_score"]) == (own.max(), own[-1])
        assert (row["n_nights"], row["n_independent_scores"]) == (3, 3)


def test_scores_of_overlapping_coadds_are_not_averaged():
    tables = [night_table("a", *places(1), [score]) for score in (1.0, 3.0)]
    found = fold(tables, Matching(1.0, True, "coadd"))
    (row,) = found.cumulative.to_pylist()
    assert (row["score"], row["n_scores"], row["n_independent_scores"]) == (3.0, 2, 1)


def test_another_network_starts_the_scores_anew_and_ranks_first():
    tables = [
        night_table("ab", *places(2), [9.0, 8.0], sha="old"),
        night_table("b", *[values[1:] for values in places(2)], [1.0], sha="new"),
    ]
    rows = fold(tables).cumulative.to_pylist()
    assert [(row["id"], row["score"], row["n_scores"]) for row in rows] == [
        ("b", 1.0, 1),
        ("a", 9.0, 1),
    ]
    assert rows[0]["n_nights"] == 2


def test_a_place_within_the_radius_is_the_same_object_and_one_beyond_is_another():
    first = night_table(["a"], *places(1), [0.0])
    near, far = (night_table(["b"], *places(1, apart), [0.0]) for apart in (0.99, 1.01))
    assert fold([first, near]).cumulative.num_rows == 1
    assert fold([first, far]).cumulative.num_rows == 2


def test_a_chain_of_sightings_does_not_wander_off():
    tables = [night_table([k], *places(1, 0.8 * n), [0.0]) for n, k in enumerate("abc")]
    found = fold(tables)
    assert found.cumulative.num_rows == 2
    assert sorted(found.cumulative["n_nights"].to_pylist()) == [1, 2]


def test_an_id_at_another_place_is_a_conflict_and_another_object():
    first, second = (night_table(["a"], *places(1, apart), [0.0]) for apart in (0.0, 30.0))
    found = fold([first, second])
    assert (found.n_id_conflicts, found.cumulative.num_rows) == (1, 2)
    assert fold([first, second], BY_PLACE).n_id_conflicts == 0


def test_without_positions_the_id_decides():
    unknown = np.full(2, np.nan)
    tables = [night_table("ab", unknown, unknown, [0.0, 1.0]) for _ in range(2)]
    assert fold(tables).cumulative.num_rows == 2
    assert fold(tables, BY_PLACE).cumulative.num_rows == 4


def test_the_closest_pair_is_joined_and_each_object_once():
    earlier = fold([night_table(["x"], *places(1), [0.0])]).cumulative
    ra, _ = places(1)
    objects = night_table(["p", "q"], np.append(ra + 0.6 / 3600, ra - 0.3 / 3600), [0, 0], [2, 1])
    home, _ = match_objects(earlier, objects, BY_BOTH)
    assert dict(zip(objects["id"].to_pylist(), home.tolist(), strict=True)) == {"p": -1, "q": 0}


def test_two_objects_in_the_cell_of_one_name_have_two_names():
    apart = Matching(0.01, False, "visit")
    tables = [night_table([k], *places(1, 0.05 * n), [0.0]) for n, k in enumerate("ab")]
    names = fold(tables, apart).cumulative["name"].to_pylist()
    assert len(set(names)) == 2
    assert sorted(names)[1] == sorted(names)[0] + "a"


def test_the_catalogue_carries_the_lasting_name():
    tables = [night_table([k], *places(1, 0.5 * n), [0.0]) for n, k in enumerate("ab")]
    first = fold(tables[:1]).catalogue["name"][0].as_py()
    row = fold(tables).catalogue.to_pylist()[0]
    assert (row["name"], row["first_night"], row["n_nights"]) == (first, "2026-11-01", 2)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.sets(st.integers(0, 8), min_size=1), min_size=1, max_size=3), st.booleans())
def test_every_object_is_there_once_with_its_number_of_nights(seen, renamed):
    tables = []
    for number, members in enumerate(seen):
        which = np.array(sorted(members))
        ids = [f"{number if renamed else ''}-{k}" for k in which]
        ra, dec = places(9, 0.1 * number)
        tables.append(night_table(ids, ra[which], dec[which], which.astype(float)))
    found = fold(tables).cumulative
    counts = {round((row["ra"] - 10) * 100): row["n_nights"] for row in found.to_pylist()}
    assert counts == {k: sum(k in members for members in seen) for k in set().union(*seen)}
    assert len(set(found["name"].to_pylist())) == found.num_rows


def test_types_stay_whatever_is_missing():
    first = fold([night_table("a", *places(1), [0.0])]).cumulative
    with_probability = night_table("b", *places(1, 99), [1.0]).append_column(
        "probability", pa.array([0.5])
    )
    found = fold_night(first, with_probability, NIGHTS[1], BY_BOTH).cumulative
    assert found.schema.field("probability").type == pa.float64()
    assert {row["id"]: row["probability"] for row in found.to_pylist()} == {"a": None, "b": 0.5}
