"""Injection into made-up cutouts with everything known: light, pixels, truth and labels."""

import dataclasses
import math

import numpy as np
import pyarrow.csv
import pytest
import torch
from scipy.stats import ks_2samp
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

from equilens.pipeline.cutouts import CutoutBatch
from equilens.pipeline.injection.backgrounds import find_backgrounds
from equilens.pipeline.injection.deflectors import DeflectorPool, centrals_of
from equilens.pipeline.injection.exposure import photon_noise
from equilens.pipeline.injection.inject import INJECTION_COLUMNS, add_light, inject_store
from equilens.pipeline.injection.light import CentralLight
from equilens.pipeline.injection.moves import Moves, move_cutouts
from equilens.pipeline.injection.parents import used_parents
from equilens.pipeline.injection.plan import InjectionPlan, ParentSplit, Schedule
from equilens.pipeline.injection.sources import draw_chunk, paste_sources
from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.simulation.conditions import SurveyConditions
from equilens.pipeline.simulation.errors import SimulationError
from equilens.pipeline.simulation.exposure import prepare
from equilens.pipeline.simulation.lensing import magnification, ray_shoot
from equilens.pipeline.simulation.truth import TRUTH_COLUMNS
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.stores import CutoutStore

N_PARENTS, N = 14, 224
SMALL_RINGS = InjectionPlan(einstein_radius_arcsec=(0.4, 0.7))


def made_up(survey, n=N_PARENTS, seed=5):
    """Elliptical Gaussian galaxies in white noise; some lack a band, all have a bad column."""
    rng = np.random.default_rng(seed)
    ny, nx = survey.shape
    y, x = np.mgrid[:ny, :nx] - 30.0
    q, turn = rng.uniform(0.5, 0.9, (2, n, 1, 1)) * [[[[1]]], [[[3]]]]
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    shape = np.exp(-(u**2 + (v / q) ** 2) / (2 * 4.0**2)) / (2 * np.pi * 16 * q)
    noise = np.array([band.noise_njy for band in survey.bands]) * rng.uniform(0.8, 1.2, (n, 4))
    flux = 10 ** (-0.4 * (rng.uniform(19.5, 21.5, n) - 31.4))[:, None, None, None]
    images = flux * shape[:, None] + rng.normal(size=(n, 4, ny, nx)) * noise[:, :, None, None]
    mask, present = np.zeros(images.shape, bool), np.ones((n, 4), bool)
    mask[:, :, :, 50] = True
    present[:3, 3] = False
    mask |= ~present[:, :, None, None]
    empty = np.full(n, "", dtype=object)
    return CutoutBatch(
        ids=np.array([f"real-{k}" for k in range(n)], dtype=object),
        images=np.where(mask, 0, images).astype(np.float32),
        mask=mask,
        ra=np.linspace(10, 80, n),
        dec=np.full(n, 75.0),
        noise_njy=np.where(present, noise, np.nan).astype(np.float32),
        noise_method=np.full(n, "known", dtype=object),
        psf_fwhm_arcsec=np.tile([band.psf_fwhm_arcsec for band in survey.bands], (n, 1)).astype(
            np.float32
        ),
        pixel_scale_arcsec=np.full(n, 0.1, np.float32),
        band_present=present,
        flags=np.zeros(n, np.uint32),
        wcs_header=empty,
        source_file=empty,
        source_checksum=empty,
        columns={
            "is_lens": (np.arange(n) == 0).astype(np.int64),
            "parent": np.array([f"frame-{k // 2}" for k in range(n)], dtype=object),
        },
    )


def write(path, survey, batch):
    with CutoutWriter(path, survey=survey.name, bands=survey.band_names, shape=survey.shape) as w:
        w.append(batch)
    return CutoutStore(path)


@pytest.fixture(scope="module")
def real(survey, tmp_path_factory):
    return write(tmp_path_factory.mktemp("real") / "real.zarr", survey, made_up(survey))


@pytest.fixture(scope="module")
def injected(survey, real, tmp_path_factory):
    out = tmp_path_factory.mktemp("injected") / "out.zarr"
    return inject_store(real, survey, N, 3, out, SMALL_RINGS)


@pytest.fixture(scope="module")
def pixels(injected):
    return injected.read(slice(0, N))


@pytest.fixture(scope="module")
def pool(survey):
    setting = prepare(survey, SurveyConditions(moffat_beta=(math.inf,)), "cpu")
    return DeflectorPool.draw(setting, 0, None, (0.4, 0.7))


def moved_parents(real, batch):
    """The real cutouts of a batch, moved as its columns say."""
    rows = {name: k for k, name in enumerate(real.facts("ids"))}
    c = batch.columns
    parents = real.read(slice(0, real.n_objects)).take([rows[i] for i in c["background_id"]])
    shift = np.stack([c["shift_x"], c["shift_y"]], axis=1).astype(int)
    return move_cutouts(parents, Moves(c["mirror"] == 1, c["quarter_turns"].astype(int), shift))


def named(*names, n):
    return np.resize(np.array(names, dtype=object), n)


def central(n, galaxies, scale=0.1):
    """Round galaxies at the very centre."""
    still = CentralLight(
        x=np.zeros(n),
        y=np.zeros(n),
        moments=np.tile([25.0, 0.0, 25.0], (n, 1)),
        radius=np.full(n, 10.0),
        flux=np.ones(n),
        snr=np.ones(n),
    )
    return centrals_of(still, galaxies, np.full(n, 0.17), scale)


def paste(survey, pool, classes):
    """Sources on empty, unmasked sky, through Gaussian PSFs."""
    setting = prepare(survey, SurveyConditions(moffat_beta=(math.inf,)), "cpu")
    rng, n = np.random.default_rng(0), len(classes)
    centrals = central(n, pool.like(rng, np.full(n, 20.5)))
    noise = np.tile([band.noise_njy for band in survey.bands], (n, 1))
    fwhm = np.tile([band.psf_fwhm_arcsec for band in survey.bands], (n, 1))
    seen = np.ones((n, 4, *survey.shape), bool)
    with torch.inference_mode():
        return setting, paste_sources(rng, setting, centrals, classes, seen, noise, fwhm), noise


def test_unlensed_light_is_conserved(survey, pool):
    _, pasted, _ = paste(survey, pool, named("projection", n=24))
    got = pasted.light.sum(dim=(2, 3)).numpy()
    np.testing.assert_allclose(np.median(got / pasted.unlensed_njy, axis=0), 1.0, atol=0.01)
    np.testing.assert_allclose(got / pasted.unlensed_njy, 1.0, atol=0.12)


def test_lensed_light_is_magnified_alike_in_every_band(survey, pool):
    _, pasted, _ = paste(survey, pool, named("lens", n=24))
    magnification = pasted.light.sum(dim=(2, 3)).numpy() / pasted.unlensed_njy
    # a source within the cut of an isothermal lens is magnified by more than 2 θ_E / |β| ≥ 2
    assert (magnification[:, 0] > 1.4).all()
    assert 2.0 < np.median(magnification) < 8.0
    spread = magnification / magnification[:, :1]
    np.testing.assert_allclose(np.median(spread, axis=0), 1.0, atol=0.05)


def mirrored_light(survey, pool, name, n=24):
    """Share of each source's light in images of negative parity: only a second image has one."""
    setting = prepare(survey, SurveyConditions(), "cpu")
    rng = np.random.default_rng(1)
    centrals = central(n, pool.like(rng, np.full(n, 20.5)))
    owner, systems, _ = draw_chunk(rng, setting, centrals, named(name, n=n), np.arange(n))
    n = len(owner)
    axis = torch.linspace(-5, 5, 161)
    y, x = (t.expand(n, -1, -1) for t in torch.meshgrid(axis, axis, indexing="ij"))
    lens, source = systems.lens.expand(2), systems.source
    beta_x, beta_y = ray_shoot(x, y, lens)
    row = torch.arange(n)
    light = source.host(beta_x.reshape(n, -1), beta_y.reshape(n, -1), row).reshape(x.shape)
    mirrored = light * (magnification(x, y, lens) < 0)
    return (mirrored.sum(dim=(1, 2)) / light.sum(dim=(1, 2))).numpy()


def test_only_lenses_have_a_second_image(survey, pool):
    # a few percent of the widest profiles' wings cross the cut all the same
    aligned = mirrored_light(survey, pool, "alignment")
    assert np.median(aligned) < 0.01
    assert aligned.max() < 0.06
    assert mirrored_light(survey, pool, "projection").max() < 0.01
    assert np.median(mirrored_light(survey, pool, "lens")) > 0.1


def test_photon_noise_is_that_of_the_light_and_of_nothing_else(survey, pool):
    setting, pasted, noise = paste(survey, pool, named("lens", n=4))
    light = pasted.light
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([photon_noise(setting, light, noise, generator) for _ in range(200)])
    assert not draws[:, light == 0].any()
    bright = light > 5 * torch.as_tensor(noise, dtype=torch.float32)[:, :, None, None]
    scatter = (draws[:, bright] - light[bright]).std(dim=0)
    sky = 10 ** (-0.4 * (setting.conditions.sky_mag_per_arcsec2 - 31.4)) * 0.1**2
    gain = torch.as_tensor(sky / noise**2, dtype=torch.float32)[:, :, None, None]
    expected = (light / gain)[bright].sqrt()
    assert float((scatter / expected).mean()) == pytest.approx(1.0, abs=0.02)
    assert float((draws.mean(dim=0)[bright] / light[bright]).mean()) == pytest.approx(1.0, abs=0.01)


def test_no_light_changes_no_bit(survey):
    batch = made_up(survey, 3)
    batch.images[0, 0, 5, 5] = -0.0
    before = batch.images.copy()
    add_light(batch, np.arange(3), np.zeros_like(before), ~batch.mask)
    assert batch.images.tobytes() == before.tobytes()


def test_real_objects_are_the_parents_to_the_bit(real, pixels):
    untouched = pixels.columns["object_class"] == "real"
    moved = moved_parents(real, pixels)
    assert untouched.sum() > 40
    assert pixels.images[untouched].tobytes() == moved.images[untouched].tobytes()
    np.testing.assert_array_equal(pixels.mask, moved.mask)
    np.testing.assert_array_equal(pixels.band_present, moved.band_present)
    np.testing.assert_array_equal(pixels.noise_njy, moved.noise_njy)


def test_pasted_light_leaves_masks_missing_bands_and_the_sky_alone(real, pixels, survey):
    moved = moved_parents(real, pixels)
    assert not pixels.images[pixels.mask].any()
    assert pixels.mask[~pixels.band_present].all()
    changed = pixels.images != moved.images
    pasted = pixels.columns["object_class"] != "real"
    assert changed[pasted].any(axis=(1, 2, 3)).all()
    # VIS light of rings below 0.7 arcsec does not reach the corners of 6.1 arcsec
    lens = pixels.columns["is_lens"] == 1
    assert changed[lens, 0].mean() < 0.9
    extra = pixels.images - moved.images
    y, x = np.mgrid[:61, :61] - 30
    far = np.hypot(y, x) > 28
    assert np.abs(extra[lens, 0][:, far]).sum() < 0.02 * np.abs(extra[lens, 0]).sum()


def test_truth_is_complete_and_lies_beside_the_store(injected, pixels):
    table = pyarrow.csv.read_csv(f"{injected.path}.truth.csv")
    assert table.num_rows == N
    names = ("id", "ra", "dec", *TRUTH_COLUMNS, *INJECTION_COLUMNS)
    assert set(table.column_names) == set(names)
    assert set(pixels.columns) == {*TRUTH_COLUMNS, *INJECTION_COLUMNS}
    c, lens = pixels.columns, pixels.columns["is_lens"] == 1
    assert (c["object_class"][lens] == "lens").all()
    assert set(c["object_class"][~lens]) == {"real", "alignment", "projection"}
    assert np.isnan(c["einstein_radius_arcsec"][~lens]).all()
    radius = c["einstein_radius_arcsec"][lens]
    assert 0.4 <= radius.min() < 0.5 < 0.6 < radius.max() <= 0.7
    assert (c["arc_snr"][lens] > 10).all()
    assert not c["arc_snr"][~lens].any()
    assert (c["z_source"][lens] > c["z_lens"][lens]).all()
    assert (c["magnification"][lens] > 1).all()
    assert np.isfinite(c["depth_mag"]).all()
    np.testing.assert_allclose(c["psf_fwhm_arcsec"], pixels.psf_fwhm_arcsec[:, 0])
    assert len(set(pixels.ids)) == N
    np.testing.assert_array_equal(table["id"].to_pylist(), pixels.ids)


def test_the_store_names_its_parents_and_refuses_lenses(real, injected, pixels):
    config = injected.manifest["config"]
    # frame-0 holds the lens, real-0; its other object is far from it on the sky
    assert config["parents"] == sorted({f"frame-{k // 2}" for k in range(1, N_PARENTS)})
    assert config["background"]["fingerprint"] == real.fingerprint
    (row,) = read_quarantine(injected.path / "quarantine.csv")
    assert (row.id, row.rule) == ("real-0", "known-lens")
    assert "real-0" not in set(pixels.columns["background_id"])
    used = used_parents(injected.path)
    assert sum(used["n_lenses"].to_pylist()) == pixels.columns["is_lens"].sum()
    uses = np.array(used["n_lenses"].to_pylist()) + np.array(used["n_nonlenses"].to_pylist())
    assert uses.max() - uses.min() <= 1


def test_every_parent_carries_both_labels_alike(injected):
    used = used_parents(injected.path)
    lenses, others = (np.array(used[k].to_pylist()) for k in ("n_lenses", "n_nonlenses"))
    np.testing.assert_allclose(lenses / (lenses + others), 0.5, atol=0.11)


def test_the_schedule_keeps_shares_for_any_number_of_uses():
    plan = InjectionPlan(lens_fraction=0.3, pasted_fraction=0.6)
    for n in (50, 501, 3000):
        schedule = Schedule.draw(10, n, 7)
        chunks = list(schedule.chunks(np.arange(10), 0))
        who = np.concatenate([w for w, _ in chunks])
        names = plan.classes(np.concatenate([p for _, p in chunks]))
        assert len(who) == n
        for parent in range(10):
            mine = names[who == parent]
            assert abs((mine == "lens").sum() - 0.3 * len(mine)) < 3
            assert abs((mine == "real").sum() - 0.28 * len(mine)) < 3


def test_objects_follow_from_the_seed(survey, real, tmp_path):
    first, again, other = (
        inject_store(real, survey, 32, seed, tmp_path / f"{k}.zarr", SMALL_RINGS)
        for k, seed in enumerate((3, 3, 4))
    )
    assert again.manifest["shards"] == first.manifest["shards"]
    assert again.fingerprint == first.fingerprint
    assert other.manifest["shards"] != first.manifest["shards"]


def test_both_sides_of_a_split_have_no_parent_in_common(survey, real, tmp_path):
    sides = {}
    for side in ("training", "held-out"):
        plan = dataclasses.replace(SMALL_RINGS, split=ParentSplit(side, 0.5))
        store = inject_store(real, survey, 30, 1, tmp_path / f"{side}.zarr", plan)
        sides[side] = set(store.facts("columns/parent_id"))
        assert sides[side] == set(store.manifest["config"]["parents"])
    assert not sides["training"] & sides["held-out"]
    everyone = {f"frame-{k // 2}" for k in range(1, N_PARENTS)}
    assert sides["training"] | sides["held-out"] == everyone


def corners(batch):
    """What lies outside the arcs: corners of each band, noise, mask and PSF."""
    parts = [batch.images[..., ys, xs] for ys in (slice(3, 11), slice(-11, -3))
             for xs in (slice(3, 11), slice(-11, -3))]  # fmt: skip
    facts = [f(part, axis=(2, 3)) for part in parts for f in (np.mean, np.std)]
    more = [np.nan_to_num(batch.noise_njy), batch.mask.mean(axis=(2, 3)), batch.psf_fwhm_arcsec]
    return np.concatenate([*facts, *more], axis=1)


def forest_auroc(features, labels):
    """Out-of-bag: nothing is judged by trees that saw it."""
    forest = RandomForestClassifier(100, oob_score=True, random_state=0, min_samples_leaf=5)
    forest.fit(features, labels)
    return roc_auc_score(labels, forest.oob_decision_function_[:, 1])


def test_what_surrounds_the_arcs_does_not_tell_the_label(pixels):
    features, labels = corners(pixels), pixels.columns["is_lens"]
    assert forest_auroc(features, labels) < 0.5 + 3 * 0.035
    p = [ks_2samp(f[labels == 1], f[labels == 0]).pvalue for f in features.T if f.std() > 0]
    assert min(p) > 0.01 / len(p)


def test_a_leak_would_be_seen(pixels):
    """The control: photon noise over whole cutouts of lenses, a tenth of the sky's own."""
    labels = pixels.columns["is_lens"]
    rng = np.random.default_rng(0)
    extra = rng.normal(size=pixels.images.shape) * pixels.noise_njy[:, :, None, None] * 0.6
    leaky = pixels.images + np.where(labels[:, None, None, None] & ~pixels.mask, extra, 0)
    leaky = dataclasses.replace(pixels, images=leaky.astype(np.float32))
    assert forest_auroc(corners(leaky), labels) > 0.8


def test_pasting_is_not_the_label(pixels):
    """Pasted light is as bright in impostors as in lenses; parents alone have none."""
    c = pixels.columns
    pasted = c["object_class"] != "real"
    share = np.mean(pasted[c["is_lens"] == 0])
    assert 0.4 < share < 0.6
    assert np.isfinite(c["source_mag"][pasted]).all()
    assert np.isnan(c["source_mag"][~pasted]).all()


def test_impostors_are_as_bright_as_lenses(survey, pool):
    classes = named("lens", "alignment", "projection", n=192)
    _, pasted, _ = paste(survey, pool, classes)
    is_lens = classes == "lens"
    assert ks_2samp(pasted.snr[is_lens], pasted.snr[~is_lens]).pvalue > 0.01


UNUSABLE = {
    "images nought": "no-central-galaxy",
    "images faint": "no-central-galaxy",
    "noise unknown": "unknown-noise-or-psf",
    "psf unknown": "unknown-noise-or-psf",
    "scale other": "other-pixel-scale",
    "mask whole": "no-central-galaxy",
    "mask half": "no-central-galaxy",
    "psf wide": "no-central-galaxy",
    "images bright": "no-deflector",
}


def spoiled(batch, fault):
    """The batch with one fault."""
    values = {
        "images nought": ("images", batch.images * 0),
        "images faint": ("images", batch.images * 0.003),
        "images bright": ("images", batch.images * 1e5),
        "noise unknown": ("noise_njy", batch.noise_njy * np.nan),
        "psf unknown": ("psf_fwhm_arcsec", batch.psf_fwhm_arcsec * 0),
        "psf wide": ("psf_fwhm_arcsec", batch.psf_fwhm_arcsec * 5),
        "scale other": ("pixel_scale_arcsec", batch.pixel_scale_arcsec * 2),
        "mask whole": ("mask", np.ones_like(batch.mask)),
        "mask half": ("mask", batch.mask | (np.mgrid[:61, :61][0] > 34)),
    }
    name, value = values[fault]
    return dataclasses.replace(batch, ids=np.array([fault], dtype=object), **{name: value})


def test_unusable_backgrounds_are_named(survey, pool, tmp_path):
    good = dataclasses.replace(made_up(survey, 6), columns={})
    bad = [spoiled(good.take([4]), fault) for fault in UNUSABLE]
    store = write(tmp_path / "r.zarr", survey, CutoutBatch.concatenate([good.take([3]), *bad]))
    setting = prepare(survey, SurveyConditions(), "cpu")
    found = find_backgrounds(store, setting, pool, InjectionPlan())
    assert {row.id: row.rule for row in found.rejected} == UNUSABLE
    assert (list(found.rows), list(found.frames)) == ([0], ["real-3"])


def test_nothing_to_inject_into_is_an_error_with_its_reasons(survey, real, tmp_path):
    nobody = dataclasses.replace(SMALL_RINGS, split=ParentSplit("held-out", 0.0))
    with pytest.raises(SimulationError, match="14 of 14 are on the other side of the split"):
        inject_store(real, survey, 4, 0, tmp_path / "o.zarr", nobody)
    faint = dataclasses.replace(SMALL_RINGS, lens_mag_limit=19.3)
    with pytest.raises(SimulationError, match="13 no-deflector"):
        inject_store(real, survey, 4, 0, tmp_path / "o.zarr", faint)
    wide = dataclasses.replace(survey, shape=(101, 101))
    with pytest.raises(SimulationError, match="name the survey"):
        inject_store(real, wide, 4, 0, tmp_path / "o.zarr")
    for wrong in ({"lens_fraction": 2}, {"einstein_radius_arcsec": (2, 1)}, {"shift_pixels": -1}):
        with pytest.raises(SimulationError, match=next(iter(wrong))):
            InjectionPlan(**wrong)
    assert not (tmp_path / "o.zarr").exists()
