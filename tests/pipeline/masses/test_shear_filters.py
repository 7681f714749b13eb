"""Kaiser-Squires and the matched filter: closed forms, noise, sign, and what is refused."""

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.masses.control_skies import CONTROLS, write_control_sky
from equilens.pipeline.masses.errors import HaloFilterError, ShearError
from equilens.pipeline.masses.halo_profile import lensing_response, nfw_window
from equilens.pipeline.masses.harmonics import Harmonics
from equilens.pipeline.masses.kaiser_squires import kaiser_squires
from equilens.pipeline.masses.kernels import fejer_nodes, legendre_window, tangential_kernel
from equilens.pipeline.masses.matched_filter import expected_snr, matched_filter
from equilens.pipeline.masses.peaks import find_halo_peaks
from equilens.pipeline.masses.prior import ConvergencePrior
from equilens.pipeline.masses.shear import ShearMaps, read_shear
from equilens.pipeline.skies.nfw import projected, truncation
from equilens.pipeline.skies.pixel_window import pixel_window
from equilens.pipeline.skies.shear_maps import shear_factor
from equilens.pipeline.skymaps.writer import write_map_store

NSIDE, LMAX = 64, 128
SIGMA = 0.02
N_PIXELS = 12 * NSIDE**2
COLATITUDE, LONGITUDE = hp.pix2ang(NSIDE, np.arange(N_PIXELS))
NO_MATTER = ConvergencePrior(np.zeros((LMAX + 1, 1, 1)))


def even(shear, sigma=SIGMA):
    return ShearMaps(np.asarray(shear)[None], np.full((1, N_PIXELS), 1 / sigma**2))


def noise(seed, sigma=SIGMA):
    return sigma * np.random.default_rng(seed).normal(size=(2, N_PIXELS))


def halo(ra, dec, theta200_arcmin, mass):
    """Shear of an NFW halo as the pixels see it, by its harmonics."""
    window = nfw_window(theta200_arcmin, 4, LMAX) * pixel_window(NSIDE, LMAX)
    ell, _m = hp.Alm.getlm(LMAX)
    theta, phi = np.radians(90 - dec), np.radians(ra)
    point = np.zeros(len(ell), complex)
    for k, basis in _harmonics_at(theta, phi):
        point[k] = np.conj(basis)
    return Harmonics(NSIDE, LMAX).shear_from_kappa(mass * window[ell] * point)


def _harmonics_at(theta, phi):
    from scipy.special import sph_harm_y

    ell, m = hp.Alm.getlm(LMAX)
    return enumerate(sph_harm_y(ell, m, theta, phi))


def test_a_lump_shears_tangentially():
    """κ = exp((cos θ - 1)/w²) around the pole: γ_t = 2 cos θ / sin²θ ∫(κ - κ̄) sin θ dθ - κ + κ̄."""
    w2, c = 0.15**2, np.cos(COLATITUDE)
    kappa, mean = np.exp((c - 1) / w2), w2 / 2 * (1 - np.exp(-2 / w2))
    enclosed = w2 * (1 - kappa) - mean * (1 - c)
    tangential = 2 * c / (1 - c**2) * enclosed - kappa + mean
    shear = Harmonics(NSIDE, LMAX).shear_from_kappa(hp.map2alm(kappa, LMAX))
    # γ1 is along the meridian, that is radial around the pole
    np.testing.assert_allclose(-shear[0], tangential, atol=1e-4)
    assert np.abs(shear[1]).max() < 1e-4


def test_a_single_mode_comes_back():
    alm = np.zeros(hp.Alm.getsize(LMAX), complex)
    alm[hp.Alm.getidx(LMAX, 20, 7)] = 1 - 2j
    harmonics = Harmonics(NSIDE, LMAX)
    found = kaiser_squires(even(harmonics.shear_from_kappa(alm)), lmax=LMAX).kappa
    assert np.abs(found - harmonics.scalar(alm)).max() < 5e-3 * np.abs(found).max()
    turned = even(harmonics.shear_from_kappa(alm)).rotated_45_degrees()
    assert np.abs(kaiser_squires(turned, lmax=LMAX).kappa).max() < 5e-3 * np.abs(found).max()


def test_shear_is_healpys():
    alm = hp.synalm(1.0 / (np.arange(LMAX + 1) + 1.0) ** 2, LMAX)
    e_modes = hp.almxfl(alm, shear_factor(LMAX))
    theirs = hp.alm2map_spin([e_modes, 0 * e_modes], NSIDE, 2, LMAX)
    ours = Harmonics(NSIDE, LMAX).shear_from_kappa(alm)
    np.testing.assert_allclose(ours, theirs, atol=1e-10 * np.abs(ours).max())


def test_its_sigma_is_the_scatter_of_noise():
    deviation = np.where(COLATITUDE < 2, SIGMA * (1 + 0.5 * np.cos(LONGITUDE)), 0)
    weight = np.divide(1, deviation**2, out=np.zeros(N_PIXELS), where=deviation > 0)[None]
    squared = 0
    for seed in range(30):
        maps = ShearMaps((noise(seed, 1) * deviation)[None], weight)
        mass = kaiser_squires(maps, fwhm_arcmin=200, lmax=LMAX)
        squared = squared + (mass.kappa / mass.sigma) ** 2 / 30
    seen = deviation > 0
    assert squared[seen].mean() == pytest.approx(1, abs=0.02)
    # the standard error of 30 draws, and no more: it holds pixel by pixel
    assert squared[seen].std() == pytest.approx(np.sqrt(2 / 30), rel=0.1)


def test_the_kernel_of_one_degree_is_the_wigner_function():
    from scipy.special import lpmv

    cosines, weights = fejer_nodes(64)
    e_filter = np.zeros(13)
    e_filter[12] = 4 * np.pi / 25
    expected = lpmv(2, 12, cosines) / np.sqrt(np.prod(np.arange(11.0, 15)))
    np.testing.assert_allclose(tangential_kernel(e_filter, cosines), expected, atol=1e-12)
    assert (weights * cosines**10).sum() == pytest.approx(2 / 11, abs=1e-14)


def test_harmonics_of_a_halo_are_those_of_its_projected_profile():
    """Against quadrature of the surface density over the sky."""
    theta200, concentration = np.radians(30 / 60), 4.0
    edges = np.geomspace(1e-5, 1.0, 4001)
    theta = np.sqrt(edges[1:] * edges[:-1])
    weights = np.sin(theta) * theta * np.diff(np.log(edges))
    surface, _ = projected(theta / theta200 * concentration, truncation(np.array(concentration)))
    expected = legendre_window(surface, np.cos(theta), weights, LMAX)
    found = nfw_window(30, concentration, LMAX)
    np.testing.assert_allclose(found[2:], (expected / expected[0])[2:], atol=2e-3)


def test_noise_alone_has_unit_variance_at_each_scale():
    weight = np.where(np.abs(COLATITUDE - np.pi / 2) > 0.3, 1 / SIGMA**2, 0)[None]
    maps = ShearMaps((noise(3) * (weight > 0))[None], weight)
    for one in matched_filter(maps, NO_MATTER, scales_arcmin=(60, 200)):
        assert one.snr[one.searched].std() == pytest.approx(1, abs=0.02)


def test_matter_and_noise_together_have_unit_variance(gaussian_sky):
    deviations = []
    for seed in range(4):
        _, maps, prior = gaussian_sky(NSIDE, seed, lmax=LMAX)
        for one in matched_filter(maps, prior, scales_arcmin=(60, 200)):
            deviations.append(one.snr[one.searched].std())
    assert np.mean(deviations) == pytest.approx(1, abs=0.02)


def test_a_halo_has_the_expected_signal_to_noise(gaussian_sky):
    _, _, prior = gaussian_sky(NSIDE, 1, sigma=(SIGMA,), mask_below_deg=0, lmax=LMAX)
    power = prior.to(LMAX, 1)[:, 0, 0]
    area = 4 * np.pi / N_PIXELS
    template = nfw_window(150, 4, LMAX) * pixel_window(NSIDE, LMAX)
    mass = 8 / expected_snr(template, power, SIGMA**2 * area)
    maps = even(halo(*hp.pix2ang(NSIDE, 20000, lonlat=True), 150, mass))
    heights = {
        one.theta200_arcmin: one.snr[20000]
        for one in matched_filter(maps, prior, scales_arcmin=(40, 150, 600))
    }
    assert heights[150] == pytest.approx(8, rel=0.01)
    assert heights[150] > max(heights[40], heights[600])


def test_haloes_are_found_where_they_are_and_not_with_the_wrong_sign():
    positions = [(30, 20), (200, -50), (310, 70)]
    mass = 12 / expected_snr(
        nfw_window(100, 4, LMAX) * pixel_window(NSIDE, LMAX),
        np.zeros(LMAX + 1),
        SIGMA**2 * 4 * np.pi / N_PIXELS,
    )
    shear = sum(halo(ra, dec, 100, mass) for ra, dec in positions) + noise(5)

    def found(maps):
        filtered = matched_filter(maps, NO_MATTER, scales_arcmin=(50, 100))
        return find_halo_peaks(filtered, threshold=7, method="matched-filter")

    peaks = found(even(shear))
    assert len(peaks) == 3
    there = hp.ang2vec(peaks.ra, peaks.dec, lonlat=True)
    nearest = (there @ hp.ang2vec(*np.transpose(positions), lonlat=True).T).max(axis=1)
    assert np.degrees(np.arccos(nearest)).max() * 60 < 0.5 * hp.nside2resol(NSIDE, arcmin=True)
    assert len(found(even(-shear))) == 0
    assert len(found(even(shear).rotated_45_degrees())) == 0


def test_a_lens_shears_nothing_in_front_of_it():
    response = lensing_response(0.5, [0.3, 0.8, 2.0])
    assert response[0] == 0
    assert 0 < response[1] < response[2] < 1


@pytest.mark.parametrize("scales", [(), (0.0,), (-3.0,)])
def test_impossible_scales(scales):
    with pytest.raises(HaloFilterError):
        matched_filter(even(noise(1)), NO_MATTER, scales_arcmin=scales)


def store_of(path, **changes):
    columns = {"G1_BIN1": noise(1)[0], "G2_BIN1": noise(1)[1], "WEIGHT_BIN1": np.ones(N_PIXELS)}
    columns |= changes
    return write_map_store(
        path, {k: v for k, v in columns.items() if v is not None}, ordering="ring"
    )


def test_shear_is_read_with_its_mask(tmp_path):
    weight = np.where(COLATITUDE < 1, 2.0, 0.0)
    maps = read_shear(store_of(tmp_path / "sky.zarr", WEIGHT_BIN1=weight))
    assert maps.observed.sum() == (weight > 0).sum()
    assert maps.shares == [1.0]
    assert not maps.shear[:, :, ~maps.observed].any()


def test_noise_only_has_the_noise_and_no_shear():
    maps = ShearMaps(noise(1)[None], np.where(COLATITUDE < 1, 2.0, 0.0)[None])
    control = maps.noise_only(seed=1)
    pulls = (control.shear * np.sqrt(maps.weight)[:, None])[:, :, maps.observed]
    assert pulls.std() == pytest.approx(1, abs=0.02)
    assert abs(np.mean(pulls)) < 5 / pulls.size**0.5
    assert not control.shear[:, :, ~maps.observed].any()
    np.testing.assert_array_equal(control.shear, maps.noise_only(seed=1).shear)


def test_rotated_shear_turns_e_modes_into_b_modes():
    modes = np.zeros((2, hp.Alm.getsize(LMAX)), complex)
    modes[0, hp.Alm.getidx(LMAX, 10, 4)] = 1
    turned = even(np.stack(hp.alm2map_spin(modes, NSIDE, 2, LMAX))).rotated_45_degrees()
    e_mode, b_mode = hp.map2alm_spin(turned.shear[0], 2, LMAX)
    assert hp.alm2cl(e_mode).sum() < 1e-4 * hp.alm2cl(b_mode).sum()
    back = turned.rotated_45_degrees().rotated_45_degrees()
    np.testing.assert_allclose(back.shear, -turned.shear)


@pytest.mark.parametrize("kind", CONTROLS)
def test_a_control_sky_keeps_mask_counts_and_weights(tmp_path, kind):
    weight = np.where(COLATITUDE < 1, 2.0, 0.0).astype(np.float32)
    shear = np.where(weight > 0, noise(1), np.nan).astype(np.float32)
    sky = store_of(
        tmp_path / "sky.zarr",
        G1_BIN1=shear[0],
        G2_BIN1=shear[1],
        COUNT_BIN1=10 * weight,
        WEIGHT_BIN1=weight,
    )
    control = write_control_sky(sky.path, kind, tmp_path / "control.zarr", seed=3)
    for name in ("COUNT_BIN1", "WEIGHT_BIN1"):
        np.testing.assert_array_equal(control.read(name), sky.read(name))
    for name in ("G1_BIN1", "G2_BIN1"):
        np.testing.assert_array_equal(control.read_mask(name), sky.read_mask(name))
    turned = -shear[1] if kind == "rotated" else read_shear(sky).noise_only(3).shear[0, 0]
    seen = weight > 0
    np.testing.assert_array_equal(
        control.read("G1_BIN1", "ring")[seen], turned[seen].astype(np.float32)
    )


def test_shear_keeps_the_precision_of_its_store(tmp_path):
    columns = {"G1_BIN1": noise(1)[0], "G2_BIN1": noise(1)[1], "WEIGHT_BIN1": np.ones(N_PIXELS)}
    single = {name: values.astype(np.float32) for name, values in columns.items()}
    maps = read_shear(store_of(tmp_path / "single.zarr", **single))
    assert maps.shear.dtype == maps.weight.dtype == np.float32
    assert read_shear(store_of(tmp_path / "double.zarr", **columns)).shear.dtype == np.float64
    stacked = maps.stacked()
    assert stacked.shear.dtype == np.float64
    np.testing.assert_array_equal(
        stacked.shear[0], np.stack([single["G1_BIN1"], single["G2_BIN1"]])
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"G2_BIN1": None}, r"\['G2_BIN1'\] are missing"),
        ({"WEIGHT_BIN1": np.zeros(N_PIXELS)}, "every pixel is masked"),
        ({"WEIGHT_BIN1": np.full(N_PIXELS, -1.0)}, "not negative, got -1.0"),
    ],
)
def test_stores_without_usable_shear(tmp_path, changes, message):
    store = store_of(tmp_path / "sky.zarr", **changes)
    with pytest.raises(ShearError, match=message):
        read_shear(store)


def test_shear_of_another_frame_is_refused(tmp_path):
    columns = {"G1_BIN1": noise(1)[0], "G2_BIN1": noise(1)[1], "WEIGHT_BIN1": np.ones(N_PIXELS)}
    store = write_map_store(tmp_path / "g.zarr", columns, ordering="ring", frame="galactic")
    with pytest.raises(ShearError, match="ICRS axes, got galactic"):
        read_shear(store)


def test_a_number_that_is_none_is_refused():
    shear = noise(1)
    shear[0, 7] = np.nan
    with pytest.raises(
        ShearError, match="not finite in 1 pixels with WEIGHT above 0, first RING pi"
    ):
        even(shear)
    with pytest.raises(ShearError, match="12 nside² pixels, got 100"):
        ShearMaps(np.zeros((1, 2, 100)), np.ones((1, 100)))
