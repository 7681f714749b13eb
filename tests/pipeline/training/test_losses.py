"""The tail loss is the partial AUROC's surrogate: by hand, by brute force, and by its gradient."""

import math

import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from equilens.pipeline.errors import TrainingError
from equilens.pipeline.training.losses import Tail, TailLoss, build_loss, hardest_pairs

NOTHING = torch.empty(0, dtype=torch.float64)


def logits(n, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator, dtype=torch.float64)


def batch_partial_auroc_loss(lenses, nonlenses, share):
    """The definition, pair by pair."""
    highest = nonlenses.sort(descending=True).values[: round(share * len(nonlenses))]
    pairs = [1 / (1 + torch.exp(high - low)) for high in lenses for low in highest]
    return torch.stack(pairs).mean()


def test_one_pair_by_hand():
    lenses, nonlenses = torch.tensor([2.0]), torch.tensor([-1.0, 0.5])
    found = hardest_pairs(lenses, nonlenses, torch.empty(0), share=0.5)
    assert found == pytest.approx(1 / (1 + math.exp(2.0 - 0.5)))
    # the memory holds harder ones: half of four are 3 and 1.5
    found = hardest_pairs(lenses, nonlenses, torch.tensor([3.0, 1.5]), share=0.5)
    assert found == pytest.approx(sum(1 / (1 + math.exp(2.0 - s)) for s in (3.0, 1.5)) / 2)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), share=st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_without_memory_it_is_the_definition_with_its_gradient(seed, share):
    values = [logits(7, seed).requires_grad_(), logits(20, seed + 1).requires_grad_()]
    found = hardest_pairs(*values, NOTHING, share)
    wanted = batch_partial_auroc_loss(*values, share)
    torch.testing.assert_close(found, wanted)
    for one, other in zip(
        torch.autograd.grad(found, values), torch.autograd.grad(wanted, values), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_with_a_memory_small_batches_push_as_the_whole_population_would():
    lenses, population = logits(5, 1), logits(400, 2)
    wanted = population.clone().requires_grad_()
    batch_partial_auroc_loss(lenses, wanted, 0.05).backward()
    pushed = torch.zeros_like(population)
    for rows in torch.arange(400).split(8):
        others = torch.ones(400, dtype=torch.bool)
        others[rows] = False
        batch = population[rows].clone().requires_grad_()
        hardest_pairs(lenses, batch, population[others], 0.05).backward()
        pushed[rows] += batch.grad / 50
    torch.testing.assert_close(pushed, wanted.grad)


def test_gradient_is_the_difference_quotient_of_what_lenses_see():
    lenses, nonlenses, recent = logits(3, 1), logits(4, 2), logits(50, 3)
    assert torch.autograd.gradcheck(
        lambda s: hardest_pairs(s, nonlenses, recent, 0.1), lenses.requires_grad_()
    )


def test_easy_nonlenses_are_left_to_cross_entropy():
    values, labels = torch.tensor([1.0, -5.0, 2.0], requires_grad=True), torch.tensor([1.0, 0, 0])
    loss = TailLoss(Tail(share=0.5, memory=0))
    entropy = functional.binary_cross_entropy_with_logits(values, labels)
    (easy,) = torch.autograd.grad(loss(values, labels), values)
    (plain,) = torch.autograd.grad(entropy, values)
    assert easy[1] == plain[1]
    assert easy[2] > plain[2]
    assert easy[0] < plain[0]


def test_memory_keeps_the_latest_nonlenses_and_is_state():
    loss = TailLoss(Tail(memory=5))
    for start in (0, 3, 6):
        values = torch.arange(start, start + 4.0)
        loss(values, torch.tensor([0.0, 0.0, 0.0, 1.0]))
    assert sorted(loss.recent.tolist()) == [4, 5, 6, 7, 8]
    again = TailLoss(Tail(memory=5))
    again.load_state_dict(loss.state_dict())
    values, labels = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0])
    assert again(values, labels) == loss(values, labels)
    assert TailLoss(Tail(memory=5))(values, labels) != loss(values, labels)


@pytest.mark.parametrize("labels", [torch.zeros(3), torch.ones(3)])
def test_a_batch_of_one_class_is_cross_entropy(labels):
    values = torch.tensor([0.3, -0.2, 1.0], requires_grad=True)
    loss = TailLoss(Tail())(values, labels)
    assert loss == functional.binary_cross_entropy_with_logits(values, labels)
    loss.backward()
    assert torch.isfinite(values.grad).all()


def test_it_raises_the_tail_where_cross_entropy_does_not_look():
    """Few bright impostors, which a second feature gives away: BCE cares little, the tail much."""
    generator = torch.Generator().manual_seed(0)
    n = 1500
    labels = (torch.arange(n) % 2).float()
    bright = 3 * labels + 0.6 * torch.randn(n, generator=generator)
    impostor = (labels == 0) & (torch.rand(n, generator=generator) < 0.02)
    veto = 0.6 * torch.randn(n, generator=generator)
    features = torch.stack([bright + 3.0 * impostor, veto - 2.0 * impostor], dim=1)
    tpr = {}
    for name in ("bce", "tail"):
        loss, weights = build_loss(name, Tail(share=0.05)), torch.zeros(3, requires_grad=True)
        for _ in range(120):
            rows = torch.randint(n, (128,), generator=generator)
            scores = features[rows] @ weights[:2] + weights[2]
            (slope,) = torch.autograd.grad(loss(scores, labels[rows]), weights)
            weights = (weights - 0.5 * slope).detach().requires_grad_()
        scores = (features @ weights[:2]).detach()
        limit = scores[labels == 0].quantile(0.99)
        tpr[name] = float((scores[labels == 1] > limit).float().mean())
    assert tpr["tail"] > tpr["bce"] + 0.03, tpr


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"share": 0.0}, "share"), ({"weight": -1}, "weight"), ({"memory": -2}, "memory")],
)
def test_impossible_settings_are_refused(settings, named):
    with pytest.raises(TrainingError, match=rf"tail\.{named}.*got"):
        Tail(**settings)


def test_an_unknown_loss_is_refused():
    with pytest.raises(TrainingError, match="one of bce, tail, got 'focal'"):
        build_loss("focal", Tail())
