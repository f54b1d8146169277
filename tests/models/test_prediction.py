"""Scores and margins of models that score, and of models that compare."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.models.fusion import MultiFeaturePairwiseRanker
from photorank.models.prediction import group_scores, margins, score

DIMS, ROLES = {"clip": 6, "iqa": 3}, {"clip": "visual", "iqa": "statistic"}


def a_model(head: str) -> MultiFeaturePairwiseRanker:
    torch.manual_seed(0)
    return MultiFeaturePairwiseRanker(DIMS, ROLES, 4, (5,), head=head).eval()


def features(count: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(count, dim, generator=generator) for name, dim in DIMS.items()}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12))
def test_scores_in_groups_are_the_least_squares_of_all_margins(numbers: list[int]) -> None:
    model, groups, photos = a_model("difference"), np.array(numbers), features(len(numbers))
    found = group_scores(model, photos, groups)
    for group in set(numbers):
        (members,) = np.nonzero(groups == group)
        pairs = np.array([(i, j) for i in members for j in members if i < j]).reshape(-1, 2)
        design = np.zeros((len(pairs), len(members)))
        design[np.arange(len(pairs)), np.searchsorted(members, pairs[:, 0])] = 1
        design[np.arange(len(pairs)), np.searchsorted(members, pairs[:, 1])] = -1
        wanted = np.linalg.lstsq(design, margins(model, photos, *pairs.T), rcond=None)[0]
        np.testing.assert_allclose(found[members], wanted, atol=1e-5)


def test_a_group_of_two_has_its_margin_and_a_group_of_one_0() -> None:
    model = a_model("difference")
    found = group_scores(model, features(3), np.array([7, 9, 7]))
    (margin,) = margins(model, features(3), np.array([0]), np.array([2]))
    assert found[0] - found[2] == pytest.approx(margin, abs=1e-6)
    assert found[1] == 0
    assert abs(margin) > 0.01


def test_scores_of_a_scoring_model_order_a_group_as_its_margins_do() -> None:
    model = a_model("score")
    alone, grouped = score(model, features(5)), group_scores(model, features(5), np.zeros(5, np.int64))
    np.testing.assert_allclose(grouped, alone - alone.mean(), atol=1e-6)


@pytest.mark.parametrize("head", ["score", "difference"])
def test_many_comparisons_are_what_each_is_alone(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    left, right = generator.integers(0, 9, (2, 50))
    whole = margins(a_model(head), features(9), left, right)
    monkeypatch.setattr("photorank.models.prediction._PAIRS", 7)
    monkeypatch.setattr("photorank.models.prediction._PHOTOS", 4)
    np.testing.assert_allclose(margins(a_model(head), features(9), left, right), whole, atol=1e-6)
    np.testing.assert_allclose(margins(a_model(head), features(9), right, left), -whole, atol=1e-6)


def test_no_photos_have_no_scores() -> None:
    assert score(a_model("score"), features(0)).shape == (0,)
    assert group_scores(a_model("difference"), features(0), np.empty(0, np.int64)).shape == (0,)
