"""Values at positions: frames, interpolation, masks, and what is refused."""

from __future__ import annotations

import healpy as hp
import numpy as np
import pytest

from equilens.pipeline.errors import MapFrameError, SkyMapError
from equilens.pipeline.skymaps import SkyMapStore, attach_maps, attached_units, ingest_map
from equilens.pipeline.skymaps.frames import spins

NSIDE = 64
GALACTIC_CENTRE = (266.405, -28.936)
RNG = np.random.default_rng(5)
RA = RNG.uniform(0, 360, 2000)
DEC = np.degrees(np.arcsin(RNG.uniform(-1, 1, 2000)))
LETTER = {"galactic": "G", "icrs": "C", "ecliptic": "E"}


def distance_map(lon: float, lat: float) -> np.ndarray:
    """Degrees from a point, RING."""
    centre = hp.ang2vec(lon, lat, lonlat=True)
    vectors = np.array(hp.pix2vec(NSIDE, np.arange(12 * NSIDE**2)))
    return np.degrees(np.arccos(np.clip(centre @ vectors, -1, 1))).astype("f4")


@pytest.fixture
def ingest(write_map, tmp_path):
    def make(columns, name="sky", **options) -> SkyMapStore:
        path = write_map(columns, f"{name}.fits", **options)
        return ingest_map(path, tmp_path / f"{name}.zarr")

    return make


def test_galactic_centre_is_at_the_origin_of_a_galactic_map(ingest):
    store = ingest({"D": distance_map(0, 0)}, unit="deg")
    assert store.lookup(*GALACTIC_CENTRE)["D"][0] < hp.nside2resol(NSIDE, arcmin=True) / 60


def test_wrong_frame_gives_other_values(ingest):
    """Control: if frames were ignored, the test above would pass on any map near ra = dec = 0."""
    for frame in ("C", "E"):
        store = ingest({"D": distance_map(0, 0)}, frame, unit="deg", COORDSYS=frame)
        assert store.lookup(*GALACTIC_CENTRE)["D"][0] > 60


@pytest.mark.parametrize("frame", LETTER)
@pytest.mark.parametrize("ordering", ["RING", "NESTED"])
def test_frames_agree_with_healpy_rotator(ingest, frame, ordering):
    values = RNG.normal(size=12 * NSIDE**2)
    store = ingest({"A": values}, COORDSYS=LETTER[frame], ORDERING=ordering)
    assert store.frame == frame
    lon, lat = RA, DEC
    if frame != "icrs":
        lon, lat = hp.Rotator(coord=["C", LETTER[frame]])(RA, DEC, lonlat=True)
    nest = ordering == "NESTED"
    # healpy's matrices are FK5 ones: beside a pixel's edge the neighbour may be meant
    expected = values[hp.ang2pix(NSIDE, lon, lat, nest=nest, lonlat=True)]
    assert (store.lookup(RA, DEC)["A"] == expected).mean() > 0.999
    smooth = store.lookup(RA, DEC, interpolation="bilinear")["A"]
    expected = hp.get_interp_val(values, lon, lat, nest=nest, lonlat=True)
    assert np.abs(smooth - expected).max() < 1e-3


def test_icrs_lookup_is_healpys(ingest):
    values = RNG.normal(size=12 * NSIDE**2)
    store = ingest({"A": values}, COORDSYS="C")
    near = values[hp.ang2pix(NSIDE, RA, DEC, lonlat=True)]
    assert np.array_equal(store.lookup(RA, DEC)["A"], near)
    smooth = hp.get_interp_val(values, RA, DEC, lonlat=True)
    assert np.allclose(store.lookup(RA, DEC, interpolation="bilinear")["A"], smooth, atol=1e-14)


def test_masked_pixels_and_their_interpolated_neighbours_are_nan(ingest):
    values = RNG.normal(size=12 * NSIDE**2)
    values[hp.ang2pix(NSIDE, 120.0, 30.0, lonlat=True)] = hp.UNSEEN
    store = ingest({"A": values}, COORDSYS="C")
    pixels, weights = hp.get_interp_weights(NSIDE, RA, DEC, lonlat=True)
    touched = ((values[pixels] == hp.UNSEEN) & (weights > 0)).any(axis=0)
    smooth = store.lookup(RA, DEC, interpolation="bilinear")["A"]
    assert np.array_equal(np.isnan(smooth), touched)
    for kind in ("nearest", "bilinear"):
        assert np.isnan(store.lookup(120.0, 30.0, interpolation=kind)["A"][0])


def test_unknown_positions_are_nan(ingest):
    store = ingest({"A": np.ones(12 * NSIDE**2, "f4")})
    ra, dec = np.array([np.nan, 10.0, 10.0]), np.array([0.0, np.nan, 0.0])
    found = store.lookup(ra, dec)["A"]
    assert found.dtype == np.float32
    assert np.array_equal(found, [np.nan, np.nan, 1], equal_nan=True)
    assert store.lookup(np.full(2, np.nan), np.full(2, np.nan))["A"].shape == (2,)
    assert store.lookup(np.array([]), np.array([]))["A"].shape == (0,)


def test_right_ascension_wraps(ingest):
    store = ingest({"A": RNG.normal(size=12 * NSIDE**2)})
    assert np.array_equal(store.lookup(RA, DEC)["A"], store.lookup(RA - 360, DEC)["A"])


def test_only_the_chunks_that_are_needed_are_read(ingest):
    store = ingest({"A": np.arange(12 * NSIDE**2, dtype="f4")}, COORDSYS="C", ORDERING="NESTED")
    inside = hp.pix2ang(NSIDE, np.arange(NSIDE**2), nest=True, lonlat=True)
    for base_pixel in range(1, 12):
        (store.path / f"values/1_A/c/{base_pixel}").unlink()
    assert np.array_equal(store.lookup(*inside)["A"], np.arange(NSIDE**2))
    elsewhere = hp.pix2ang(NSIDE, 5 * NSIDE**2, nest=True, lonlat=True)
    assert store.lookup(*elsewhere)["A"] != 5 * NSIDE**2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dec": 91.0}, "dec must lie in -90..90 degrees, got 91"),
        ({"columns": ["B"]}, r"no column 'B', only \['A'\]"),
        ({"interpolation": "cubic"}, "'cubic'"),
    ],
)
def test_wrong_requests(ingest, options, message):
    store = ingest({"A": np.ones(12 * NSIDE**2, "f4")})
    with pytest.raises(SkyMapError, match=message):
        store.lookup(**{"ra": 0.0, "dec": 0.0, **options})


def test_components_are_known_by_their_partner():
    assert spins(["I_STOKES", "Q_STOKES", "U_STOKES"]) == {
        "I_STOKES": 0,
        "Q_STOKES": 2,
        "U_STOKES": 2,
    }
    assert spins(["Q-POLARISATION", "U-POLARISATION"])["U-POLARISATION"] == 2
    assert set(spins(["gamma1", "gamma2"]).values()) == {2}
    assert spins(["II_COV", "QQ_COV", "QU_COV", "UU_COV"]) == {
        "II_COV": 0,
        "QQ_COV": 4,
        "QU_COV": 4,
        "UU_COV": 4,
    }
    # depth in the u and g bands is no polarisation
    assert set(spins(["depth_u", "depth_g"]).values()) == {0}


def test_polarisation_is_refused_in_another_frame(ingest):
    iqu = {name: RNG.normal(size=12 * NSIDE**2) for name in "IQU"}
    galactic, icrs = ingest(iqu, "galactic"), ingest(iqu, "icrs", COORDSYS="C")
    with pytest.raises(MapFrameError, match=r"'Q' has spin 2.*galactic axes"):
        galactic.lookup(RA, DEC, ["Q"])
    assert list(galactic.lookup(RA, DEC)) == ["I"]
    assert list(icrs.lookup(RA, DEC)) == ["I", "Q", "U"]
    qu = ingest({"Q": iqu["Q"], "U": iqu["U"]}, "qu")
    with pytest.raises(MapFrameError):
        qu.lookup(RA, DEC)
    with pytest.raises(MapFrameError, match="'stokes' has no scalar column"):
        attach_maps(RA, DEC, {"stokes": qu})


def test_attach_maps_names_and_units(ingest):
    nh = ingest({"N": RNG.normal(size=12 * NSIDE**2)}, "nh", unit="cm-2")
    depth = {name: RNG.normal(size=12 * NSIDE**2) for name in ("g", "u")}
    maps = {"nh": nh, "depth": ingest(depth, "depth", unit="mag", COORDSYS="C")}
    ra = np.array([10.0, np.nan])
    attached = attach_maps(ra, np.zeros(2), maps)
    assert list(attached) == ["nh", "depth_g", "depth_u"]
    assert all(np.isfinite(v[0]) and np.isnan(v[1]) for v in attached.values())
    assert attached_units(maps) == {"nh": "cm-2", "depth_g": "mag", "depth_u": "mag"}


def test_real_column_density_against_healpy(real_maps, tmp_path):
    path = real_maps / "h1_nh_HI4PI_healpix_lowres.fits"
    store = ingest_map(path, tmp_path / "nh.zarr", frame="galactic", units="cm^-2")
    sky = hp.read_map(path)
    lon, lat = hp.Rotator(coord=["C", "G"])(RA, DEC, lonlat=True)
    found = attach_maps(RA, DEC, {"nh": store})["nh"]
    assert (found == sky[hp.ang2pix(64, lon, lat, lonlat=True)]).mean() > 0.999
    smooth = attach_maps(RA, DEC, {"nh": store}, "bilinear")["nh"]
    assert np.allclose(smooth, hp.get_interp_val(sky, lon, lat, lonlat=True), rtol=1e-3)
    # the plane is opaque, the poles are not; the wrong frame loses the contrast
    plane, pole = (store.lookup(*GALACTIC_CENTRE)["I"][0], store.lookup(192.859, 27.128)["I"][0])
    assert plane > 30 * pole
    wrong = ingest_map(path, tmp_path / "wrong.zarr", frame="icrs", units="cm^-2")
    assert not np.allclose(wrong.lookup(RA, DEC)["I"], found, rtol=0.1)
