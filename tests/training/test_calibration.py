"""Temperature: a planted miscalibration is found."""

import numpy as np
import pytest

from photorank.metrics import log_loss, sigmoid
from photorank.training.calibration import best_temperature


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
