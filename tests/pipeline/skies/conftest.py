"""Small models of the sky to test with."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from equilens.pipeline.skies.cosmology import Cosmology, named_cosmology
from equilens.pipeline.skies.matter_power import MatterPower
from equilens.pipeline.skies.settings import SkySettings
from equilens.pipeline.skies.simulate import SkySimulator
from equilens.pipeline.skies.sources import SourceSample, source_sample
from equilens.pipeline.skies.survey_masks import WHOLE_SKY

HEAVY = 5e14


@pytest.fixture(scope="session")
def planck() -> Cosmology:
    return named_cosmology("planck18")


@pytest.fixture(scope="session")
def sources() -> SourceSample:
    return source_sample("euclid", 2)


@pytest.fixture(scope="session")
def bent_power() -> MatterPower:
    """A spectrum with the shape of matter's, in closed form: CAMB is not needed for it."""
    k, z = np.geomspace(1e-4, 20, 400), np.linspace(0, 3, 31)
    shape = 3e6 * k / (1 + (k / 0.015) ** 1.9) ** 1.4
    return MatterPower(k, z, shape / (1 + z[:, None]) ** 1.5)


@pytest.fixture(scope="session")
def power_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Spectra of CAMB, computed once for all tests."""
    return tmp_path_factory.mktemp("matter_power")


@pytest.fixture(scope="session")
def small_settings() -> SkySettings:
    """A sky with heavy haloes only, so that painting them takes a second."""
    return SkySettings(nside=32, mask=WHOLE_SKY, smallest_halo_msun=HEAVY)


@pytest.fixture(scope="session")
def simulator(small_settings: SkySettings, power_cache: Path) -> SkySimulator:
    return SkySimulator(small_settings, power_cache)


@pytest.fixture
def real_maps() -> Path:
    folder = os.environ.get("EQUILENS_DATA")
    if not folder:
        pytest.skip("EQUILENS_DATA is not set: no real maps")
    return Path(folder) / "healpix"
