"""Training a head on features in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from photorank.comparisons import Comparisons, hold_out
from photorank.config import HeadConfig
from photorank.models.prediction import margins_of, score
from photorank.training.fusion import History, train_head


def planted(series: int, noise: float, seed: int = 0, dim: int = 12) -> tuple[dict[str, torch.Tensor], Comparisons]:
    """Series of four photos whose utility is linear in the features; every second series is `val`."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(4 * series, dim)) * generator.uniform(0.1, 20, dim) + generator.uniform(
        -9, 9, dim
    )
    utility = (features - features.mean(0)) / features.std(0) @ np.linspace(1, -1, dim)
    pairs = np.array([(4 * s + i, 4 * s + j) for s in range(series) for i in range(4) for j in range(i + 1, 4)])
    left, right = pairs.T
    p_left = (utility[left] + noise * generator.normal(size=len(left)) > utility[right]).astype(np.float32)
    numbers = left // 4
    keys = generator.integers(0, 256, (4 * series, 32)).astype(np.uint8)
    split = np.where(numbers % 2, "val", "train").astype(object)
    names = [str(s) for s in range(series)]
    data = Comparisons(keys, left, right, p_left, numbers, names, split)
    return {"iqa": torch.from_numpy(features.astype(np.float32))}, data


def accuracy(scores: np.ndarray, data: Comparisons, split: str) -> float:
    rows = data.rows(split)
    margin = scores[data.left[rows]] - scores[data.right[rows]]
    return float(((margin > 0) == (data.p_left[rows] > 0.5)).mean())


def fit(data: tuple[dict[str, torch.Tensor], Comparisons], **options: object) -> tuple[np.ndarray, History]:
    features, comparisons = data
    config = HeadConfig.model_validate(options)
    trained = train_head(features, {"iqa": "statistic"}, comparisons, config)
    return score(trained.model, features), trained.history


def test_a_linear_head_is_scikit_learns_logistic_regression() -> None:
    data = planted(400, noise=2.0)
    scores, _ = fit(data, mlp_hidden_dims=[], dropout=0, epochs=100)
    features, comparisons = data
    rows = comparisons.rows("train")
    values = features["iqa"].numpy()
    used = np.unique([comparisons.left[rows], comparisons.right[rows]])
    standard = (values - values[used].mean(0)) / values[used].std(0)
    difference = standard[comparisons.left] - standard[comparisons.right]
    oracle = LogisticRegression(fit_intercept=False).fit(difference[rows], comparisons.p_left[rows])
    expected = standard @ oracle.coef_[0]
    assert accuracy(scores, comparisons, "val") > 0.8
    assert abs(accuracy(scores, comparisons, "val") - accuracy(expected, comparisons, "val")) < 0.01


def test_a_deeper_head_learns_it_too_and_stops_early() -> None:
    data = planted(300, noise=0.5)
    scores, history = fit(data, epochs=200)
    assert accuracy(scores, data[1], "val") > 0.88
    assert len(history.epochs) == history.best_epoch + HeadConfig().patience
    assert min(row["stop_loss"] for row in history.epochs) == history.epochs[history.best_epoch - 1]["stop_loss"]


def test_features_that_carry_nothing_end_at_chance() -> None:
    features, comparisons = planted(400, noise=0.5)
    nothing = {"iqa": torch.randn(features["iqa"].shape, generator=torch.Generator().manual_seed(0))}
    scores, _ = fit((nothing, comparisons))
    assert 0.45 < accuracy(scores, comparisons, "val") < 0.55


def test_the_same_seed_gives_the_same_scores_and_another_seed_others() -> None:
    data = planted(60, noise=1.0)
    first, _ = fit(data, epochs=5)
    again, _ = fit(data, epochs=5)
    other, _ = fit(data, epochs=5, seed=1)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_reported_split_is_never_looked_at() -> None:
    features, comparisons = planted(60, noise=1.0)
    before, _ = fit((features, comparisons), epochs=5)
    val = comparisons.rows("val")
    comparisons.p_left[val] = 1 - comparisons.p_left[val]
    photos = np.unique(comparisons.left[val])
    changed = {"iqa": features["iqa"].clone()}
    changed["iqa"][photos] = 1e3
    after, _ = fit((changed, comparisons), epochs=5)
    train = np.unique(comparisons.left[comparisons.rows("train")])
    np.testing.assert_array_equal(before[train], after[train])


def learnt_from_few(**options: object) -> float:
    """Accuracy on other series than the 150 that were learnt from, whose photos have far more in common than what
    people see in them; on average over three seeds."""
    features, comparisons = planted(1000, noise=1.0, dim=64)
    comparisons.split[:] = np.where(comparisons.series < 150, "train", "val")
    generator = np.random.default_rng(0)
    standard = (features["iqa"] - features["iqa"].mean(0)) / features["iqa"].std(0)
    scene = torch.from_numpy(generator.normal(0, 5, (1000, 64))).float().repeat_interleave(4, 0)
    features = {"clip": scene + standard}
    rows, found = comparisons.rows("val"), []
    for seed in range(3):
        config = HeadConfig.model_validate({"precision": "float32", "seed": seed, **options})
        margins = margins_of(
            train_head(features, {"clip": "visual"}, comparisons, config).model, features, comparisons, rows
        )
        right = (margins > 0) == (comparisons.p_left[rows] > 0.5)
        found.append(right.mean())
    return float(np.mean(found))


@pytest.mark.parametrize("options", [{}, {"batch_size": 1024, "learning_rate": 6e-3}], ids=["default", "multifeature"])
def test_from_few_comparisons_a_deep_head_learns_what_a_linear_one_does(options: dict[str, object]) -> None:
    linear, deep = learnt_from_few(mlp_hidden_dims=[], dropout=0), learnt_from_few(**options)
    assert linear > 0.92
    assert deep > linear - 0.03


def test_few_comparisons_are_batches_enough_to_learn_in_a_few_epochs() -> None:
    """However large a batch was asked for: its size is no more than what leaves ten steps an epoch."""
    data = planted(150, noise=0.5)
    scores, _ = fit(data, batch_size=100_000, epochs=4, stop_fraction=0, dropout=0)
    assert accuracy(scores, data[1], "val") > 0.85


def test_without_a_slice_every_epoch_is_trained_and_the_last_kept() -> None:
    _, history = fit(planted(20, noise=1.0), epochs=7, stop_fraction=0)
    assert (len(history.epochs), history.best_epoch) == (7, 7)


def test_a_slice_that_no_votes_weigh_is_stopped_by_all_the_same() -> None:
    features, comparisons = planted(60, noise=1.0)
    train = comparisons.rows("train")
    votes = np.full(len(comparisons), 5, np.float32)
    votes[train[hold_out(comparisons.group[train], 0.1, 1)]] = 0
    _, history = fit((features, replace(comparisons, votes=votes)), epochs=12, weights="votes")
    losses = [row["stop_loss"] for row in history.epochs]
    assert min(losses) > 0
    assert history.best_epoch == 1 + int(np.argmin(losses)) > 1


def test_a_slice_of_ties_says_nothing_to_margin_ranking_and_the_last_epoch_is_kept() -> None:
    features, comparisons = planted(60, noise=1.0)
    train = comparisons.rows("train")
    p_left = comparisons.p_left.copy()
    p_left[train[hold_out(comparisons.group[train], 0.1, 1)]] = 0.5
    _, history = fit((features, replace(comparisons, p_left=p_left)), epochs=7, loss="margin_ranking")
    assert (len(history.epochs), history.best_epoch) == (7, 7)
