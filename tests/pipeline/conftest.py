import dataclasses

import pytest
import torch

from equilens.pipeline.surveys.registry import get_survey


@pytest.fixture(autouse=True, scope="package")
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def survey():
    """A four-band survey of small cutouts: fast, and like no survey in the tree."""
    euclid = get_survey("euclid-mer")
    return dataclasses.replace(euclid, name="small", shape=(61, 61))
