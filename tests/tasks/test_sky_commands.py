"""`equilens sky spectrum` and `equilens sky evaluate`, as a user types them."""

import argparse

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.skymaps.writer import write_map_store

NSIDE = 16
MAP = np.random.default_rng(3).normal(size=12 * NSIDE**2)


@pytest.fixture
def store(tmp_path):
    columns = {"T": np.where(np.arange(MAP.size) < 300, np.nan, MAP), "N": np.abs(MAP)}
    return write_map_store(tmp_path / "map.zarr", columns, ordering="ring").path


def test_a_spectrum_is_anafasts(equilens_json, store, tmp_path):
    out = tmp_path / "cl.csv"
    words = ("sky", "spectrum", store, "--column", "T", "--lmax", "30", "--iter", "2")
    code, facts = equilens_json(*words, "--out", out)
    assert code == 0
    assert facts["lmax"] == 30
    table = np.genfromtxt(out, delimiter=",", names=True)
    expected = hp.anafast(np.where(np.arange(MAP.size) < 300, hp.UNSEEN, MAP), lmax=30, iter=2)
    np.testing.assert_allclose(table["cl"], expected, rtol=1e-6)


def test_ambiguous_columns_give_one_line(equilens, store, tmp_path):
    code, out, err = equilens("sky", "spectrum", store, "--out", tmp_path / "cl.csv")
    assert code == 1
    assert not out
    assert err.count("\n") == 1
    assert "name one with --column" in err
    assert not (tmp_path / "cl.csv").exists()


def test_a_sky_without_shear_gives_one_line(equilens, store, tmp_path):
    prior = tmp_path / "prior.json"
    prior.write_text("{}")
    code, _, err = equilens("sky", "evaluate", store, "--prior", prior, "--out", tmp_path / "out")
    assert code == 1
    assert err.count("\n") == 1
    assert "holds no convergence prior" in err


def test_a_sky_is_named_once(equilens, store, tmp_path):
    code, _, err = equilens("sky", "evaluate", store, store, "--out", tmp_path / "out")
    assert code == 2
    assert "name each once" in err


def test_methods_on_the_command_line_are_all_there_are():
    from equilens.pipeline.masses.baselines import METHODS
    from equilens.tasks.commands.sky_evaluate import METHODS as DECLARED
    from equilens.tasks.commands.sky_evaluate import add_evaluate

    assert DECLARED == METHODS
    verbs = argparse.ArgumentParser().add_subparsers()
    add_evaluate(verbs, argparse.ArgumentParser(add_help=False))
    args = verbs.choices["evaluate"].parse_args([__file__, "--out", "x"])
    assert args.strict is False
    assert args.methods == METHODS
