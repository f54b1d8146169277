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


@pytest.mark.parametrize("head", ["score", "difference"])
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 1000), st.sampled_from([(), (8,), (8, 4)]), st.floats(0.1, 30))
def test_both_sides_of_any_head_sum_to_one(head: str, seed: int, hidden: tuple[int, ...], temperature: float) -> None:
    torch.manual_seed(seed)
    model = MultiFeaturePairwiseRanker(DIMS, ROLES, 8, hidden, head=head).eval()
    model.temperature.fill_(temperature)
    given_features = features(20, seed)
    left, right = torch.arange(10), torch.arange(10, 20)
    one, other = (torch.sigmoid(model.margins(given_features, *ends)) for ends in ((left, right), (right, left)))
    torch.testing.assert_close(one + other, torch.ones(10), atol=1e-6, rtol=0)
    assert one.std() > 0


def test_margins_of_a_score_head_are_differences_of_scores() -> None:
    model = MultiFeaturePairwiseRanker(DIMS, ROLES).eval()
    model.temperature.fill_(3.0)
    scores = model(features(6))
    margins = model.margins(features(6), torch.tensor([0, 1]), torch.tensor([4, 3]))
    torch.testing.assert_close(margins, torch.stack([scores[0] - scores[4], scores[1] - scores[3]]))


def test_a_difference_head_sees_the_difference_alone() -> None:
    """What both photos share, as the scene of a series, cannot matter while the projection is linear."""
    torch.manual_seed(0)
    model = MultiFeaturePairwiseRanker(DIMS, ROLES, 8, (8,), activation="none", head="difference").eval()
    raw = {name: values * 0.1 for name, values in features(6).items()}
    moved = {name: values + 0.5 for name, values in raw.items()}
    ends = torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])
    torch.testing.assert_close(model.margins(moved, *ends), model.margins(raw, *ends), atol=1e-5, rtol=1e-4)


def test_lengths_of_visual_vectors_do_not_matter_where_they_are_normalised() -> None:
    model = MultiFeaturePairwiseRanker(DIMS, ROLES, l2_normalise=True).eval()
    raw = features(12)
    longer = {name: values * (7.0 if ROLES[name] == "visual" else 1.0) for name, values in raw.items()}
    model.fit_standardisation(raw)
    torch.testing.assert_close(model(longer), model(raw), atol=1e-4, rtol=1e-4)
    plain = MultiFeaturePairwiseRanker(DIMS, ROLES).eval()
    plain.fit_standardisation(raw)
    assert not torch.allclose(plain(longer), plain(raw), atol=1e-2)


def test_stacked_parameters_give_what_each_gives_alone() -> None:
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(MultiFeaturePairwiseRanker(DIMS, ROLES, 8, (8, 4)).eval())
    stacked = {name: torch.stack([dict(each.named_parameters())[name] for each in models])
               for name, _ in models[0].named_parameters()}  # fmt: skip
    standard = models[0].standardise(features(6))
    together = torch.func.functional_call(
        _Fuse(models[0]), {f"model.{name}": value for name, value in stacked.items()},
        ({name: values.expand(3, -1, -1) for name, values in standard.items()},),
    )  # fmt: skip
    for number, each in enumerate(models):
        torch.testing.assert_close(together[number], each.score_of(each.fuse(standard)))


class _Fuse(torch.nn.Module):
    def __init__(self, model: MultiFeaturePairwiseRanker) -> None:
        super().__init__()
        self.model = model

    def forward(self, standard: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model.score_of(self.model.fuse(standard))
