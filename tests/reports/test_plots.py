"""Plots: what is drawn is what the tables say, and one table is always the same bytes."""

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from photorank import metrics
from photorank.reports import figures, plots
from tests.reports.test_figures import compared, evaluated, planted

EPOCHS = [
    {
        "epoch": float(epoch), "train_loss": 1 / epoch, "train_accuracy": 0.9 - 1 / (9 + epoch),
        "stop_loss": 0.5 + epoch / 100, "stop_accuracy": 0.7 + epoch / 100,
    }
    for epoch in range(1, 8)
]  # fmt: skip
DRAW: dict[str, Callable[[figures.Evaluated, Path], None]] = {
    "reliability": lambda each, out: plots.reliability(figures.reliability(each), out),
    "by_agreement": lambda each, out: plots.by_agreement(figures.by_agreement(each), out),
    "coverage": lambda each, out: plots.coverage(figures.coverage_figures(each), out),
    "learning_curves": lambda _, out: plots.learning_curves(EPOCHS, 3, out),
}


@pytest.mark.parametrize("name", DRAW)
def test_the_same_figures_are_the_same_bytes_in_whatever_style(name: str, tmp_path: Path) -> None:
    each = planted(300, 2)
    DRAW[name](each, tmp_path / "one.png")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        DRAW[name](each, tmp_path / "two.png")
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.width == 720
        assert set(picture.info) <= {"dpi"}  # no date, no software


@pytest.mark.parametrize("name", DRAW)
def test_one_comparison_on_which_people_are_undecided_is_drawn_too(name: str, tmp_path: Path) -> None:
    DRAW[name](evaluated(compared([0], [0], [1], [0.5]), np.ones(1)), tmp_path / "p.png")
    assert (tmp_path / "p.png").exists()


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    found: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: found.append(figure))
    return found


def test_reliability_shows_confidence_agreement_their_interval_and_the_counts(
    drawn: list[Figure], tmp_path: Path
) -> None:
    table = figures.reliability(planted(2000, 4))
    plots.reliability(table, tmp_path / "p.png")
    above, below = drawn[0].axes
    points, _, (bars,) = above.containers[0]
    wanted = [[100 * row["confidence"].value, 100 * row["people who agree"].value] for row in table.values()]
    np.testing.assert_allclose(np.array(points.get_data(), float).T, wanted)
    intervals = [[100 * row["people who agree"].low, 100 * row["people who agree"].high] for row in table.values()]
    np.testing.assert_allclose([segment[:, 1] for segment in bars.get_segments()], intervals)
    assert [bar.get_height() for bar in below.containers[0]] == [row["confidence"].n for row in table.values()]
    assert sum(bar.get_height() for bar in below.containers[0]) == 2000


def test_coverage_and_agreement_show_accuracy(drawn: list[Figure], tmp_path: Path) -> None:
    data = compared(list(range(40)), list(range(0, 80, 2)), list(range(1, 80, 2)), [0.55, 0.75, 0.95, 0.95] * 10)
    each = evaluated(data, np.linspace(-1, 3, 40))
    table = figures.coverage_figures(each)
    plots.coverage(table, tmp_path / "p.png")
    plots.by_agreement(figures.by_agreement(each), tmp_path / "q.png")
    x, y = drawn[0].axes[0].containers[0][0].get_data()
    assert list(x) == [100, 90, 75, 50]
    np.testing.assert_allclose(y.astype(float), [100 * row["accuracy"].value for row in table.values()])
    assert y[-1] > y[0]  # surer and righter
    labels = [label.get_text() for label in drawn[1].axes[0].get_xticklabels()]
    assert labels == ["50–60 %\n10", "70–80 %\n10", "90–100 %\n20"]


def test_learning_curves_show_every_loss_and_accuracy_and_the_epoch_that_was_kept(
    drawn: list[Figure], tmp_path: Path
) -> None:
    plots.learning_curves(EPOCHS, 3, tmp_path / "p.png")
    for axes, kind, factor in zip(drawn[0].axes, ("loss", "accuracy"), (1, 100), strict=True):
        train, stop, kept = axes.get_lines()
        np.testing.assert_allclose(train.get_ydata(), [factor * row[f"train_{kind}"] for row in EPOCHS])
        np.testing.assert_allclose(stop.get_ydata(), [factor * row[f"stop_{kind}"] for row in EPOCHS])
        assert set(kept.get_xdata()) == {3}
        styles = {(line.get_linestyle(), line.get_marker()) for line in (train, stop, kept)}
        assert len(styles) == 3  # without colours too


def test_a_log_of_losses_alone_is_drawn_too(drawn: list[Figure], tmp_path: Path) -> None:
    plots.learning_curves([{"epoch": 1.0, "train_loss": 0.5}, {"epoch": 2.0, "train_loss": 0.4}], 2, tmp_path / "p.png")
    (axes,) = drawn[0].axes
    np.testing.assert_allclose(axes.get_lines()[0].get_ydata(), [0.5, 0.4])


def test_an_interval_that_nothing_says_is_not_drawn(drawn: list[Figure], tmp_path: Path) -> None:
    one = metrics.Estimate(0.5, float("nan"), float("nan"), 3, 1)
    plots.coverage({"100 %": {"accuracy": one}}, tmp_path / "p.png")
    (bars,) = drawn[0].axes[0].containers[0][2]
    np.testing.assert_array_equal(bars.get_segments()[0][:, 1], [50, 50])
