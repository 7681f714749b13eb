"""SphericalMassMapper: shapes, residual start, symmetry, patches, masks."""

from __future__ import annotations

from dataclasses import replace

import healpy as hp
import numpy as np
import pytest
import torch
from torch import Tensor

from equilens.models.errors import InputSpecError
from equilens.models.spherical.mapper_spec import MapperSpec, network_inputs
from equilens.models.spherical.mass_mapper import MassEstimate, SphericalMassMapper
from equilens.models.spherical.tile_geometry import TileGeometry
from equilens.models.spherical.tiles import Tiling

NSIDE, N_BINS = 32, 2
SPEC = MapperSpec(
    nside=NSIDE,
    n_bins=N_BINS,
    n_linear=N_BINS,
    n_filtered=1,
    kappa_scale=0.02,
    galaxies_per_pixel=(50.0, 60.0),
    scalars=4,
    vectors=2,
    tensors=2,
)
EQUIVARIANCE_TOLERANCE = 3e-4


@pytest.fixture(scope="module")
def mapper() -> SphericalMassMapper:
    return outspoken(SPEC)


def outspoken(spec: MapperSpec) -> SphericalMassMapper:
    """With a last layer that says something, as after training."""
    torch.manual_seed(0)
    network = SphericalMassMapper(spec).eval()
    torch.nn.init.normal_(network.head.last.weight, std=0.3)
    return network


@pytest.fixture(scope="module")
def whole() -> TileGeometry:
    return TileGeometry(NSIDE, np.arange(12 * NSIDE**2))


def run(mapper: SphericalMassMapper, geometry, scalars: Tensor, shear: Tensor) -> MassEstimate:
    with torch.no_grad():
        return mapper(geometry, scalars, shear)


def random_sky(seed: int = 0, nside: int = NSIDE) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    n_pixels = 12 * nside**2
    sky = rng.normal(scale=0.02, size=(1, N_BINS, 4, n_pixels)).astype(np.float32)
    sky[:, :, 2] = rng.poisson(50, size=(1, N_BINS, n_pixels))
    sky[:, :, 3] = sky[:, :, 2] / 0.26**2
    linear = rng.normal(scale=0.01, size=(1, N_BINS + 1, n_pixels)).astype(np.float32)
    return torch.from_numpy(sky), torch.from_numpy(linear)


def test_shear_is_divided_by_its_noise_and_masked_pixels_are_nothing():
    sky, linear = random_sky()
    sky[..., 3, :10] = 0
    sky[..., :2, :10] = torch.nan
    scalars, shear = network_inputs(SPEC, sky, linear)
    assert scalars.shape == (1, SPEC.scalar_inputs, 12 * NSIDE**2)
    expected = sky[:, :, :2, 10:] * sky[:, :, 3:4, 10:].sqrt()
    torch.testing.assert_close(shear[..., 10:], expected)
    assert (shear[..., :10] == 0).all()
    assert (scalars[:, : 3 * N_BINS, :10] == 0).all()


def test_an_untaught_mapper_is_the_linear_estimate(whole):
    sky, linear = random_sky()
    estimate = run(SphericalMassMapper(SPEC), whole, *network_inputs(SPEC, sky, linear))
    torch.testing.assert_close(estimate.kappa, linear[:, 0])
    assert all(part.shape == (1, 12 * NSIDE**2) for part in estimate)
    assert estimate.log_variance.unique().numel() == 1


def test_what_a_masked_pixel_holds_changes_nothing(mapper, whole):
    sky, linear = random_sky()
    masked = torch.arange(sky.shape[-1]) % 7 == 0
    sky[..., 3, masked] = 0
    other = sky.clone()
    other[..., :2, masked] = 5.0
    other[..., 2, masked] = torch.nan
    first, second = (run(mapper, whole, *network_inputs(SPEC, s, linear)) for s in (sky, other))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("depth", "nside", "core_nside"), [(1, 32, 4), (1, 32, 8), (2, 64, 8)])
def test_a_patch_with_its_margin_says_what_the_whole_sky_says(depth, nside, core_nside):
    mapper = outspoken(replace(SPEC, depth=depth, nside=nside))
    inputs = network_inputs(SPEC, *random_sky(nside=nside))
    expected = run(mapper, TileGeometry(nside, np.arange(12 * nside**2)), *inputs)
    block = 2**depth
    tiling = Tiling(nside, core_nside, nside // block, rings=-(-mapper.reach // block))
    # at a pole, at a corner of three base pixels, and on the equator
    places = np.array([[0, 0, 1.0], hp.pix2vec(1, 0), [1, 0, 0.0], [np.sqrt(5), 0, 2.0]])
    for number in {int(hp.vec2pix(core_nside, *place, nest=True)) for place in places}:
        tile = tiling.tile(number)
        there = run(mapper, tile.geometry, *(part[..., tile.pixels] for part in inputs))
        for part, whole_part in zip(there, expected, strict=True):
            torch.testing.assert_close(
                part[:, : tile.core_size], whole_part[:, tile.core], rtol=1e-4, atol=2e-5
            )


def test_a_margin_that_is_too_narrow_is_seen(mapper, whole):
    """Negative control of the test above."""
    inputs = network_inputs(SPEC, *random_sky())
    expected = run(mapper, whole, *inputs).kappa
    tile = Tiling(NSIDE, 4, NSIDE // 4, rings=1).tile(0)
    there = run(mapper, tile.geometry, *(part[..., tile.pixels] for part in inputs)).kappa
    assert (there[:, : tile.core_size] - expected[:, tile.core]).abs().max() > 1e-3 * 0.02


def rotated_pair(lmax: int, seed: int) -> tuple[list, list]:
    """Alm of all input maps, and the same after one random rotation."""
    rng = np.random.default_rng(seed)
    angles = rng.uniform(0, 2 * np.pi), np.arccos(rng.uniform(-1, 1)), rng.uniform(0, 2 * np.pi)
    power = np.where(np.arange(lmax + 1) < 2, 0.0, 1.0 / lmax**2)
    made, turned = [], []
    for _ in range(SPEC.scalar_inputs + N_BINS):
        white = rng.normal(size=(2, hp.Alm.getsize(lmax)))
        alm = hp.almxfl(white[0] + 1j * white[1], np.sqrt(power))
        alm[: lmax + 1] = alm[: lmax + 1].real
        made.append(alm)
        after = alm.copy()
        hp.rotate_alm(after, *angles, lmax=lmax)
        turned.append(after)
    return [made, angles], [turned, angles]


def maps_of(alms: list, lmax: int) -> tuple[Tensor, Tensor]:
    scalars = [hp.alm2map(a, NSIDE, lmax, pol=False) for a in alms[: SPEC.scalar_inputs]]
    shear = [
        hp.alm2map_spin([a, np.zeros_like(a)], NSIDE, 2, lmax) for a in alms[SPEC.scalar_inputs :]
    ]
    ring = hp.nest2ring(NSIDE, np.arange(12 * NSIDE**2))
    as_tensor = (np.stack(part)[..., ring].astype(np.float32) for part in (scalars, shear))
    scalar_maps, shear_maps = as_tensor
    # faint scalars: what the head sees of them directly would hide what the shear does
    return 0.1 * torch.from_numpy(scalar_maps)[None], torch.from_numpy(shear_maps)[None]


def equivariance_error(network, whole: TileGeometry, lmax: int, seed: int) -> float:
    """Of the halo logit, relative to its own variation, up to the inputs' lmax."""
    (made, angles), (turned, _) = rotated_pair(lmax, seed)
    ring = hp.ring2nest(NSIDE, np.arange(12 * NSIDE**2))
    said = []
    for alms in (made, turned):
        logit = run(network, whole, *maps_of(alms, lmax)).halo_logit[0].double().numpy()
        said.append(hp.map2alm((logit - logit.mean())[ring], lmax, iter=3))
    hp.rotate_alm(said[0], *angles, lmax=lmax)
    return float(np.linalg.norm(said[0] - said[1]) / np.linalg.norm(said[1]))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rotated_sky_gives_the_rotated_map(mapper, whole, seed):
    assert equivariance_error(mapper, whole, NSIDE // 4, seed) < EQUIVARIANCE_TOLERANCE


def test_half_a_shear_is_not_equivariant(mapper, whole):
    """Negative control: γ1 alone means something else after a rotation."""

    def half(geometry, scalars, shear):
        return mapper(geometry, scalars, shear * torch.tensor([[1.0], [0.0]]))

    class Half(torch.nn.Module):
        forward = staticmethod(half)

    assert equivariance_error(Half(), whole, NSIDE // 4, 0) > 3 * EQUIVARIANCE_TOLERANCE


def test_a_specification_that_cannot_be_is_refused():
    with pytest.raises(InputSpecError, match="nside must be a power of two, got 48"):
        MapperSpec(48, 1, 1, 0, 0.01, (1.0,))
    with pytest.raises(InputSpecError, match="one number for each of 2 bins"):
        MapperSpec(64, 2, 1, 0, 0.01, (1.0,))
    assert MapperSpec.from_dict(SPEC.to_dict()) == SPEC
