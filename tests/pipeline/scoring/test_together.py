"""Networks that score in one read give what each gives alone."""

import shutil

import numpy as np
import pytest

from equilens.models.checkpoint import load_checkpoint, save_checkpoint
from equilens.models.committee import Committee
from equilens.models.networks import build_finder
from equilens.pipeline.errors import DomainError, ScoringError
from equilens.pipeline.scores import SMALL_BLOCK, ScoreStore, block_file
from equilens.pipeline.scoring import score, score_paths, score_together
from equilens.pipeline.stores import CutoutStore
from equilens.pipeline.toy import toy_cutouts, write_toy_store

# the second keeps to smaller batches than the first
SIZES = (64, 16)


@pytest.fixture(scope="module")
def alone(small_store, two_networks, tmp_path_factory):
    """Scores of each network, made by itself."""
    folder = tmp_path_factory.mktemp("alone")
    return [
        score(small_store, model, folder / f"{model.stem}.zarr", workers=1, batch_size=size).path
        for model, size in zip(two_networks, SIZES, strict=True)
    ]


@pytest.fixture
def rows_read(monkeypatch):
    """Rows of images, in the order in which they are read."""
    found, read = [], CutoutStore.read_pixels

    def noted(self, name, rows):
        if name == "images":
            found.extend(range(rows.start, rows.stop))
        return read(self, name, rows)

    monkeypatch.setattr(CutoutStore, "read_pixels", noted)
    return found


def assert_equal(paths, expected):
    for path, other in zip(paths, expected, strict=True):
        ours, theirs = ScoreStore(path), ScoreStore(other)
        np.testing.assert_array_equal(ours.scores(), theirs.scores())
        assert ours.identity == theirs.identity
        assert ours.fingerprint == theirs.fingerprint
        assert ours.manifest["guard"] == theirs.manifest["guard"]


@pytest.mark.parametrize("workers", [1, 2])
def test_one_read_gives_what_each_gives_alone(
    small_store, two_networks, alone, rows_read, tmp_path, workers
):
    paths = score_paths(two_networks, tmp_path)
    found = score_together(small_store, paths, workers=workers, batch_size=64)
    assert sorted(rows_read) == list(range(SMALL_BLOCK + 30))
    assert [summary.network for summary in found] == ["first", "second"]
    assert [summary.path for summary in found] == list(paths.values())
    first, second = (ScoreStore(path).scores() for path in paths.values())
    np.testing.assert_array_equal(first, ScoreStore(alone[0]).scores())
    # the control: the networks differ, and so do their scores
    assert not np.allclose(first, second)
    assert ScoreStore(paths[two_networks[1]]).identity["bands"] == ["b", "a"]


def test_batches_of_two_sizes_share_a_read(small_store, two_networks, alone, rows_read, tmp_path):
    """Stores that were begun with sizes of their own keep them."""
    paths = [shutil.copytree(path, tmp_path / path.name) for path in alone]
    for path in paths:
        for block in (0, 1):
            block_file(path, block).unlink()
    models = dict(zip(two_networks, paths, strict=True))
    score_together(small_store, models, workers=1, batch_size=None)
    assert rows_read == list(range(SMALL_BLOCK + 30))
    assert_equal(paths, alone)


def test_only_what_a_network_misses_is_read_for_it(
    small_store, two_networks, alone, rows_read, tmp_path
):
    paths = [shutil.copytree(path, tmp_path / path.name) for path in alone]
    block_file(paths[0], 1).unlink()
    kept = block_file(paths[1], 1).stat().st_mtime_ns
    models = dict(zip(two_networks, paths, strict=True))
    found = score_together(small_store, models, workers=1, batch_size=None)
    assert [summary.n_scored_now for summary in found] == [30, 0]
    assert rows_read == list(range(SMALL_BLOCK, SMALL_BLOCK + 30))
    assert block_file(paths[1], 1).stat().st_mtime_ns == kept
    assert_equal(paths, alone)


def test_nothing_is_scored_where_a_path_is_taken(small_store, two_networks, alone, tmp_path):
    paths = [shutil.copytree(path, tmp_path / path.name) for path in alone]
    block_file(paths[1], 0).write_bytes(b"")
    (paths[0] / "_identity.json").write_text("{}")
    models = dict(zip(two_networks, paths, strict=True))
    with pytest.raises(ScoringError, match="holds scores of another run"):
        score_together(small_store, models, workers=1, batch_size=None)
    assert block_file(paths[1], 0).read_bytes() == b""


def test_members_of_a_committee_share_a_read(small_store, two_networks, rows_read, tmp_path):
    spec = load_checkpoint(two_networks[0])[0].spec
    members = [build_finder("d4-resnet-nano", spec, seed=seed) for seed in (1, 2)]
    weights = save_checkpoint(tmp_path / "committee.safetensors", Committee(members), {})
    score(small_store, weights, tmp_path / "scores.zarr", workers=1)
    assert rows_read == list(range(SMALL_BLOCK + 30))
    assert ScoreStore(tmp_path / "scores.zarr").scores().shape == (SMALL_BLOCK + 30, 2)


def test_each_network_needs_a_place_of_its_own(small_store, two_networks, tmp_path):
    namesake = tmp_path / "first.safetensors"
    shutil.copy(two_networks[0], namesake)
    with pytest.raises(ScoringError, match="both called first"):
        score_paths([two_networks[0], namesake], tmp_path / "out")
    with pytest.raises(ScoringError, match="both called first"):
        score_paths([two_networks[0]] * 2, tmp_path / "out")
    with pytest.raises(ScoringError, match="choose another"):
        score_paths(two_networks, small_store)
    models = dict.fromkeys(two_networks, tmp_path / "out.zarr")
    with pytest.raises(ScoringError, match="would both score into"):
        score_together(small_store, models)
    with pytest.raises(ScoringError, match="1 to 16 networks score together, got 0"):
        score_together(small_store, {})
    assert score_paths(two_networks[:1], tmp_path / "o.zarr") == {
        two_networks[0]: tmp_path / "o.zarr"
    }


def test_the_network_that_cannot_work_is_named(two_networks, tmp_path):
    other = write_toy_store(tmp_path / "other.zarr", toy_cutouts(4, side=21))
    with pytest.raises(DomainError, match=r"^first: .* 21x21 pixels"):
        score_together(other.path, score_paths(two_networks, tmp_path / "out"))
