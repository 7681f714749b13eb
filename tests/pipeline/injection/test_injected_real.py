"""Injection into real DES and Euclid cutouts; they are read where EQUILENS_DATA points."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from equilens.pipeline.ingest import ingest
from equilens.pipeline.injection.inject import inject_store
from equilens.pipeline.injection.moves import Moves, move_cutouts
from equilens.pipeline.injection.parents import refuse_shared_parents, shares_parents
from equilens.pipeline.injection.plan import InjectionPlan
from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.surveys.registry import get_survey

DATA = Path(os.environ.get("EQUILENS_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif(
    not os.environ.get("EQUILENS_DATA"), reason="EQUILENS_DATA names no folder of real files"
)
FAINT = InjectionPlan(lens_mag_limit=25.0)


def ingested(path, source, survey):
    ingest(DATA / source, get_survey(survey), path)
    return CutoutStore(path)


@pytest.fixture(scope="module")
def des(tmp_path_factory):
    folder = tmp_path_factory.mktemp("des")
    store = ingested(folder / "real.zarr", "des_lrg", "des-cube")
    return store, inject_store(store, get_survey("des-cube"), 230, 1, folder / "injected.zarr")


@pytest.fixture(scope="module")
def euclid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("euclid")
    store = ingested(folder / "real.zarr", "euclid_q1/labels.csv", "euclid-mer")
    survey = get_survey("euclid-mer")
    return store, inject_store(store, survey, 96, 1, folder / "injected.zarr", FAINT)


def test_every_des_galaxy_carries_lenses_and_others(des):
    store, injected = des
    config = injected.manifest["config"]
    assert (config["n_backgrounds"], config["n_quarantined"]) == (23, 0)
    batch = injected.read(slice(0, 230))
    ids, lens = batch.columns["parent_id"], batch.columns["is_lens"] == 1
    for name in store.facts("ids"):
        assert 3 <= lens[ids == name].sum() <= 7
    assert np.isfinite(batch.images).all()
    # red galaxies of redshift 0.3 to 0.6 split images by about an arcsec
    assert 0.6 < np.median(batch.columns["einstein_radius_arcsec"][lens]) < 1.5
    assert 0.2 < np.median(batch.columns["z_lens"][lens]) < 0.8


def test_corners_of_des_cutouts_do_not_tell_lenses_apart(des):
    batch = des[1].read(slice(0, 230))
    lens = batch.columns["is_lens"] == 1
    for band in range(5):
        corner = batch.images[:, band, 4:16, 4:16].std(axis=(1, 2))
        assert ks_2samp(corner[lens], corner[~lens]).pvalue > 0.01


def test_real_lenses_are_never_backgrounds(euclid):
    store, injected = euclid
    rows = read_quarantine(injected.path / "quarantine.csv")
    refused = {row.id for row in rows if row.rule == "known-lens"}
    lenses = set(store.facts("ids")[store.facts("columns/is_lens") == 1])
    assert len(lenses) == 3
    assert lenses <= refused
    assert not lenses & set(injected.facts("columns/background_id"))
    # the lens's own frame is named, so that it can not be ranked by who trained on its field
    assert set(injected.facts("columns/parent_id")) == set(store.facts("columns/parent"))


def test_real_sky_stays_real(euclid):
    store, injected = euclid
    batch = injected.read(slice(0, 96))
    rows = {name: k for k, name in enumerate(store.facts("ids"))}
    c = batch.columns
    parents = store.read(slice(0, 12)).take([rows[i] for i in c["background_id"]])
    shift = np.stack([c["shift_x"], c["shift_y"]], axis=1).astype(int)
    moves = Moves(c["mirror"] == 1, c["quarter_turns"].astype(int), shift)
    moved = move_cutouts(parents, moves)
    real = c["object_class"] == "real"
    assert batch.images[real].tobytes() == moved.images[real].tobytes()
    faint = (c["arc_snr"] > 0) & (c["arc_snr"] < 60)
    unchanged = (batch.images == moved.images)[faint, 0].mean()
    assert unchanged > 0.3


def test_frames_that_were_trained_on_can_not_be_ranked(euclid, tmp_path):
    store, injected = euclid
    assert shares_parents(store, [injected.path]).all()
    with pytest.raises(SimulationError, match="12 of 12 objects"):
        refuse_shared_parents(store, [injected.path])
    # without the labels' frames, the sky tells
    plain = ingested(tmp_path / "plain.zarr", "euclid_q1/field", "euclid-mer")
    assert shares_parents(plain, [injected.path]).sum() >= 8
