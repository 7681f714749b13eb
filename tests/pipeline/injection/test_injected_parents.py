"""Frames, splits and known lenses: who may be a background, and who was one."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equilens.catalogs.lenscat import load_lenscat
from equilens.pipeline.injection.parents import (
    PARENTS_FILE,
    ParentSplit,
    known_lens_rows,
    lens_checks,
    parent_frames,
    refuse_shared_parents,
    shares_parents,
    used_parents,
    write_parents,
)
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.toy import toy_cutouts, write_toy_store


def store_of(path, n=6, columns=None, **facts):
    """Toy cutouts 3.3 arcsec wide, a degree apart, with other facts."""
    batch = toy_cutouts(n)
    facts = {"ra": 10.0 + np.arange(n), "dec": np.full(n, 70.0)} | facts
    batch = dataclasses.replace(batch, columns=columns or {}, **facts)
    return write_toy_store(path, batch)


def text(*values):
    return np.array(values, dtype=object)


def test_frames_come_from_columns_then_tiles_then_ids(tmp_path):
    files = text("tile.fits", "tile.fits", "one.fits", "", "", "two.fits")
    plain = store_of(tmp_path / "tiles.zarr", source_file=files)
    ids = plain.facts("ids")
    assert list(parent_frames(plain)) == ["tile.fits", "tile.fits", *ids[2:]]
    named = text("F1", "F1", "F2", "", "nan", "F3")
    labelled = store_of(tmp_path / "named.zarr", columns={"parent": named}, source_file=files)
    assert list(parent_frames(labelled)) == ["F1", "F1", "F2", ids[3], ids[4], "F3"]


def test_a_cube_without_positions_is_no_frame(tmp_path):
    nowhere = np.full(6, np.nan)
    cube = store_of(tmp_path / "c.zarr", ra=nowhere, dec=nowhere, source_file=text(*["cube"] * 6))
    assert list(parent_frames(cube)) == list(cube.facts("ids"))


@given(
    names=st.lists(st.text(max_size=8), min_size=1, max_size=40),
    share=st.floats(0, 1),
)
def test_a_split_is_disjoint_whole_and_the_same_everywhere(names, share):
    frames = np.array(names, dtype=object)
    sides = [ParentSplit(side, share).takes(frames) for side in ("training", "held-out")]
    assert (sides[0] ^ sides[1]).all()
    # the order and the company of a name change nothing
    again = ParentSplit("held-out", share).takes(frames[::-1])[::-1]
    np.testing.assert_array_equal(again, sides[1])
    assert not set(frames[sides[0]]) & set(frames[sides[1]])


def test_shares_and_names_are_held_out():
    frames = np.array([f"frame-{k}" for k in range(4000)], dtype=object)
    few, many = (ParentSplit("held-out", share).takes(frames) for share in (0.2, 0.5))
    assert few.mean() == pytest.approx(0.2, abs=0.03)
    assert not (few & ~many).any()  # a larger share only adds parents
    named = ParentSplit("training", 0.0, ("frame-7",)).takes(frames)
    assert list(frames[~named]) == ["frame-7"]
    for wrong in ({"side": "test"}, {"hold_out": 1.5}):
        with pytest.raises(SimulationError):
            ParentSplit(**wrong)


def test_the_split_is_not_that_of_validation():
    """With one hash for both, holding out a fifth would leave no parents to validate by."""
    from equilens.pipeline.training.data import _share

    frames = np.array([f"frame-{k}" for k in range(4000)], dtype=object)
    trained = frames[ParentSplit("training", 0.2).takes(frames)]
    validation = np.array([_share(name) < 0.1 for name in trained])
    assert validation.mean() == pytest.approx(0.1, abs=0.02)


def test_known_lenses_and_the_sky_around_them_are_refused(tmp_path):
    # object 1 lies an arcsec from object 0, the lens; object 2 six arcsec off
    dec = 70.0 + np.array([0, 1, 6, 0, 0, 0]) / 3600
    ra = np.array([10.0, 10.0, 10.0, 13.0, 14.0, 15.0])
    known = load_lenscat()
    ra[3], dec[3] = known["ra"][0].as_py(), known["dec"][0].as_py()
    labels = np.array([1, 0, 0, 0, 0, 0])
    store = store_of(tmp_path / "s.zarr", columns={"is_lens": labels}, ra=ra, dec=dec)
    (tmp_path / "more.csv").write_text("ra,dec,is_lens\n14,70,1\n15,70,0\n")
    rows = known_lens_rows(store, [tmp_path / "more.csv"])
    assert sorted(rows) == [0, 1, 3, 4]
    assert {row.rule for row in rows.values()} == {"known-lens"}
    assert "1.0 arcsec" in rows[1].value
    assert "lenscat" in rows[3].value
    assert rows[0].id == store.facts("ids")[0]
    assert lens_checks(store, [tmp_path / "more.csv"]) == {
        "labelled": True,
        "n_with_position": 6,
        "tables": ["more.csv"],
    }


def test_lenses_are_known_by_id_where_there_is_no_position(tmp_path):
    store = store_of(tmp_path / "s.zarr", ra=np.full(6, np.nan), dec=np.full(6, np.nan))
    (tmp_path / "ids.csv").write_text(f"ID\n{store.facts('ids')[2]}\n")
    assert sorted(known_lens_rows(store, [tmp_path / "ids.csv"])) == [2]
    (tmp_path / "bad.csv").write_text("name,mag\nx,1\n")
    with pytest.raises(SimulationError, match="column id, or ra and dec"):
        known_lens_rows(store, [tmp_path / "bad.csv"])


def test_an_unclear_label_is_refused_too(tmp_path):
    labels = np.array([0.0, 0.5, np.nan, 0, 0, 0])
    store = store_of(tmp_path / "s.zarr", columns={"is_lens": labels})
    assert sorted(known_lens_rows(store)) == [1]


def test_overlap_is_found_by_name_id_and_sky(tmp_path):
    frames = {"parent": text(*"aabbcc")}
    store = store_of(tmp_path / "s.zarr", columns=frames)
    counts = {"n_lenses": np.array([3]), "n_nonlenses": np.array([2])}
    write_parents(store.path / PARENTS_FILE, store, np.array([2]), counts)
    table = used_parents(store.path)
    assert table["parent_id"].to_pylist() == ["b"]
    assert table["n_lenses"].to_pylist() == [3]
    # the frame by its name: both of its objects
    assert list(shares_parents(store, [store.path])) == [False, False, True, True, False, False]
    # without names, the object by its ID; elsewhere on the sky under other names, by position
    plain = store_of(tmp_path / "plain.zarr")
    assert list(np.flatnonzero(shares_parents(plain, [store.path]))) == [2]
    other = store_of(tmp_path / "o.zarr", ids=text(*"uvwxyz"))
    assert list(np.flatnonzero(shares_parents(other, [store.path]))) == [2]
    apart = store_of(tmp_path / "a.zarr", ids=text(*"uvwxyz"), dec=np.full(6, 60.0))
    refuse_shared_parents(apart, [store.path])
    with pytest.raises(SimulationError, match=r"1 of 6 objects .* trained on"):
        refuse_shared_parents(other, [store.path])
    with pytest.raises(SimulationError, match="not made by injection"):
        used_parents(plain.path)
