"""Surveys from TOML, and the registry that survives broken plugins."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from equilens.pipeline.errors import SurveyError
from equilens.pipeline.surveys import Layout, Survey, get_survey, list_surveys, registry
from equilens.pipeline.surveys.check import check_survey
from equilens.pipeline.surveys.loading import load_survey, parse_survey
from equilens.pipeline.surveys.synthetic import write_objects

EXAMPLES = Path(__file__).parents[2] / "data" / "surveys"
PLAIN = (EXAMPLES / "plain-cube.toml").read_text()
SHIPPED = {
    "bologna-space": (("VIS",), (101, 101)),
    "bologna-ground": (("R", "I", "G", "U"), (101, 101)),
    "euclid-mer": (("VIS", "NIR_Y", "NIR_J", "NIR_H"), (101, 101)),
    "panstarrs1": (("g", "r", "i", "z", "y"), (119, 119)),
    "des-cube": (("g", "r", "i", "z", "Y"), (91, 91)),
    "lsst-like": (("u", "g", "r", "i", "z", "y"), (101, 101)),
    "bologna2": (("VIS", "J", "Y", "H"), (197, 197)),
    "bologna2-vis": (("VIS",), (199, 199)),
    "bologna2-nir": (("J", "Y", "H"), (65, 65)),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_surveys_have_their_bands_and_shapes(name):
    survey = get_survey(name)
    assert (survey.band_names, survey.shape) == SHIPPED[name]
    assert {finding.level for finding in check_survey(survey)} == {"ok"}


def test_challenge_noise_is_that_of_the_challenge_in_njy():
    units = {"VIS": 7.9e-13, "U": 2.03e-12, "G": 1.27e-12, "R": 1.56e-12, "I": 3.19e-12}
    for survey in (get_survey("bologna-space"), get_survey("bologna-ground")):
        for band in survey.bands:
            assert band.noise_njy == pytest.approx(units[band.name] * 3.631e12, rel=2e-3)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_a_survey_of_plain_files_takes_at_most_20_lines(path, tmp_path):
    assert len(path.read_text().splitlines()) <= 20
    survey = get_survey(path)
    assert not [finding for finding in check_survey(survey) if finding.level == "error"]


def test_a_toml_survey_reads_files(tmp_path):
    survey = get_survey(EXAMPLES / "plain-cube.toml")
    written = write_objects(survey, tmp_path, n=2)
    raws = [survey.read(ref) for ref in survey.discover(tmp_path)]
    assert [raw.id for raw in raws] == [item.id for item in written]
    assert raws[0].images.tobytes() == written[0].images.tobytes()
    assert raws[0].zeropoint.tolist() == [27.0, 27.0, 27.0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('version = "1"', 'version = "1"\ncolour = 1', "unknown key 'colour'; allowed are name"),
        ("wavelength_nm = 480", "wave = 480", r"bands\[0\]: unknown key 'wave'; allowed are"),
        ('kind = "cube"', 'knd = "cube"', "layout: unknown key 'knd'"),
        ('version = "1"', "version = 1", "version must be of type str, got 1"),
        ("noise_njy = 20", 'noise_njy = "20"', "noise_njy must be of type float"),
        ("noise_njy = 20", "noise_njy = -1", "noise_njy must be positive, got -1"),
        ("noise_njy = 20, ", "", "'noise_njy' is missing"),
        ('version = "1"', "", "key 'version' is missing"),
        ("[101, 101]", "[100, 101]", "shape must be odd and at least 33"),
        ("[101, 101]", "[101]", "shape must be two whole numbers"),
        ('name = "r"', 'name = "g"', "band names repeat"),
        ('kind = "cube"', 'kind = "ring"', "layout kind must be one of"),
        ("{id}.fits", "../{id}.fits", "below the source folder"),
        ("{id}.fits", "all.fits", "needs {id}"),
        (', zeropoint = 27 },\n  { name = "r"', ' },\n  { name = "r"', "g has none"),
        ("layout =", 'wcs_rule = "maybe"\nlayout =', "got 'maybe'"),
        ("layout =", 'zeropoint_rule = "keyword"\nlayout =', "needs zeropoint_keyword"),
        ("layout =", "max_missing_bands = 3\nlayout =", "must be below 3, got 3"),
        ("layout =", 'mask_rule = "NaN"\nlayout =', "mask_rule must be a dict"),
        ("layout =", "mask_rule = {bad = 1}\nlayout =", "mask_rule: unknown key 'bad'"),
        ('"{id}.fits" }', '"{id}.fits", band_tokens = { q = "Q" } }', "band_tokens names"),
        ("bands = [", "bands = [[", "not valid TOML"),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(old, new, message):
    assert old in PLAIN
    with pytest.raises(SurveyError, match=message):
        parse_survey(PLAIN.replace(old, new, 1))


def test_a_missing_file_and_an_unknown_name_say_what_there_is(tmp_path):
    with pytest.raises(SurveyError, match=r"none\.toml: can not be read"):
        load_survey(tmp_path / "none.toml")
    with pytest.raises(SurveyError, match=r"no survey is called 'sdss'.*euclid-mer.*\.toml"):
        get_survey("sdss")


def explode() -> Survey:
    raise RuntimeError("plugin is broken")


def give_nothing() -> None:
    return None


def misnamed() -> Survey:
    return get_survey("euclid-mer")


def test_one_broken_plugin_does_not_break_the_rest(monkeypatch):
    group = registry.GROUP
    plugins = {"broken": "explode", "empty": "give_nothing", "other": "misnamed", "gone": "absent"}
    points = [EntryPoint(name, f"{__name__}:{value}", group) for name, value in plugins.items()]
    points.append(EntryPoint("euclid-mer", "equilens.pipeline.surveys.builtin:euclid_mer", group))
    points.append(EntryPoint("nowhere", "no_such_module_at_all:survey", group))
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    entries = {entry.name: entry for entry in list_surveys()}
    assert entries["euclid-mer"].survey is not None
    assert entries["broken"].error == "RuntimeError: plugin is broken"
    assert "NoneType" in entries["empty"].error
    assert "calls itself 'euclid-mer'" in entries["other"].error
    assert "ModuleNotFoundError" in entries["nowhere"].error
    assert entries["gone"].survey is None
    assert get_survey("euclid-mer").name == "euclid-mer"
    with pytest.raises(SurveyError, match="plugin is broken"):
        get_survey("broken")


def test_check_finds_what_is_implausible(tmp_path):
    def level(text):
        return {(f.level, f.subject) for f in check_survey(parse_survey(text))}

    assert ("error", "band g") in level(PLAIN.replace("480", "4.8"))
    assert ("warning", "band g") in level(
        PLAIN.replace("psf_fwhm_arcsec = 0.9", "psf_fwhm_arcsec = 0.1")
    )
    assert ("warning", "footprint") in level(PLAIN.replace('footprint = "wherever it looked"', ""))
    twice = PLAIN.replace('"{id}.fits" }', '"{id}.fits", band_tokens = { g = "r" } }')
    assert ("error", "layout") in level(twice)
    alone = PLAIN.replace('kind = "cube"', 'kind = "file-per-band"')
    assert ("error", "layout") in level(alone)


def test_check_tries_the_files(tmp_path):
    survey = parse_survey(PLAIN)
    write_objects(survey, tmp_path, n=2)
    (tmp_path / "bad.fits").write_bytes(b"no")
    findings = check_survey(survey, tmp_path)
    assert findings[-1].message.startswith("2 of the first 3 objects")
    assert any(finding.subject == "object bad" for finding in findings)
    assert check_survey(survey, tmp_path / "nowhere")[-1].level == "error"


def test_a_layout_without_image_extensions_is_refused():
    with pytest.raises(SurveyError, match="needs image"):
        Layout("extensions", "{id}.fits")


def test_no_plugin_takes_the_name_of_a_survey_in_the_tree(monkeypatch):
    foreign = EntryPoint("euclid-mer", f"{__name__}:explode", registry.GROUP)
    own = tuple(registry.entry_points(group=registry.GROUP))
    monkeypatch.setattr(registry, "entry_points", lambda group: (foreign, *own))
    assert get_survey("euclid-mer").shape == (101, 101)
    rows = [entry for entry in list_surveys() if entry.name == "euclid-mer"]
    assert [entry.error == "" for entry in rows] == [True, False]
    assert "equilens has a survey so named" in rows[1].error
