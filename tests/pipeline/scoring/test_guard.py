"""The guard refuses what cannot work and names, object by object, what was never trained on."""

from types import SimpleNamespace

import numpy as np
import pytest

from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.domain import TrainingDomain, measure_domain
from equilens.pipeline.errors import DomainError
from equilens.pipeline.guard import describe_outside, guard, match_bands
from equilens.pipeline.scores import ScoreStore
from equilens.pipeline.scoring import score
from equilens.pipeline.toy import toy_cutouts, write_toy_store

SPEC = InputSpec(("a", "b"), 0.1, (33, 33))


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    store = write_toy_store(tmp_path_factory.mktemp("d") / "d.zarr", toy_cutouts(400, seed=5))
    return measure_domain([store.table()], ("a", "b"), ("a", "b"))


def changed(tmp_path, **arrays):
    """A toy store of 20 with some arrays replaced."""
    batch = toy_cutouts(20)
    return write_toy_store(tmp_path / "c.zarr", type(batch)(**{**vars(batch), **arrays}))


def test_domain_spans_the_training_set(domain):
    low, high = domain.noise_njy["a"]
    assert 8 < low < 8.2
    assert 11.8 < high < 12
    assert domain.psf_fwhm_arcsec["b"] == pytest.approx((0.2, 0.2))
    assert domain.max_missing_bands == 0
    assert TrainingDomain.from_dict(domain.to_dict()) == domain


def test_like_the_training_set_nothing_is_flagged(domain, tmp_path):
    report = guard(changed(tmp_path), SPEC, domain)
    assert report.n_outside == 0
    assert report.band_index == (0, 1)
    assert not report.notes


def test_each_quantity_is_named_for_its_object_alone(domain, tmp_path):
    batch = toy_cutouts(20)
    noise, psf = batch.noise_njy.copy(), batch.psf_fwhm_arcsec.copy()
    noise[3, 1], psf[5, 0], psf[6, 0] = 40, 0.9, np.nan
    report = guard(changed(tmp_path, noise_njy=noise, psf_fwhm_arcsec=psf), SPEC, domain)
    assert np.flatnonzero(report.outside).tolist() == [3, 5]
    assert describe_outside(int(report.outside[3]), report.checks).startswith(
        "noise_njy in b outside"
    )
    assert "psf_fwhm_arcsec in a" in describe_outside(int(report.outside[5]), report.checks)
    worst = {check.quantity + check.band: check.worst for check in report.checks}
    assert worst["noise_njyb"] == 40
    assert worst["psf_fwhm_arcseca"] == pytest.approx(0.9)


def test_missing_bands_beyond_the_training_are_flagged(domain, tmp_path):
    store = write_toy_store(tmp_path / "m.zarr", toy_cutouts(50, missing_share=0.3))
    report = guard(store, SPEC, domain)
    assert report.n_outside == (~store.read_shard(0).band_present).any(1).sum() > 0
    tolerant = TrainingDomain.from_dict({**domain.to_dict(), "max_missing_bands": 1})
    assert guard(store, SPEC, tolerant).n_outside == 0


def test_pixel_scale_a_little_off_is_flagged_and_far_off_refused(domain, tmp_path):
    scale = np.full(20, 0.11, np.float32)
    assert guard(changed(tmp_path, pixel_scale_arcsec=scale), SPEC, domain).n_outside == 20
    far = tmp_path / "far"
    far.mkdir()
    with pytest.raises(DomainError, match=r'0\.13" a pixel, the network was made for 0\.1"'):
        guard(changed(far, pixel_scale_arcsec=np.full(20, 0.13, np.float32)), SPEC, domain)


def test_other_bands_and_shapes_are_refused(domain, tmp_path):
    store = write_toy_store(tmp_path / "o.zarr", toy_cutouts(5), bands=("a", "q"))
    with pytest.raises(DomainError, match="has bands a q, the network needs a b and b is not"):
        guard(store, SPEC, domain)
    large = write_toy_store(tmp_path / "l.zarr", toy_cutouts(5, side=35))
    with pytest.raises(DomainError, match="cutouts are 35x35 pixels, the network takes 33x33"):
        guard(large, SPEC, domain)


def test_bands_are_found_by_name_and_not_by_place(tmp_path):
    batch = toy_cutouts(70, missing_share=0.2)
    flipped = {
        name: getattr(batch, name)[:, ::-1]
        for name in ("images", "mask", "noise_njy", "psf_fwhm_arcsec", "band_present")
    }
    write_toy_store(tmp_path / "ab.zarr", batch)
    flipped_batch = type(batch)(**{**vars(batch), **flipped})
    write_toy_store(tmp_path / "ba.zarr", flipped_batch, bands=("b", "a"))
    # a store that only claims the order of the first must not give its scores
    write_toy_store(tmp_path / "false.zarr", flipped_batch, bands=("a", "b"))
    weights = save_checkpoint(
        tmp_path / "w.safetensors", build_finder("d4-resnet-nano", SPEC, seed=1), {}
    )
    found = {}
    for name in ("ab", "ba", "false"):
        summary = score(tmp_path / f"{name}.zarr", weights, tmp_path / f"{name}.scores")
        found[name] = ScoreStore(summary.path).scores()
    np.testing.assert_array_equal(found["ab"], found["ba"])
    assert np.abs(found["ab"] - found["false"]).max() > 1e-3


def test_bands_are_matched_by_their_common_names(domain, tmp_path):
    store = write_toy_store(
        tmp_path / "euclid.zarr", toy_cutouts(5), survey="euclid-mer", bands=("VIS", "NIR_Y")
    )
    spec = InputSpec(("y_band", "vis_band"), 0.1, (33, 33))
    common = TrainingDomain.from_dict(
        {
            **domain.to_dict(),
            "bands": spec.bands,
            "generic": ("Y", "VIS"),
            "noise_njy": {"y_band": (1, 99), "vis_band": (1, 99)},
            "psf_fwhm_arcsec": {"y_band": None, "vis_band": None},
        }
    )
    report = guard(store, spec, common)
    assert report.band_index == (1, 0)
    assert "NIR_Y as y_band, VIS as vis_band" in report.notes[0]


def test_flags_and_words_reach_the_scores(domain, tmp_path):
    batch = toy_cutouts(20)
    batch.noise_njy[4, 0] = 99
    write_toy_store(tmp_path / "s.zarr", batch)
    card = {"training_domain": domain.to_dict()}
    weights = save_checkpoint(
        tmp_path / "w.safetensors", build_finder("d4-resnet-nano", SPEC), card
    )
    summary = score(tmp_path / "s.zarr", weights, tmp_path / "out.zarr")
    assert summary.n_out_of_domain == 1
    scores = ScoreStore(tmp_path / "out.zarr")
    assert np.flatnonzero(scores.flags() & 512).tolist() == [4]
    assert np.isfinite(scores.scores()).all()


def test_only_the_band_that_no_other_name_covers_is_called_absent(domain):
    store = SimpleNamespace(path="s", survey_name="panstarrs1", band_names=tuple("grizy"))
    wanted = TrainingDomain.from_dict({**domain.to_dict(), "generic": ("r", "u")})
    with pytest.raises(DomainError, match="needs R U and U is not there"):
        match_bands(store, ("R", "U"), wanted)
