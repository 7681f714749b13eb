"""Every training object once an epoch, no held-out one ever, and the same order again."""

from copy import copy
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.toy import toy_cutouts, write_toy_store
from equilens.pipeline.training.augmentation import Augmentation
from equilens.pipeline.training.data import TrainingSet, held_out_sample
from equilens.pipeline.training.plan import BatchPlan, Curriculum

PLAIN = Augmentation(max_depth=1, noise_error=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    paths = [folder / f"{k}.zarr" for k in range(3)]
    for k, path in enumerate(paths):
        write_toy_store(path, toy_cutouts(50 + 10 * k, seed=k))
    return TrainingSet(paths, 0.2)


def keys(examples):
    """The noise of the first band tells toy cutouts apart."""
    return examples.noise[:, 0].tolist()


def test_each_epoch_shows_each_training_object_once(data):
    plan = BatchPlan(data, seed=1, batch_size=16, pool_shards=2)
    wanted = sorted(k for s in data.shards for k in keys(s.load(held_out=False)))
    shown = []
    batches = plan.batches(PLAIN)
    for _ in range(2):
        epoch = []
        while len(epoch) < data.n_training:
            epoch += keys(next(batches))
        assert sorted(epoch) == wanted
        shown.append(epoch)
    assert shown[0] != shown[1]


def test_held_out_parents_are_never_shown(data):
    parents = {}
    for shard in data.shards:
        batch = shard.store.read_shard(0)
        for parent, out in zip(batch.columns["parent_id"], shard.held_out, strict=True):
            parents.setdefault((id(shard), parent), set()).add(out)
    assert {len(sides) for sides in parents.values()} == {1}
    held_out = {k for s in data.shards for k in keys(s.load(held_out=True))}
    plan = BatchPlan(data, seed=1, batch_size=16, pool_shards=1)
    shown = {k for batch in islice(plan.batches(PLAIN), 30) for k in keys(batch)}
    assert held_out
    assert not held_out & shown


@pytest.mark.parametrize("start", [1, 7, 23])
def test_starting_at_a_step_is_skipping_to_it(data, start):
    plan = BatchPlan(data, seed=5, batch_size=16, pool_shards=2)
    how = Augmentation(stripe_probability=0.5)
    skipped = next(islice(plan.batches(how), start, None))
    started = next(plan.batches(how, start))
    for name, values in vars(skipped).items():
        np.testing.assert_array_equal(getattr(started, name), values)
    other = next(BatchPlan(data, seed=6, batch_size=16, pool_shards=2).batches(how, start))
    assert keys(other) != keys(started)


def test_faint_arcs_wait_until_the_limit_has_come_down(data):
    def snr_of(shard):
        return np.where(shard.labels == 1, np.linspace(5, 95, len(shard.labels)), np.inf)

    graded = copy(data)
    graded.shards = [replace(shard, arc_snr=snr_of(shard)) for shard in data.shards]
    snr = {}
    for shard in graded.shards:
        snr |= dict(zip(keys(shard.load(False)), shard.arc_snr[~shard.held_out], strict=True))
    rule = Curriculum(arc_snr=60.0, images=10 * data.n_training)
    assert (rule.limit(5 * data.n_training), Curriculum().limit(0)) == (30.0, 0.0)
    plan = BatchPlan(graded, 1, batch_size=16, pool_shards=3, curriculum=rule)
    early = [snr[k] for batch in islice(plan.batches(PLAIN), 5) for k in keys(batch)]
    assert 50 < min(early) < 95
    assert np.isinf(early).any()
    late = islice(plan.batches(PLAIN), 120, 120 + 3 * data.n_training // 16)
    assert min(snr[k] for batch in late for k in keys(batch)) == min(snr.values())


def test_held_out_sample_is_bounded(data):
    assert len(held_out_sample(data, 5)) == 5
    everyone = held_out_sample(data, 10_000)
    assert len(everyone) == sum(int(s.held_out.sum()) for s in data.shards)


def test_unfit_stores_are_refused_by_name(tmp_path):
    batch = toy_cutouts(20)
    unlabelled = type(batch)(**{**vars(batch), "columns": {}})
    write_toy_store(tmp_path / "unlabelled.zarr", unlabelled)
    with pytest.raises(TrainingError, match=r"unlabelled\.zarr has no column is_lens"):
        TrainingSet([tmp_path / "unlabelled.zarr"], 0.2)
    write_toy_store(tmp_path / "two.zarr", toy_cutouts(20))
    write_toy_store(tmp_path / "three.zarr", toy_cutouts(20, bands=3))
    with pytest.raises(TrainingError, match="differ in bands"):
        TrainingSet([tmp_path / "two.zarr", tmp_path / "three.zarr"], 0.2)
    batch.columns["is_lens"][:] = 0
    with CutoutWriter(
        tmp_path / "none.zarr", survey="toy", bands=("a", "b"), shape=(33, 33)
    ) as writer:
        writer.append(batch)
    with pytest.raises(TrainingError, match="has 0 lenses"):
        TrainingSet([tmp_path / "none.zarr"], 0.2)
