"""A small store and two networks for it, of which one takes its bands in another order."""

import pytest

from equilens.models.checkpoint import save_checkpoint
from equilens.models.inputs import InputSpec
from equilens.models.networks import build_finder
from equilens.pipeline.scores import SMALL_BLOCK
from equilens.pipeline.toy import toy_cutouts, write_toy_store


@pytest.fixture(scope="session")
def small_store(tmp_path_factory):
    """One block and 30 objects of the next."""
    path = tmp_path_factory.mktemp("small") / "toy.zarr"
    return write_toy_store(path, toy_cutouts(SMALL_BLOCK + 30, missing_share=0.2)).path


@pytest.fixture(scope="session")
def two_networks(tmp_path_factory):
    """Paths of weights."""
    folder = tmp_path_factory.mktemp("networks")
    made = {"first": (("a", "b"), 3), "second": (("b", "a"), 4)}
    return [
        save_checkpoint(
            folder / f"{name}.safetensors",
            build_finder("d4-resnet-nano", InputSpec(bands, 0.1, (33, 33)), seed=seed),
            {},
        )
        for name, (bands, seed) in made.items()
    ]
