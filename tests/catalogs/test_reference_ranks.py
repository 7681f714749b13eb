"""Ranks among non-lenses: counts by hand, scipy's exact interval, invariances, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from equilens.catalogs.errors import ScoreError
from equilens.catalogs.reference_ranks import (
    UNKNOWN,
    field_ranks,
    field_statement,
    n_within_top,
    rank_table,
    shares_above,
)

steps = st.integers(-8, 8).map(float)
samples = st.lists(steps, min_size=1, max_size=30).map(np.array)


def test_counts_by_hand():
    found = shares_above([2.0, 1.0, 5.0, -np.inf], [1.0, 1.0, 3.0])
    assert found.count.tolist() == [1, 3, 0, 3]
    assert found.share.tolist() == pytest.approx([1 / 3, 1, 0, 1])
    assert found.n_nonlenses == 3


def test_field_ranks_by_hand():
    # the field objects are at 3, 1 and 1; one does not stand above itself
    scores, labels = [4, 3, 1, 1, 1], [1, 0, 0, 0, UNKNOWN]
    ranks, n_field = field_ranks(scores, labels)
    assert ranks.tolist() == [1, 1, 3, 3, 4]
    assert n_field.tolist() == [3, 2, 2, 2, 3]


def test_the_interval_is_the_exact_one():
    rng = np.random.default_rng(0)
    nonlenses, scores = rng.normal(size=400), rng.normal(1, 1, 20)
    found = shares_above(scores, nonlenses, level=0.9)
    for score, low, high in zip(scores, found.low, found.high, strict=True):
        count = int(sum(other >= score for other in nonlenses))
        exact = binomtest(count, 400).proportion_ci(0.9, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(samples, samples, st.randoms(use_true_random=False))
def test_order_of_the_input_means_nothing(scores, nonlenses, random):
    ids = [f"o{k:03d}" for k in range(len(scores))]
    labels = np.array([k % 3 - 1 for k in range(len(scores))])
    table = rank_table(ids, scores, nonlenses, labels=labels)
    order = random.sample(range(len(scores)), len(scores))
    others = random.sample(nonlenses.tolist(), len(nonlenses))
    shuffled = rank_table([ids[k] for k in order], scores[order], others, labels=labels[order])
    assert shuffled.equals(table)


@settings(max_examples=60, deadline=None)
@given(samples, samples)
def test_only_the_order_of_the_scores_counts(scores, nonlenses):
    plain = shares_above(scores, nonlenses)
    bent = shares_above(np.exp(scores) + 3, np.exp(nonlenses) + 3)
    assert np.array_equal(plain.count, bent.count)
    assert np.all((plain.low <= plain.share) & (plain.share <= plain.high))
    # a higher score never stands lower
    assert np.all(np.diff(plain.count[np.argsort(scores)]) <= 0)


def test_a_tie_counts_against_the_object():
    tied = shares_above([1.0], [1.0] * 5 + [0.0] * 5)
    just_above = shares_above([np.nextafter(1.0, 2)], [1.0] * 5 + [0.0] * 5)
    assert (tied.count[0], just_above.count[0]) == (5, 0)


def test_the_table_marks_and_sorts():
    table = rank_table(
        ["b", "a", "c"], [1.0, 1.0, 2.0], np.zeros(1000), labels=[1, 0, UNKNOWN],
        out_of_domain=["", "noise", ""],
    )  # fmt: skip
    assert table["id"].to_pylist() == ["c", "a", "b"]
    assert table["is_lens"].to_pylist() == [None, 0, 1]
    assert table["rank_in_field"].to_pylist() == [1, None, 2]
    assert table["out_of_domain"].to_pylist() == ["", "noise", ""]
    assert n_within_top(table, 1) == (1, 1, 1)
    # none of 300 above allows up to 1.2 % of them: within the top, and not surely
    few = rank_table(["x"], [1.0], np.zeros(300), labels=[1])
    assert n_within_top(few, 1) == (1, 1, 0)
    assert few["rank_in_field"].to_pylist() == [None]


def test_few_field_objects_are_said_to_measure_nothing():
    assert "0.34" in field_statement(9)
    assert "measure nothing" in field_statement(9)
    assert "measure nothing" not in field_statement(1000)
    assert "no real field objects" in field_statement(0)


@pytest.mark.parametrize(
    ("scores", "nonlenses", "why"),
    [([1.0], [], "at least one"), ([np.nan], [1.0], "NaN"), ([1.0], [np.nan, 1.0], "non-lenses")],
)
def test_what_can_not_be_ranked_is_refused(scores, nonlenses, why):
    with pytest.raises(ScoreError, match=why):
        shares_above(scores, nonlenses)


def test_missing_labels_are_refused():
    with pytest.raises(ScoreError, match="each object needs"):
        rank_table(["a", "b"], [1.0, 2.0], [0.0], labels=[1])
