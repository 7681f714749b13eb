from dataclasses import replace
from pathlib import Path

import pytest

from equilens.pipeline.planning.rates import Rate, load_rates

FILE = Path(__file__).with_name("rates.json")


@pytest.fixture
def rates():
    """Made-up round rates of four bands on a core: 1 ms of network, 0.2 ms of reading."""
    return load_rates(FILE)


@pytest.fixture
def steady(rates):
    """The same without any spread: every repeat the mean, every block equally long."""
    measured = {name: Rate((rate.values[0],), rate.each) for name, rate in rates.measured.items()}
    return replace(rates, measured=measured | {"block_scatter": Rate((0.0,), 1)})
