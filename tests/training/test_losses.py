"""Losses: against what they are by definition, and where they are smallest."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.training.losses import LISTWISE, PAIRWISE

SHARES = st.floats(0, 1)
MARGINS = st.floats(-40, 40)


def pair(name: str, margin: float, p: float) -> float:
    return float(PAIRWISE[name](torch.tensor([margin]), torch.tensor([p]), 1.0)[0])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(PAIRWISE)), MARGINS, SHARES)
def test_a_loss_is_the_same_with_sides_swapped_and_its_gradient_is_finite(name: str, margin: float, p: float) -> None:
    margins = torch.tensor([margin], requires_grad=True)
    loss = PAIRWISE[name](margins, torch.tensor([p]), 1.0)
    loss.sum().backward()
    assert margins.grad is not None
    assert torch.isfinite(margins.grad).all()
    assert loss.item() >= -1e-6
    assert loss.item() == pytest.approx(pair(name, -margin, 1 - np.float32(p)), abs=1e-5, rel=1e-4)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
@pytest.mark.parametrize("name", ["bradley_terry", "fidelity"])
def test_losses_of_probabilities_are_smallest_at_the_share_of_people(name: str, p: float) -> None:
    margins = np.linspace(-4, 4, 801)
    best = margins[np.argmin([pair(name, float(each), p) for each in margins])]
    assert 1 / (1 + math.exp(-best)) == pytest.approx(p, abs=0.005)
    if name == "fidelity":
        assert pair(name, math.log(p / (1 - p)), p) == pytest.approx(0, abs=1e-6)


def test_known_values() -> None:
    assert pair("bradley_terry", 2.0, 0.75) == pytest.approx(
        -0.75 * math.log(1 / (1 + math.exp(-2))) - 0.25 * math.log(1 - 1 / (1 + math.exp(-2))), abs=1e-6
    )
    assert [pair("margin_ranking", margin, 0.9) for margin in (2.0, 0.25, -1.0)] == [0, 0.75, 2]
    assert pair("margin_ranking", 0.25, 0.5) == 0
    assert pair("hinge", 0.25, 0.75) == pytest.approx(0.75 * 0.75 + 0.25 * 1.25)
    right = 1 / (1 + math.exp(-2))
    assert pair("fidelity", 2.0, 0.75) == pytest.approx(
        1 - math.sqrt(0.75 * right) - math.sqrt(0.25 * (1 - right)), abs=1e-6
    )


def lists(*rows: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    values = torch.tensor([row + [9.0] * (longest - len(row)) for row in rows])
    return values, torch.tensor([[number < len(row) for number in range(longest)] for row in rows])


def test_listwise_losses_by_their_definitions() -> None:
    scores, there = lists([0.3, -1.0, 2.0], [1.5, 0.5])
    targets, _ = lists([2.0, 0.5, -1.0], [1.0, -1.0])
    nets, orders = (LISTWISE[name](scores, targets, there).tolist() for name in ("listnet", "listmle"))
    for row, size in ((0, 3), (1, 2)):
        s, t = scores[row, :size].double().numpy(), targets[row, :size].double().numpy()
        wanted, found = np.exp(t) / np.exp(t).sum(), np.exp(s) / np.exp(s).sum()
        assert nets[row] == pytest.approx(-(wanted * np.log(found)).sum(), abs=1e-5)
        chances = [np.exp(s[place]) / np.exp(s[place:]).sum() for place in range(size)]
        assert orders[row] == pytest.approx(-np.log(np.prod(chances)), abs=1e-5)


def test_the_likelihoods_of_all_orders_sum_to_one() -> None:
    scores = torch.tensor([0.3, -1.0, 2.0, 0.1])
    there = torch.ones(1, 4, dtype=torch.bool)
    orders = [scores[list(order)][None] for order in itertools.permutations(range(4))]
    likely = [math.exp(-float(LISTWISE["listmle"](each, torch.zeros(1, 4), there))) for each in orders]
    assert sum(likely) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", sorted(LISTWISE))
def test_places_without_a_photo_count_for_nothing(name: str) -> None:
    scores, there = lists([0.3, -1.0, 2.0], [])
    scores.requires_grad_()
    loss = LISTWISE[name](scores, torch.zeros(2, 3), there)
    loss.sum().backward()
    assert loss[1] == 0
    assert scores.grad is not None
    assert (scores.grad[1] == 0).all()
    wider = torch.cat([scores.detach(), torch.full((2, 2), 50.0)], 1)
    more = LISTWISE[name](wider, torch.zeros(2, 5), torch.cat([there, torch.zeros(2, 2, dtype=torch.bool)], 1))
    torch.testing.assert_close(more, loss.detach())
