"""Mass mappers on disk: whole, safe, and named."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch

from equilens.models.errors import CheckpointError, UnsafeWeightsError
from equilens.models.spherical.mapper_checkpoint import load_mapper, mapper_bytes, shipped_mappers
from equilens.models.spherical.mapper_spec import MapperSpec
from equilens.models.spherical.mass_mapper import SphericalMassMapper

SPEC = MapperSpec(16, 1, 2, 1, kappa_scale=0.01, galaxies_per_pixel=(9.0,), depth=1)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    prior = {"spectra": torch.rand(4, 1, 1, dtype=torch.float64)}
    path.write_bytes(mapper_bytes(SphericalMassMapper(SPEC), prior, {"name": "toy"}))
    return path


def test_a_mapper_comes_back_with_its_spectra_and_card(saved):
    mapper = load_mapper(saved)
    assert mapper.network.spec == SPEC
    assert mapper.name == "toy"
    assert mapper.prior["spectra"].shape == (4, 1, 1)
    again = load_mapper(saved.parent)
    state, other = mapper.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_foreign_damaged_and_unsafe_files_are_refused(saved, tmp_path):
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="a mass mapper's is 'equilens-mass-mapper-1'"):
        load_mapper(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_mapper(tmp_path / "cut.safetensors")
    torch.save({}, tmp_path / "pickle.safetensors")
    with pytest.raises(UnsafeWeightsError):
        load_mapper(tmp_path / "pickle.safetensors")
    with pytest.raises(CheckpointError, match="no mass mapper at"):
        load_mapper("no-such-mapper")


def test_shipped_mappers_load():
    for name in shipped_mappers():
        mapper = load_mapper(name)
        assert mapper.name == name
        assert mapper.prior["spectra"].shape[1:] == (mapper.network.spec.n_bins,) * 2
