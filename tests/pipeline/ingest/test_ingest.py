import json
from dataclasses import replace

import numpy as np
import pytest

from equilens.pipeline.columns import column_values
from equilens.pipeline.cutouts import CutoutFlag
from equilens.pipeline.errors import StoreError, SurveyError
from equilens.pipeline.ingest import ingest
from equilens.pipeline.ingest.calibrate import njy_per_count
from equilens.pipeline.stores import CutoutStore


def stored(summary):
    return CutoutStore(summary.store).read(slice(0, summary.n_objects))


def test_one_count_at_zero_point_8_9_is_one_jansky():
    # 3631 Jy is magnitude 0 by definition; 8.90 for one Jansky is that, rounded
    assert njy_per_count(np.array([0.0]))[0] == 3.631e12
    assert njy_per_count(np.array([2.5 * np.log10(3631) + 22.5]))[0] == pytest.approx(1)
    assert njy_per_count(np.array([31.4]))[0] == pytest.approx(1, rel=1e-3)


def test_pixels_are_calibrated_once_in_double_precision(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 3)
    batch = stored(ingest(folder, cubes, tmp_path / "s.zarr"))
    factor = 3.631e12 * 10 ** (-0.4 * np.array([27.0, 26.0]))
    for i in range(3):
        expected = (tools.pixels(i).astype("f8") * factor[:, None, None]).astype("f4")
        np.testing.assert_array_equal(batch.images[i], expected)
    np.testing.assert_allclose(batch.noise_njy, np.tile(factor * [1, 2], (3, 1)), rtol=0.15)
    assert not batch.mask.any()
    assert set(batch.flags) == {CutoutFlag.ZEROPOINT_DECLARED}
    assert set(batch.noise_method) == {"lag-differences"}
    np.testing.assert_allclose(batch.ra, [150, 150.01, 150.02], atol=1e-9)
    np.testing.assert_allclose(batch.dec, 2, atol=1e-9)


@pytest.mark.parametrize(("side", "flag"), [(40, CutoutFlag.CROPPED), (20, CutoutFlag.PADDED)])
def test_other_sizes_keep_their_centre_and_position(tmp_path, cubes, tools, side, flag):
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    images = tools.pixels(1, (2, side, side))
    (tmp_path / "in").mkdir()
    header = tools.wcs(10.0, -5.0, centre=3.0)
    (tmp_path / "in/a.fits").write_bytes(tools.fits_bytes(images, **header))
    batch = stored(ingest(tmp_path / "in", cubes, tmp_path / "s.zarr"))
    factor = njy_per_count(np.array([27.0, 26.0]))
    middle = images[:, side // 2, side // 2].astype("f8") * factor
    np.testing.assert_allclose(batch.images[0, :, 16, 16], middle, rtol=1e-6)
    assert batch.flags[0] & flag
    assert batch.mask[0].sum() == 2 * max(0, 33 * 33 - side * side)
    moved = WCS(Header.fromstring(batch.wcs_header[0], sep="\n"))
    sky = moved.pixel_to_world(16, 16)
    assert sky.ra.deg == pytest.approx(batch.ra[0], abs=1e-9)
    assert sky.dec.deg == pytest.approx(batch.dec[0], abs=1e-9)


def test_masked_pixels_are_zero_and_a_masked_centre_is_flagged(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 2)
    images = tools.pixels(0)
    images[0, 3, 4], images[1, 16, 15] = 100.0, np.nan
    (folder / "o00000.fits").write_bytes(tools.fits_bytes(images))
    batch = stored(ingest(folder, cubes, tmp_path / "s.zarr"))
    assert np.argwhere(batch.mask).tolist() == [[0, 0, 3, 4], [0, 1, 16, 15]]
    assert not batch.images[batch.mask].any()
    assert [bool(f & CutoutFlag.MASKED_CENTRE) for f in batch.flags] == [True, False]
    assert [bool(f & CutoutFlag.NO_POSITION) for f in batch.flags] == [True, False]


def test_manifest_columns_are_carried(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 2)
    name = "EUCL J041506.35-500042.7"
    lines = ["id,path,grade,z,is_lens", f"{name},o00000.fits,A,0.5,1", "007,o00001.fits,,,0"]
    (folder / "m.csv").write_text("\n".join(lines))
    batch = stored(ingest(folder / "m.csv", cubes, tmp_path / "s.zarr"))
    assert batch.ids.tolist() == [name, "007"]
    assert batch.columns["grade"].tolist() == ["A", ""]
    assert batch.columns["is_lens"].tolist() == [1, 0]
    assert batch.columns["z"][0] == 0.5
    assert np.isnan(batch.columns["z"][1])


def test_columns_keep_numbers_and_text_apart():
    assert column_values([1, 2]).dtype.kind == "i"
    assert column_values([1.5, 2]).dtype.kind == "f"
    np.testing.assert_array_equal(column_values([1, None]), [1, np.nan])
    assert column_values(["a", None]).tolist() == ["a", ""]
    assert column_values([1, "a"]).tolist() == ["1", "a"]


def test_column_has_one_type_whatever_the_batches(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 300)
    rows = [f"o{i:05d},o{i:05d}.fits,{'' if i < 280 else i},{i}" for i in range(300)]
    (folder / "m.csv").write_text("\n".join(["id,path,sparse,full", *rows]))
    batch = stored(ingest(folder / "m.csv", cubes, tmp_path / "s.zarr"))
    assert np.isnan(batch.columns["sparse"][:280]).all()
    assert batch.columns["sparse"][280:].tolist() == list(range(280, 300))
    assert batch.columns["full"].dtype.kind == "i"


def test_result_does_not_depend_on_the_workers(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 1300)
    for number in (3, 700, 1299):
        (folder / f"o{number:05d}.fits").write_bytes(b"")
    done = []
    alone = ingest(folder, cubes, tmp_path / "a.zarr", workers=1)
    many = ingest(folder, cubes, tmp_path / "b.zarr", workers=3, progress=lambda *n: done.append(n))
    one, other = CutoutStore(alone.store), CutoutStore(many.store)
    assert one.fingerprint == other.fingerprint
    assert one.manifest["shards"] == other.manifest["shards"]
    assert alone.quarantine.read_bytes() == many.quarantine.read_bytes()
    assert [n for n, _ in done] == sorted(n for n, _ in done)
    assert done[-1][0] == 1300


def test_two_sightings_in_overlapping_files_become_one(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 3)
    masked = tools.pixels(9)
    masked[:, :5] = np.nan
    offset = 0.3 / 3600
    again = tools.fits_bytes(masked, **tools.wcs(150.01, 2.0 + offset))
    (folder / "tile2_o1.fits").write_bytes(again)
    (folder / "a_first.fits").write_bytes(tools.fits_bytes(masked, **tools.wcs(150.02, 2.0)))
    summary = ingest(folder, cubes, tmp_path / "s.zarr")
    batch = stored(summary)
    assert batch.ids.tolist() == ["o00000", "o00001", "o00002"]
    assert [bool(f & CutoutFlag.MERGED_DUPLICATE) for f in batch.flags] == [False, True, True]
    assert (summary.n_merged, summary.n_quarantined) == (2, 0)
    lines = (summary.store / "merged.csv").read_text().splitlines()
    assert lines[0] == "id,kept_id,separation_arcsec,file"
    assert lines[2] == "tile2_o1,o00001,0.3,tile2_o1.fits"
    apart = ingest(folder, cubes, tmp_path / "t.zarr", merge_radius_arcsec=0.2)
    assert apart.n_merged == 1
    never = ingest(folder, cubes, tmp_path / "u.zarr", merge_radius_arcsec=0)
    assert (never.n_objects, never.n_merged) == (5, 0)


def test_manifest_says_how_many_were_rejected(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 4)
    (folder / "o00001.fits").write_bytes(b"")
    summary = ingest(folder, cubes, tmp_path / "s.zarr")
    config = CutoutStore(summary.store).manifest["config"]
    assert (config["n_found"], config["n_quarantined"], config["n_merged"]) == (4, 1, 0)
    assert summary.by_rule == {"not-fits": 1}
    assert json.loads(json.dumps(summary.to_dict()))["n_objects"] == 3
    assert "stored 3 of 4 objects" in str(summary)
    assert summary.n_bytes_read > 3 * 2 * 33 * 33 * 4
    assert summary.n_bytes_written > 10_000


def test_tolerance_is_a_share_of_what_was_found(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 4)
    (folder / "o00001.fits").write_bytes(b"")
    assert ingest(folder, cubes, tmp_path / "a.zarr", tolerance=0.25).within_tolerance
    assert not ingest(folder, cubes, tmp_path / "b.zarr", tolerance=0.24).within_tolerance


def test_dry_run_foresees_what_headers_show(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 4)
    bad = folder / "o00001.fits"
    bad.write_bytes(bad.read_bytes()[:5000])
    (folder / "o00002.fits").write_bytes(b"no")
    lines = ["id,path", "a,o00000.fits", "b,o00001.fits", "c,o00002.fits", "a,o00003.fits"]
    (folder / "m.csv").write_text("\n".join(lines))
    dry = ingest(folder / "m.csv", cubes, tmp_path / "s.zarr", dry_run=True)
    assert not (tmp_path / "s.zarr").exists()
    wet = ingest(folder / "m.csv", cubes, tmp_path / "s.zarr")
    assert dry.dry_run
    assert dry.by_rule == {"truncated": 1, "not-fits": 1, "duplicate-id": 1}
    assert (dry.n_objects, dry.by_rule) == (wet.n_objects, wet.by_rule)
    assert dry.n_bytes_read == wet.n_bytes_read
    assert "would store 1 of 4" in str(dry)


def test_dry_run_reads_no_pixel(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 1)
    (folder / "o00000.fits").write_bytes(tools.fits_bytes(np.full((2, 33, 33), np.nan)))
    assert ingest(folder, cubes, tmp_path / "s.zarr", dry_run=True).n_objects == 1


def test_existing_store_is_refused_before_any_work(tmp_path, cubes, tools):
    folder = tools.write_cubes(tmp_path / "in", 1)
    ingest(folder, cubes, tmp_path / "s.zarr")
    with pytest.raises(StoreError, match="--replace"):
        ingest(folder, cubes, tmp_path / "s.zarr")
    assert ingest(folder, cubes, tmp_path / "s.zarr", replace=True).n_objects == 1


def test_empty_source_is_an_error(tmp_path, cubes):
    (tmp_path / "in").mkdir()
    with pytest.raises(SurveyError):
        ingest(tmp_path / "in", cubes, tmp_path / "s.zarr")
    assert not (tmp_path / "s.zarr").exists()


def test_cutting_from_tiles(tmp_path, cubes, tools):
    tile = tools.pixels(3, (2, 200, 200))
    (tmp_path / "in").mkdir()
    header = tools.wcs(10.0, 0.0, centre=101.0)
    (tmp_path / "in/tile.fits").write_bytes(tools.fits_bytes(tile, **header))
    step = 0.2 / 3600
    rows = [("mid", 10.0, 0.0), ("edge", 10.0 + 95 * step, 0.0), ("far", 50.0, 0.0)]
    rows.append(("mid", 10.0, 20 * step))
    table = "\n".join(["id,ra,dec,grade", *(f"{i},{ra!r},{dec!r},A" for i, ra, dec in rows)])
    (tmp_path / "where.csv").write_text(table)
    summary = ingest(tmp_path / "in", cubes, tmp_path / "s.zarr", positions=tmp_path / "where.csv")
    batch = stored(summary)
    assert batch.ids.tolist() == ["mid", "edge"]
    assert batch.columns["grade"].tolist() == ["A", "A"]
    assert summary.by_rule == {"duplicate-id": 1, "no-tile": 1}
    factor = njy_per_count(np.array([27.0, 26.0]))[:, None, None]
    expected = (tile[:, 84:117, 84:117].astype("f8") * factor).astype("f4")
    np.testing.assert_array_equal(batch.images[0], expected)
    assert batch.flags[1] & CutoutFlag.TILE_EDGE
    assert batch.mask[1].any()


def test_noise_plane_is_preferred(tmp_path, cubes, tools):
    from astropy.io import fits

    layout = replace(cubes.layout, kind="extensions", image="{band}", rms="{band}_RMS")
    survey = replace(cubes, layout=layout)
    hdus = [fits.PrimaryHDU()]
    for index, band in enumerate("gr"):
        planes = {
            band: tools.pixels(index, (1, 33, 33))[0],
            f"{band}_RMS": np.full((33, 33), 5.0 + index, "f4"),
        }
        # astropy would write `name=` in capitals
        hdus += [fits.ImageHDU(v, fits.Header({"EXTNAME": k})) for k, v in planes.items()]
    (tmp_path / "in").mkdir()
    fits.HDUList(hdus).writeto(tmp_path / "in/a.fits")
    batch = stored(ingest(tmp_path / "in", survey, tmp_path / "s.zarr"))
    assert batch.noise_method[0] == "rms-plane"
    assert batch.flags[0] & CutoutFlag.NOISE_FROM_RMS
    expected = njy_per_count(np.array([27.0, 26.0])) * [5, 6]
    np.testing.assert_allclose(batch.noise_njy[0], expected, rtol=1e-6)
