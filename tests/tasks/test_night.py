"""Nights through the command line: small, but every stage and every store is real."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

from equilens.models import InputSpec, build_finder, save_checkpoint
from equilens.pipeline.nightly.config import load_night_config
from equilens.pipeline.nightly.errors import NightError
from equilens.pipeline.nightly.run import STAGES, NightRun
from equilens.pipeline.nightly.runs import lock_night, read_runs
from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.surveys.registry import get_survey
from equilens.pipeline.surveys.synthetic import write_objects
from equilens.tasks.engine import luigi
from equilens.tasks.nightly import NightTask

FIRST, SECOND, THIRD, FOURTH = (f"2026-11-{day}" for day in (17, 18, 19, 20))
N_OBJECTS = 12

SURVEY = """
name = "tiny"
version = "1"
title = "cutouts that are quick to read"
pixel_scale_arcsec = 0.1
shape = [33, 33]
bands = [{ name = "VIS", generic = "VIS", wavelength_nm = 715.0, psf_fwhm_arcsec = 0.18, \
noise_njy = 2.87, zeropoint = 27.0 }]
layout = { kind = "file-per-band", pattern = "{id}_{band}.fits" }
"""

NIGHTS = """
survey = "survey.toml"
source = "arrivals/{night}"
out = "out"
model = "./untrained.safetensors"
unit = "visit"
report = false
metrics_file = "equilens.prom"
[drift]
least_nights = 3
[sentinels]
kind = "none"
[injections]
n = 0
"""


class Site:
    """A folder with a survey, its nights' files, and what is made of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "nights.toml"

    def copy(self, folder: Path) -> "Site":
        """The same in another place; times of files are copied, so that no file is a new one."""
        return Site(Path(shutil.copytree(self.folder, folder, symlinks=True)))

    def arrive(self, night: str, n: int = N_OBJECTS, seed: int = 0) -> list[Path]:
        """Files of a night; the same places on the sky, whatever the seed."""
        place = self.folder / "arrivals" / night
        write_objects(get_survey(self.folder / "survey.toml"), place, n, seed)
        return sorted(place.iterdir())

    def configure(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def run(self, night: str, before_stage=None):
        config = load_night_config(self.config)
        return NightRun(config, date.fromisoformat(night), before_stage).run()

    def product(self, night: str, name: str = "catalogue.parquet") -> Path:
        return self.folder / "out" / "nights" / night / "current" / name

    def rows(self, night: str, name: str = "catalogue.parquet"):
        return pq.read_table(self.product(night, name)).to_pylist()

    def runs(self, night: str):
        config = load_night_config(self.config)
        return read_runs(NightRun(config, date.fromisoformat(night)).folder)


def die_before(stage):
    """End a run before one of its stages."""

    def die(name):
        if name == stage:
            raise RuntimeError("the machine went off")

    return die


@pytest.fixture(scope="session")
def first_night(tmp_path_factory):
    """A site whose first night is done."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "survey.toml").write_text(SURVEY)
    (folder / "nights.toml").write_text(NIGHTS)
    finder = build_finder("d4-resnet-nano", InputSpec(("VIS",), 0.1, (33, 33)), seed=1)
    save_checkpoint(folder / "untrained.safetensors", finder, {"name": "untrained"})
    site = Site(folder)
    site.arrive(FIRST)
    site.run(FIRST)
    return folder


@pytest.fixture
def site(first_night, tmp_path):
    """A copy of it, to go on with."""
    return Site(first_night).copy(tmp_path / "site")


def test_a_night_from_files_to_every_product(site, equilens_json):
    site.configure("report = false", "report = true")
    site.configure('kind = "none"', 'kind = "simulated"\nn = 8')
    site.configure("n = 0", "n = 8\nbackgrounds = 8")
    site.arrive(SECOND, seed=1)
    code, facts = equilens_json("night", SECOND, "--config", site.config)
    assert code == 0
    assert facts["accepted"]
    assert facts["sentinels"]["n_lenses"] + facts["sentinels"]["n_nonlenses"] == 8
    assert facts["injections"]["n_lenses"] >= 1
    expected = facts["inspect"]["false_positives_by_injections"]
    assert 0 <= expected["low"] <= expected["expected"] <= expected["high"] <= N_OBJECTS
    assert [step["n"] for step in facts["funnel"]][:3] == [N_OBJECTS] * 3
    rows = site.rows(SECOND)
    assert [row["rank"] for row in rows] == list(range(1, N_OBJECTS + 1))
    assert {row["out_of_domain"] for row in rows} == {""}
    assert "night 2026-11-18" in site.product(SECOND, "report.html").read_text()
    whole = json.loads(site.product(SECOND, "summary.json").read_text())
    assert whole["identity"] == facts["identity"]
    assert {"sentinel_lens_rank", "injected_nonlens_rank"} <= whole["figures"].keys()
    assert 'equilens_night_accepted{survey="tiny"} 1' in (site.folder / "equilens.prom").read_text()


def test_a_second_run_does_nothing_and_says_so(site, equilens, monkeypatch):
    before = site.product(FIRST).stat().st_mtime_ns, len(site.runs(FIRST))
    monkeypatch.setattr(NightRun, "run", lambda self: pytest.fail("a stage was run"))
    monkeypatch.setattr(NightRun, "stage", lambda self, name: pytest.fail("a stage was run"))
    code, out, _ = equilens("night", FIRST, "--config", site.config)
    assert code == 0
    assert out.startswith("nothing to do: night 2026-11-17 accepted")
    _, line, _ = equilens("night", FIRST, "--config", site.config, "--json")
    assert (line.count("\n"), json.loads(line)["ran"]) == (1, False)
    assert site.product(FIRST).stat().st_mtime_ns == before[0]
    assert [run["outcome"] for run in site.runs(FIRST)] == ["done", *["nothing to do"] * 2]


def test_a_late_file_costs_itself_alone_and_gives_the_table_of_a_whole_night(site):
    files = site.arrive(SECOND, seed=1)
    late = site.folder / "late.fits"
    files[3].rename(late)
    assert site.run(SECOND)["n_scored"] == N_OBJECTS - 1
    late.rename(files[3])
    summary = site.run(SECOND)
    assert (summary["n_read"], summary["n_scored"]) == (1, N_OBJECTS)
    site.arrive(THIRD, seed=1)
    site.run(THIRD)
    differ = ("data_fingerprint", "instalment", "n_nights")
    late, whole = (
        [{k: v for k, v in row.items() if k not in differ} for row in site.rows(night)]
        for night in (SECOND, THIRD)
    )
    assert late == whole


def test_a_changed_file_replaces_its_object_and_a_withdrawn_one_goes(site):
    files = site.arrive(SECOND, seed=1)
    site.run(SECOND)
    before = {row["id"]: row["score"] for row in site.rows(SECOND)}
    with fits.open(files[0], mode="update") as hdus:
        hdus[0].data[10:20, 10:20] += 50
    files[1].unlink()
    summary = site.run(SECOND)
    after = {row["id"]: row["score"] for row in site.rows(SECOND)}
    assert summary["n_read"] == 1
    assert before.keys() - after.keys() == {"J0001"}
    assert {name for name in after if after[name] != before[name]} == {"J0000"}


def test_work_that_no_product_stands_on_is_swept(site):
    files = site.arrive(SECOND, n=3)
    late = files[2].rename(site.folder / "late.fits")
    site.run(SECOND)
    night = site.product(SECOND).parents[1]
    (before,) = (night / "work").iterdir()
    # as a kill in the middle of an earlier sweep leaves it
    half_gone = night / "work" / ".0123.gone"
    half_gone.mkdir()
    late.rename(files[2])
    site.run(SECOND)
    (after,) = (night / "work").iterdir()
    assert after.name != before.name
    assert len(list((night / "products").iterdir())) == 2, "products are the night's history"


def test_a_late_file_that_is_spoilt_costs_a_row_until_it_is_mended(site):
    files = site.arrive(SECOND, n=3)
    whole = files[2].read_bytes()
    files[2].unlink()
    site.run(SECOND)
    files[2].write_bytes(whole[:3000])
    summary = site.run(SECOND)
    assert (summary["n_scored"], summary["by_rule"]) == (2, {"truncated": 1})
    rejected = read_quarantine(site.product(SECOND, "quarantine.csv"))
    assert [(row.id, row.file) for row in rejected] == [("J0002", files[2].name)]
    files[2].write_bytes(whole)
    summary = site.run(SECOND)
    assert (summary["n_scored"], summary["n_quarantined"], summary["n_read"]) == (3, 0, 1)


def test_a_sighting_on_the_edge_of_another_tile_is_merged_into_the_whole_one(site):
    first = site.arrive(SECOND, n=3)[0]
    edge = first.with_name("edge_VIS.fits")
    shutil.copy(first, edge)
    with fits.open(edge, mode="update") as hdus:
        hdus[0].data[:, :5] = np.nan
    summary = site.run(SECOND)
    assert (summary["n_found"], summary["n_merged"], summary["n_scored"]) == (4, 1, 3)
    merged = site.product(SECOND, "merged.csv").read_text().splitlines()
    assert merged[1].startswith("edge,J0000,0.0,edge_VIS.fits")
    assert sorted(row["id"] for row in site.rows(SECOND)) == ["J0000", "J0001", "J0002"]


def test_a_damaged_catalogue_is_made_again(site, equilens):
    path = site.product(FIRST)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + b"x" + whole[-8:])
    out = equilens("status", "--config", site.config)[1]
    assert "catalogue.parquet does not match its checksum" in out
    assert site.run(FIRST)["n_read"] == 0
    assert path.read_bytes() == whole


def test_an_object_is_updated_not_doubled(site):
    for path in site.arrive(SECOND, n=N_OBJECTS + 2, seed=1):
        # another name in the files, the same place on the sky
        path.rename(path.with_name(f"other-{path.name}"))
    summary = site.run(SECOND)
    match = summary["crossmatch"]
    assert (match["n_updated"], match["n_new"]) == (N_OBJECTS, 2)
    rows = site.rows(SECOND, "cumulative.parquet")
    assert len(rows) == len({row["name"] for row in rows}) == N_OBJECTS + 2
    old = [row for row in rows if row["n_nights"] == 2]
    assert len(old) == N_OBJECTS
    assert {(row["first_night"], row["last_night"]) for row in old} == {(FIRST, SECOND)}
    first = {row["name"]: row["score"] for row in site.rows(FIRST)}
    second = {row["name"]: row["score"] for row in site.rows(SECOND)}
    for row in old:
        assert row["score"] == pytest.approx((first[row["name"]] + second[row["name"]]) / 2)
    history = pq.read_table(site.folder / "out" / "history")
    assert history.num_rows == 2 * N_OBJECTS + 2


def test_the_order_of_runs_does_not_matter(site, tmp_path):
    site.arrive(SECOND, n=3, seed=1)
    site.arrive(THIRD, n=6, seed=2)
    other = site.copy(tmp_path / "other")
    for place, order in ((site, (SECOND, THIRD)), (other, (THIRD, SECOND))):
        for night in order:
            place.run(night)
    for name in ("catalogue.parquet", "cumulative.parquet"):
        assert site.product(THIRD, name).read_bytes() == other.product(THIRD, name).read_bytes()
    assert "brought up to date" in [run["outcome"] for run in other.runs(THIRD)]


def test_a_night_that_dies_in_every_stage_ends_as_if_nothing_had_happened(site, tmp_path):
    site.arrive(SECOND, n=3, seed=1)
    undisturbed = site.copy(tmp_path / "undisturbed")
    undisturbed.run(SECOND)

    for stage in STAGES[1:]:
        with pytest.raises(RuntimeError):
            site.run(SECOND, die_before(stage))
        assert not site.product(SECOND).exists()
        assert site.runs(SECOND)[-1]["stage"] == stage
    site.run(SECOND)
    for name in ("catalogue.parquet", "cumulative.parquet", "sightings.parquet"):
        found, expected = (place.product(SECOND, name) for place in (site, undisturbed))
        assert found.read_bytes() == expected.read_bytes()


def test_two_runs_of_one_night_are_refused(site, equilens):
    site.arrive(SECOND, n=3)
    config = load_night_config(site.config)
    release = lock_night(NightRun(config, date.fromisoformat(SECOND)).folder)
    try:
        with pytest.raises(NightError, match="night 2026-11-18 is being run by another process"):
            site.run(SECOND)
        code, _, err = equilens("night", SECOND, "--config", site.config)
        assert (code, err.count("\n")) == (1, 1)
        assert "wait for it to end" in err
        assert "running" in equilens("status", "--config", site.config)[1]
    finally:
        release()
    assert site.run(SECOND)["accepted"]


def test_over_the_tolerance_is_exit_code_3_and_joins_no_history(site, equilens, equilens_json):
    for path in site.arrive(SECOND)[:2]:
        path.write_bytes(path.read_bytes()[:3000])
    code, facts = equilens_json("night", SECOND, "--config", site.config)
    assert code == 3
    assert facts["by_rule"] == {"truncated": 2}
    assert "2 of 12 objects (16.7%) are quarantined, tolerance is 5.0%" in facts["reasons"][0]
    marked = pq.read_schema(site.product(SECOND)).metadata[b"equilens"]
    assert json.loads(marked)["accepted"] is False
    assert not site.product(SECOND, "cumulative.parquet").exists()
    assert not (site.folder / "out" / "history" / f"night={SECOND}" / "sightings.parquet").exists()
    assert (site.folder / "out" / "latest").resolve() == site.product(FIRST).resolve().parent
    assert equilens("night", SECOND, "--config", site.config)[0] == 3
    # the night after it goes on from the one before
    site.arrive(THIRD)
    assert site.run(THIRD)["crossmatch"]["before"] == FIRST
    site.configure("report = false", "report = false\ntolerance = 0.2")
    assert equilens("night", SECOND, "--config", site.config)[0] == 0


def test_shifted_noise_is_an_alarm_and_the_same_noise_is_none(site, equilens_json):
    for seed, night in enumerate((SECOND, THIRD, FOURTH)):
        site.arrive(night, seed=seed + 1)
        same = site.run(night)
    assert same["drift"]["n_tested"] > 0
    assert not same["drift"]["alarms"]
    noisy = "2026-11-21"
    for path in site.arrive(noisy, seed=9):
        with fits.open(path, mode="update") as hdus:
            hdus[0].data *= np.float32(4)
    code, facts = equilens_json("night", noisy, "--config", site.config)
    assert code == 0
    assert any(text.startswith("noise_njy_VIS") for text in facts["drift"]["alarms"])
    site.configure("[drift]", '[acceptance]\nalarms = "refuse"\n[drift]')
    assert equilens_json("night", noisy, "--config", site.config)[0] == 3


def test_another_network_never_shares_a_table_with_the_first(site):
    finder = build_finder("d4-resnet-nano", InputSpec(("VIS",), 0.1, (33, 33)), seed=2)
    save_checkpoint(site.folder / "untrained.safetensors", finder, {"name": "other"})
    site.arrive(SECOND, n=3, seed=1)
    summary = site.run(SECOND)
    assert summary["crossmatch"]["n_of_other_networks"] == N_OBJECTS - 3
    rows = site.rows(SECOND, "cumulative.parquet")
    assert len({row["model_sha256"] for row in rows[:3]}) == 1
    assert {row["n_scores"] for row in rows} == {1}


def test_status_says_what_is_missing_and_why(site, equilens):
    site.arrive(SECOND, n=3)
    (site.folder / "arrivals" / FIRST / "J0000_VIS.fits").unlink()
    code, out, _ = equilens("status", "--config", site.config)
    assert code == 0
    first, second = out.splitlines()
    assert first.startswith(f"{FIRST}  stale")
    assert "files arrived, changed or went since then; -1 objects" in first
    assert second.startswith(f"{SECOND}  missing")
    assert "3 objects have arrived, and no run of it has ended" in second

    with pytest.raises(RuntimeError):
        site.run(SECOND, die_before("score"))
    _, out, _ = equilens("status", SECOND, "--config", site.config)
    assert "the last run failed in stage score" in out
    assert "done   ingest" in out
    assert "to do  score 0" in out


def test_a_night_without_files_is_said_so(site, equilens):
    code, out, _ = equilens("night", SECOND, "--config", site.config)
    assert code == 3
    assert "night 2026-11-18: no object in" in out
    assert "empty" in equilens("status", SECOND, "--config", site.config)[1]


def test_a_range_of_nights_runs_each_and_luigi_can_fill_it_in(site, equilens_json):
    site.arrive(SECOND, n=2)
    code, facts = equilens_json("night", "--from", FIRST, "--to", SECOND, "--config", site.config)
    assert code == 0
    assert [night["ran"] for night in facts["nights"]] == [False, True]
    site.arrive(THIRD, n=2)
    task = luigi.tools.range.RangeDaily(
        of=NightTask,
        of_params={"config": str(site.config)},
        start=date(2026, 11, 17),
        stop=date(2026, 11, 20),
        now=1795400000,
        param_name="night",
    )
    assert luigi.build([task], local_scheduler=True, log_level="CRITICAL")
    assert site.product(THIRD).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give one night, or a range"),
        (("20-11-2026",), "a night is a date such as 2026-11-20"),
        ((FIRST, "--from", FIRST), "give one night, or a range"),
        (("--from", SECOND, "--to", FIRST), "must not be after"),
        ((FIRST,), "drift.levle: no such key; did you mean 'level'?"),
    ],
)
def test_wrong_use_is_exit_code_2(site, equilens, words, message):
    if "levle" in message:
        site.configure("[drift]", "[drift]\nlevle = 0.1")
    code, _, err = equilens("night", *words, "--config", site.config)
    assert code == 2
    assert message in err
