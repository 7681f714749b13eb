"""Rates on disk: the same again, and nothing that was never measured."""

import json

import pytest

from equilens.pipeline.planning.errors import RatesError
from equilens.pipeline.planning.rates import QUANTITIES, load_rates, save_rates


def test_rates_come_back_as_they_were(rates, tmp_path):
    save_rates(tmp_path / "rates.json", rates)
    again = load_rates(tmp_path / "rates.json")
    assert again == rates
    assert set(again.measured) == set(QUANTITIES)
    assert again.mean("network_s") == pytest.approx(1e-3)
    assert again.raw_bytes == 4 * 101 * (101 * 4 + 13)


def test_a_moment_is_one_repeat_of_everything(rates):
    assert rates.n_repeats == 3
    slow = rates.moment(2)
    assert slow["network_s"] == pytest.approx(1.1e-3)
    assert slow["check_s"] == pytest.approx(1.1e-4)
    # one value stands for every moment
    assert slow["driver_bytes"] == 100
    assert rates.moment(3) == rates.moment(0)


def spoiled(rates, change):
    content = json.loads(json.dumps(rates.to_dict()))
    change(content)
    return content


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(kind="scores"), "no rates"),
        (lambda c: c["rates"].pop("read_s"), "read_s"),
        (lambda c: c["rates"]["read_s"].update(values=[0.1, -1]), "read_s must be a positive"),
        (lambda c: c["rates"]["read_s"].update(values=["soon"]), "ValueError"),
        (lambda c: c["rates"]["read_s"].update(values=[]), "one repeat"),
        (lambda c: c.pop("cutouts"), "cutouts"),
    ],
)
def test_what_is_no_rate_is_refused(rates, tmp_path, change, words):
    file = tmp_path / "rates.json"
    file.write_text(json.dumps(spoiled(rates, change)))
    with pytest.raises(RatesError, match=words):
        load_rates(file)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "rates.json").write_text("network = 1")
    with pytest.raises(RatesError, match="measure again"):
        load_rates(tmp_path / "rates.json")
