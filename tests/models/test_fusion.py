"""The head: antisymmetric, standardised, order of the fusion."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from photorank.models.fusion import MultiFeaturePairwiseRanker

ROLES = {"clip": "visual", "resnet50": "visual", "iqa": "statistic"}
DIMS = {"clip": 16, "resnet50": 24, "iqa": 5}


def features(count: int, seed: int = 0, names: tuple[str, ...] = tuple(DIMS)) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(count, DIMS[name], generator=generator) * 3 + 1 for name in names}


@pytest.mark.parametrize("names", [("clip",), ("iqa",), ("clip", "iqa"), ("clip", "resnet50", "iqa")])
@pytest.mark.parametrize("hidden", [(), (8,), (8, 4)])
def test_probabilities_of_both_sides_sum_to_one(names: tuple[str, ...], hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = MultiFeaturePairwiseRanker({n: DIMS[n] for n in names}, ROLES, 8, hidden).eval()
    scores = model(features(20, names=names))
    assert scores.shape == (20,)
    left, right = scores[:10], scores[10:]
    torch.testing.assert_close(
        torch.sigmoid(left - right) + torch.sigmoid(right - left), torch.ones(10), atol=1e-6, rtol=0
    )


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.floats(0.1, 50), st.floats(-20, 20))
def test_scores_do_not_depend_on_units(seed: int, scale: float, offset: float) -> None:
    """Standardisation: features in other units, fitted again, give the same scores."""
    torch.manual_seed(1)
    model = MultiFeaturePairwiseRanker(DIMS, ROLES, 8, (8,)).eval()
    raw = features(50, seed)
    model.fit_standardisation(raw)
    before = model(raw)
    other = {name: values * scale + offset for name, values in raw.items()}
    model.fit_standardisation(other)
    torch.testing.assert_close(model(other), before, atol=2e-3, rtol=1e-3)


def test_a_dimension_that_never_varied_says_nothing() -> None:
    torch.manual_seed(0)
    model = MultiFeaturePairwiseRanker({"iqa": 5}, ROLES, mlp_hidden_dims=()).eval()
    values = features(30, names=("iqa",))
    values["iqa"][:, 2] = 7.1
    model.fit_standardisation(values)
    changed = {"iqa": values["iqa"].clone()}
    changed["iqa"][:, 2] = 1000.0
    torch.testing.assert_close(model(changed), model(values))


def test_statistics_are_never_dropped_and_visual_features_are() -> None:
    torch.manual_seed(0)
    statistic = MultiFeaturePairwiseRanker({"iqa": 5}, ROLES, mlp_hidden_dims=(), dropout=0.9).train()
    given_features = features(10, names=("iqa",))
    torch.testing.assert_close(statistic(given_features), statistic(given_features))
    visual = MultiFeaturePairwiseRanker({"clip": 16}, ROLES, mlp_hidden_dims=(), dropout=0.9).train()
    assert not torch.equal(visual(features(10, names=("clip",))), visual(features(10, names=("clip",))))


def test_half_precision_features_are_taken_as_they_are() -> None:
    model = MultiFeaturePairwiseRanker(DIMS, ROLES).eval()
    halves = {name: values.half() for name, values in features(6).items()}
    torch.testing.assert_close(model(halves), model({name: values.float() for name, values in halves.items()}))
