"""Temperature: a planted miscalibration is found."""

import numpy as np
import pytest

from photorank.config import HeadConfig
from photorank.metrics import log_loss, sigmoid
from photorank.training.calibration import best_temperature
from photorank.training.fusion import train_head
from tests.planted import ROLES, planted


@pytest.mark.parametrize("wrong_by", [0.2, 1.0, 6.0])
def test_a_planted_miscalibration_is_found(wrong_by: float) -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(0, 1.5, 20_000)
    answers = (generator.random(len(true)) < sigmoid(true)).astype(float)
    assert best_temperature(true * wrong_by, answers) == pytest.approx(wrong_by, rel=0.06)
    assert best_temperature(true * wrong_by, sigmoid(true)) == pytest.approx(wrong_by, rel=0.01)


def test_no_other_temperature_has_a_smaller_loss() -> None:
    generator = np.random.default_rng(1)
    margin, p = generator.normal(0, 3, 4000), generator.random(4000) * 0.2 + 0.4
    p = np.where(margin > 0, p + 0.2, p - 0.2)
    best = best_temperature(margin, p)
    losses = {each: log_loss(margin / each, p).mean() for each in (best, 0.9 * best, 1.1 * best)}
    assert min(losses, key=losses.get) == best


def test_margins_that_say_nothing_become_even_and_a_slice_without_errors_stays_finite() -> None:
    generator = np.random.default_rng(2)
    nothing = generator.normal(0, 5, 5000)
    assert best_temperature(nothing, generator.integers(0, 2, 5000)) > 20
    assert best_temperature(nothing, (nothing < 0).astype(float)) == pytest.approx(100)
    few = best_temperature([1.0, -2.0, 1.5], [1, 0, 1])
    assert 0.3 < few < 3
    assert best_temperature([], []) == 1


def test_margins_that_are_all_0_or_no_numbers_are_left_as_they_are() -> None:
    p = [0.9, 0.2, 0.7]
    assert best_temperature([0.0, 0.0, 0.0], p) == 1
    assert best_temperature([1.0, float("nan"), -1.0], p) == 1
    assert best_temperature([1.0, float("inf"), -1.0], p) == 1


def test_a_few_series_make_no_margin_much_more_certain() -> None:
    margin, p = np.tile([0.2, -0.1, 0.3], 40), np.tile([0.95, 0.05, 0.95], 40)
    raw = best_temperature(margin, p)
    assert raw < 0.15
    of_one, of_many = (best_temperature(margin, p, np.arange(120) % series) for series in (1, 120))
    assert 0.75 < of_one < 1
    assert raw < of_many < 1.3 * raw
    even = np.tile([0.55, 0.45, 0.5], 40)
    assert best_temperature(10 * margin, even, np.zeros(120)) == best_temperature(10 * margin, even) > 5


def test_of_one_series_no_training_takes_a_temperature_that_makes_it_sure() -> None:
    features, data = planted(200)
    data.split[:] = np.where(data.series < 12, "train", "val")
    for seed in range(8):
        config = HeadConfig(seed=seed, precision="float32", epochs=10, learning_rate=1e-4)
        assert train_head(features, ROLES, data, config).model.temperature > 0.6
