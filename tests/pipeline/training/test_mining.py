"""Hard objects are drawn more often, none is forgotten, and a stop changes nothing."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.toy import toy_cutouts, write_toy_store
from equilens.pipeline.training.augmentation import Augmentation
from equilens.pipeline.training.data import TrainingSet
from equilens.pipeline.training.mining import Hardness, Mining, systematic_counts
from equilens.pipeline.training.plan import BatchPlan


def drawn(how, logits, labels, seed=0):
    hardness = Hardness(how, len(logits))
    hardness.record(np.arange(len(logits)), np.asarray(logits, np.float32))
    hardness.begin(1)
    return hardness.draw(np.arange(len(logits)), labels, np.random.default_rng(seed))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 20), min_size=1, max_size=30), st.integers(0, 2**20))
def test_counts_are_within_one_of_expectation_and_keep_the_sum(raw, seed):
    expected = np.asarray(raw) + 0.01
    expected *= len(raw) / expected.sum()
    counts = systematic_counts(expected, np.random.default_rng(seed))
    assert counts.sum() == len(raw)
    assert (np.abs(counts - expected) < 1 + 1e-9).all()


def test_counts_are_right_on_average():
    expected = np.array([0.3, 2.5, 0.2, 1.0])
    draws = [systematic_counts(expected, np.random.default_rng(k)) for k in range(1000)]
    np.testing.assert_allclose(np.mean(draws, axis=0), expected, atol=0.06)


def test_expected_draws_by_hand():
    labels = np.array([0, 0, 1, 1])
    logits = [np.log(3), np.log(1 / 3), 5.0, -5.0]
    places, weights = drawn(Mining(share=0.5, corrected=True), logits, labels)
    # σ is 3/4 and 1/4: half of two draws go 3:1, half are even
    np.testing.assert_allclose(weights, np.array([1 / 1.25, 1 / 0.75, 1, 1])[places], rtol=1e-6)
    assert (places < 2).sum() == 2
    # lenses are drawn alike
    assert sorted(places[places >= 2]) == [2, 3]
    assert (weights[places >= 2] == 1).all()


def test_hard_nonlenses_come_more_often_and_easy_ones_still_come():
    labels = np.zeros(400, int)
    logits = np.where(np.arange(400) < 40, 2.0, -6.0)
    places, weights = drawn(Mining(share=0.5), logits, labels)
    counts = np.bincount(places, minlength=400)
    assert counts[:40].mean() > 5
    assert counts[40:].sum() > 100
    assert (weights == 1).all()
    # negative control: without knowledge all are alike
    even, _ = Hardness(Mining(share=0.5), 400).draw(
        np.arange(400), labels, np.random.default_rng(0)
    )
    assert (np.bincount(even) == 1).all()


def test_no_object_takes_over():
    labels = np.zeros(1000, int)
    places, _ = drawn(Mining(share=0.9, most=8), np.where(np.arange(1000) < 2, 9.0, -9.0), labels)
    assert np.bincount(places).max() <= 9


def test_corrected_weights_give_back_the_plain_mean():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(-2, 2, 300), np.zeros(300, int)
    losses = np.log1p(np.exp(logits))
    means = []
    for seed in range(200):
        places, weights = drawn(Mining(share=0.7, corrected=True), logits, labels, seed)
        means.append((losses[places] * weights).sum() / 300)
    assert np.mean(means) == pytest.approx(losses.mean(), rel=0.01)
    places, _ = drawn(Mining(share=0.7), logits, labels)
    assert losses[places].mean() > 1.5 * losses.mean()


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "toy.zarr"
    write_toy_store(path, toy_cutouts(60))
    return BatchPlan(TrainingSet([path], 0.2), seed=1, batch_size=16, pool_shards=1)


def test_epochs_know_their_first_steps(plan):
    found = list(islice(plan.epochs(), 3))
    (_, second), (_, third) = found[1:]
    assert list(islice(plan.epochs(second + 1), 2)) == found[1:] if second + 1 < third else True
    whole = list(islice(plan.batches(Augmentation()), third))
    number, first = found[1]
    again = list(plan.epoch(number, first, Augmentation()))
    assert len(again) == third - second
    for one, other in zip(whole[second:], again, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.rows, other.rows)


def test_an_epoch_is_drawn_by_what_was_known_at_its_start(plan):
    hardness = Hardness(Mining(share=0.5), plan.data.n_objects)
    (shard,) = plan.data.shards
    training = np.flatnonzero(~shard.held_out)
    hardness.record(training, np.where(training < 20, 3.0, -6.0).astype(np.float32))
    hardness.begin(1)
    before = [batch.rows for batch in plan.epoch(1, 3, Augmentation(), hardness=hardness)]
    hardness.record(training, np.zeros(len(training), np.float32))
    hardness.begin(1)
    after = [batch.rows for batch in plan.epoch(1, 3, Augmentation(), hardness=hardness)]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(after))
    rows = np.concatenate(before)
    assert not shard.held_out[rows].any()
    hard = rows[(shard.labels[rows] == 0) & (rows < 20)]
    assert len(hard) > 1.3 * ((shard.labels == 0) & ~shard.held_out & (np.arange(60) < 20)).sum()
    # and labels belong to their rows
    batch = next(plan.epoch(1, 3, Augmentation(), hardness=hardness))
    np.testing.assert_array_equal(batch.labels, shard.labels[batch.rows])


@pytest.mark.parametrize(("name", "value"), [("share", 1.0), ("lens_share", -0.1), ("most", 0.5)])
def test_impossible_settings_are_refused(name, value):
    with pytest.raises(TrainingError, match=rf"mining\.{name}.*got {value}"):
        Mining(**{name: value})
