"""Figures and their intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from photorank import metrics

shares = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def test_correct_is_the_sign_half_for_no_margin_and_nan_for_no_preference() -> None:
    assert np.isnan(metrics.correct([np.nan, np.nan], [0.9, 0.1])).all()
    found = metrics.correct([2.0, -1.0, 0.0, 1.0, 3.0], [0.9, 0.9, 0.9, 0.1, 0.5])
    np.testing.assert_array_equal(found, [1, 0, 0.5, 0, np.nan])


@given(shares, st.integers(0, 100))
def test_swapping_left_and_right_changes_no_figure(p_left: list[float], seed: int) -> None:
    margin = np.random.default_rng(seed).normal(size=len(p_left))
    p = np.array(p_left)
    np.testing.assert_array_equal(metrics.correct(margin, p), metrics.correct(-margin, 1 - p))
    np.testing.assert_allclose(metrics.log_loss(margin, p), metrics.log_loss(-margin, 1 - p), atol=1e-12)


def test_log_loss_is_scikit_learns_for_hard_labels() -> None:
    generator = np.random.default_rng(0)
    margin, label = generator.normal(size=200), generator.integers(0, 2, 200)
    expected = sklearn_log_loss(label, 1 / (1 + np.exp(-margin)))
    assert metrics.log_loss(margin, label).mean() == pytest.approx(expected)


def test_log_loss_of_soft_labels_is_scikit_learns_with_each_side_weighted_by_its_share() -> None:
    generator = np.random.default_rng(3)
    margin, share = generator.normal(size=200), generator.random(200)
    left = np.tile(1 / (1 + np.exp(-margin)), 2)
    expected = sklearn_log_loss(np.repeat([1, 0], 200), left, sample_weight=np.concatenate([share, 1 - share]))
    assert metrics.log_loss(margin, share).mean() == pytest.approx(expected)


def test_brier_is_scikit_learns_for_hard_labels() -> None:
    generator = np.random.default_rng(4)
    margin, label = generator.normal(size=200), generator.integers(0, 2, 200)
    expected = brier_score_loss(label, 1 / (1 + np.exp(-margin)))
    assert metrics.brier(margin, label).mean() == pytest.approx(expected)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_both_sides_are_certain_together(margins: list[float]) -> None:
    both = metrics.sigmoid(margins) + metrics.sigmoid(np.negative(margins))
    np.testing.assert_allclose(both, 1, rtol=0, atol=1e-15)


def test_log_loss_stays_finite_for_certain_answers() -> None:
    assert np.isfinite(metrics.log_loss([1e4, -1e4], [0.0, 1.0])).all()


def test_the_interval_is_wider_over_groups_whose_members_agree() -> None:
    generator = np.random.default_rng(1)
    groups = np.repeat(np.arange(60), 10)
    values = np.repeat(generator.integers(0, 2, 60), 10)
    over_groups = metrics.bootstrap(values, groups)
    over_rows = metrics.bootstrap(values, np.arange(600))
    assert over_groups.high - over_groups.low > 2 * (over_rows.high - over_rows.low)
    assert over_groups.value == over_rows.value == values.mean()


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        values = generator.random(150) < 0.7
        estimate = metrics.bootstrap(values, np.arange(150), draws=400, seed=trial)
        covered += estimate.low <= 0.7 <= estimate.high
    assert 180 <= covered <= 199


def test_resamples_are_shared_so_that_a_difference_is_paired() -> None:
    generator = np.random.default_rng(5)
    one, noise, groups = generator.random(400), 0.01 * generator.random(400), np.repeat(np.arange(40), 10)
    shared = metrics.Resamples(groups)
    apart = shared.mean(one).high - shared.mean(one).low
    difference = shared.mean(one + noise - one)
    assert difference.high - difference.low < apart / 10
    nothing = shared.mean(one - one)
    assert (nothing.value, nothing.low, nothing.high, nothing.groups) == (0, 0, 0, 40)


def test_a_figure_of_sums_and_weighted_means() -> None:
    shared = metrics.Resamples([0, 0, 1, 1])
    values, weights = np.array([1.0, 0, 1, np.nan]), np.array([1, 0.5, 0, 1])
    assert shared.mean(values, weights).value == pytest.approx(1 / 1.5)
    assert (shared.mean(values, weights).n, shared.mean(values, weights).groups) == (2, 1)
    ratio = shared.over(np.array([[1.0, 2], [3, 4], [5, 6], [7, 8]]), lambda sums: sums[..., 0] / sums[..., 1], 4)
    assert ratio.value == pytest.approx(16 / 20)
    assert ratio.low <= ratio.value <= ratio.high


def test_values_without_preference_are_left_out_and_one_group_has_no_interval() -> None:
    estimate = metrics.bootstrap([1, np.nan, 0, 1], [0, 0, 1, 2])
    assert (estimate.value, estimate.n, estimate.groups) == (pytest.approx(2 / 3), 3, 3)
    assert np.isnan(metrics.bootstrap([1, 0], [5, 5]).low)
    assert metrics.bootstrap([], []).n == 0


def test_trivial_answers_are_one_side_and_each_figure() -> None:
    left, right = np.array([0, 1]), np.array([1, 2])
    margins = metrics.trivial_margins(left, right, {"sharpness": np.array([1.0, 5.0, 2.0])})
    assert set(margins) == {"always left", "always right", "sharpness alone"}
    np.testing.assert_array_equal(margins["sharpness alone"], [-4, 3])
    np.testing.assert_array_equal(metrics.correct(margins["always left"], [1, 0]), [1, 0])
