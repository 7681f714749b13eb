import dataclasses
from datetime import date

import pytest

from equilens.pipeline.nightly.config import NightConfig, load_night_config, parse_night
from equilens.pipeline.nightly.errors import NightConfigError
from equilens.pipeline.nightly.inputs import weights_file

SMALLEST = """
survey = "euclid-mer"
source = "arrivals/{night}"
out = "out"
model = "euclid-mer"
unit = "visit"
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "nights.toml"
        path.write_text(text)
        return path

    return write


def test_the_smallest_file_is_enough_and_paths_start_at_it(write, tmp_path):
    config = load_night_config(write(SMALLEST))
    assert config.source == str(tmp_path / "arrivals/{night}")
    assert config.out_path == tmp_path / "out"
    assert (config.survey, config.model) == ("euclid-mer", "euclid-mer")
    assert config.drift.nights == 14
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.unit = "coadd"


def test_the_docstring_shows_a_file_that_loads(write):
    from equilens.pipeline.nightly import config

    text = config.__doc__.split("::\n")[1].split("\n\nPaths")[0]
    assert isinstance(load_night_config(write(text.replace("    ", ""))), NightConfig)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tolerence = 0.1", r"tolerence: no such key; did you mean 'tolerance'\?"),
        ("tolerance = 2.0", r"tolerance is a share and must lie in \[0, 1\], got 2.0"),
        ('tolerance = "5%"', "tolerance must be a number, got '5%'"),
        ("match_ids = 1", "match_ids must be a boolean, got 1"),
        ("merge_radius_arcsec = true", "merge_radius_arcsec must be a number, got True"),
        ("merge_radius_arcsec = -1", "must lie between 0 and 60 arcsec, got -1"),
        ('metrics_file = "m.txt"', "must end in .prom"),
        ('calibration = "{night}.json"', "calibration must be one path for all nights"),
        ("drift = 3", r"drift must be a table \[drift\], got 3"),
        ("[drift]\nleast_nights = 1", "drift.least_nights must be at least 2, got 1"),
        ("[drift]\nnights = 3", "drift.nights must be at least 5, got 3"),
        ("[drift]\nlevel = 1.5", "drift.level must lie between 0 and 1"),
        ('[acceptance]\nalarms = "ignore"', "must be one of report, refuse, got 'ignore'"),
        ('[sentinels]\nkind = "real"', "sentinels.kind must be one of"),
        ("[injections]\nn = -1", "injections.n must be at least 0"),
        ('[notify]\ncommand = "mail me"', "notify.command must be a list, got 'mail me'"),
        ("[notify]\ncommand = [1]", r"notify.command\[0\] must be text, got 1"),
        ('[notify]\nwebhook = "http://example.org/x"', "an address of this machine"),
        ('[notify]\nwebhook = "https://127.0.0.1/x"', "notify.webhook must be http://"),
        ('[notify]\nwebhook = "http://8.8.8.8/x"', "an address of this machine"),
        ("x = [", "is not valid TOML"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(write, line, message):
    with pytest.raises(NightConfigError, match=message) as caught:
        load_night_config(write(SMALLEST + line))
    assert "nights.toml" in str(caught.value)


def test_missing_keys_and_files_are_named(write, tmp_path):
    with pytest.raises(NightConfigError, match="unit is missing: add unit ="):
        load_night_config(write(SMALLEST.replace('unit = "visit"', "")))
    with pytest.raises(NightConfigError, match="can not be read"):
        load_night_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/x", "http://localhost/", "http://10.0.0.7"]
)
def test_local_addresses_are_taken(write, address):
    config = load_night_config(write(f'{SMALLEST}[notify]\nwebhook = "{address}"'))
    assert config.notify.webhook == address


def test_a_night_is_a_date_and_nothing_else():
    assert parse_night("2026-11-20") == date(2026, 11, 20)
    for text in ("20261120", "2026-11-31", "../2026-11-20", ""):
        with pytest.raises(NightConfigError, match="a night is a date such as"):
            parse_night(text)


def test_weights_are_found_as_the_networks_own_loader_finds_them(tmp_path):
    from equilens.models.user_models import find_model

    assert weights_file("euclid-mer") == find_model("euclid-mer")
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert weights_file(str(tmp_path)) == find_model(tmp_path)
    with pytest.raises(NightConfigError, match="model nothing: neither shipped"):
        weights_file("nothing")
