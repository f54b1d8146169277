"""The figures of an evaluation on margins and labels whose figures are known."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau

from photorank import metrics
from photorank.comparisons import Comparisons
from photorank.reports import figures
from photorank.stages.evaluate import evaluation_tables


def compared(series: list[int], left: list[int], right: list[int], p_left: list[float]) -> Comparisons:
    photos = max(*left, *right) + 1
    keys = np.arange(32 * photos, dtype=np.uint8).reshape(photos, 32)
    names = [str(number) for number in range(max(series) + 1)]
    numbers = (np.array(each, np.int64) for each in (left, right))
    split = np.full(len(series), "test", dtype=object)
    return Comparisons(keys, *numbers, np.array(p_left, np.float32), np.array(series, np.int64), names, split)


def all_pairs(sizes: list[int], seed: int) -> tuple[Comparisons, np.ndarray, np.ndarray]:
    """Every pair of each series once, sides drawn; the ranker's scores and people's, of few values so that some tie."""
    generator = np.random.default_rng(seed)
    ours, theirs = (generator.integers(0, 4, sum(sizes)).astype(float) for _ in range(2))
    rows = []
    for series, (size, start) in enumerate(zip(sizes, np.cumsum([0, *sizes]), strict=False)):
        pairs = combinations(range(start, start + size), 2)
        rows += [(series, *(pair if generator.random() < 0.5 else pair[::-1])) for pair in pairs]
    series, left, right = (list(each) for each in zip(*rows, strict=True))
    p_left = metrics.sigmoid(theirs[left] - theirs[right])
    return compared(series, left, right, list(p_left)), ours, theirs


def swapped(data: Comparisons) -> Comparisons:
    return Comparisons(
        data.keys, data.right, data.left, np.float32(1) - data.p_left, data.series, data.series_names, data.split
    )


def evaluated(data: Comparisons, margin: np.ndarray) -> figures.Evaluated:
    return figures.Evaluated(data, np.asarray(margin, float), metrics.Resamples(data.series, draws=200))


@pytest.mark.parametrize("seed", range(5))
def test_tau_of_compared_pairs_is_scipys_tau_b_of_the_scores(seed: int) -> None:
    sizes = [2, 3, 5, 8]
    data, ours, theirs = all_pairs(sizes, seed)
    found = figures.tau(data, ours[data.left] - ours[data.right])
    starts = np.cumsum([0, *sizes])
    for series, (start, end) in enumerate(pairwise(starts)):
        value = found[data.series == series][0]
        if len(set(theirs[start:end])) == 1:  # people prefer none
            assert np.isnan(value)
        elif len(set(ours[start:end])) == 1:  # the ranker is undecided, of which scipy says nothing
            assert value == 0
        else:
            assert value == pytest.approx(kendalltau(ours[start:end], theirs[start:end]).statistic)


@pytest.mark.parametrize("seed", range(5))
def test_top_1_is_the_best_by_score_and_ties_share(seed: int) -> None:
    sizes = [2, 3, 5, 8]
    data, ours, theirs = all_pairs(sizes, seed)
    found = figures.top1(data, ours[data.left] - ours[data.right])
    starts = np.cumsum([0, *sizes])
    for series, (start, end) in enumerate(pairwise(starts)):
        picked = ours[start:end] == ours[start:end].max()
        preferred = theirs[start:end] == theirs[start:end].max()
        values = found[data.series == series]
        np.testing.assert_allclose(values[0], np.nan if preferred.all() else preferred[picked].mean())
        assert np.isnan(values[1:]).all()


def test_the_preferred_photo_follows_from_a_chain_of_comparisons() -> None:
    """a over b, b over c, c over d, the last most clearly: it has the highest share of all, and is third."""
    data = compared([0, 0, 0], [0, 1, 2], [1, 2, 3], [0.6, 0.6, 0.99])
    assert figures.top1(data, np.array([1.0, 1, 1]))[0] == 1
    assert figures.top1(data, np.array([-1.0, -1, 1]))[0] == 0


def test_labels_at_the_limit_of_clear_are_not_clear_in_either_direction() -> None:
    each = evaluated(compared([0, 1, 2], [0, 2, 4], [1, 3, 5], [0.7, 0.3, 0.71]), np.ones(3))
    assert figures.main_figures(each)["accuracy, clear"].n == 1
    assert list(figures.by_agreement(each)) == ["60–70 %", "70–80 %"]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(2, 5), min_size=1, max_size=6), st.integers(0, 10_000))
def test_swapping_left_and_right_changes_no_figure(sizes: list[int], seed: int) -> None:
    data, ours, _ = all_pairs(sizes, seed)
    margin, other = (ours[data.left] - ours[data.right]) / 3, np.random.default_rng(seed).normal(size=len(data))
    variant = np.array([f"blur-{1 + number % 2}" for number in range(len(data))], dtype=object)
    one = evaluation_tables(data, {"run": margin, "against": other}, {"sharpness alone": -margin}, variant)
    two = evaluation_tables(swapped(data), {"run": -margin, "against": -other}, {"sharpness alone": margin}, variant)
    assert {title: list(table) for title, table in one.items()} == {title: list(table) for title, table in two.items()}
    for title, table in one.items():
        for row, cells in table.items():
            for column, each in cells.items():
                same = two[title][row][column]
                assert (each.n, each.groups) == (same.n, same.groups)
                np.testing.assert_allclose(
                    [each.value, each.low, each.high], [same.value, same.low, same.high], atol=1e-6, err_msg=title + row
                )


def test_a_run_against_itself_differs_by_exactly_nothing() -> None:
    data, _, _ = all_pairs([3] * 20, 0)
    margin = np.random.default_rng(0).normal(size=len(data))
    for each in figures.differences(evaluated(data, margin), margin).values():
        assert (each.value, each.low, each.high) == (0, 0, 0)


def test_a_better_ranker_differs_by_more_than_chance_and_has_the_sign() -> None:
    data, _, theirs = all_pairs([3] * 60, 1)
    good = theirs[data.left] - theirs[data.right]
    bad = np.random.default_rng(1).normal(size=len(data))
    found = figures.differences(evaluated(data, good), bad)
    assert found["accuracy"].low > 0
    assert found["top-1 of series"].low > 0
    assert found["log loss"].high < 0


def test_intervals_are_wider_over_series_than_over_pairs_where_series_agree() -> None:
    """In each series the ranker is right on all of its ten pairs or on none."""
    generator = np.random.default_rng(2)
    right = np.repeat(generator.integers(0, 2, 50), 10)
    series = np.repeat(np.arange(50), 10)
    data = compared(series.tolist(), list(range(0, 1000, 2)), list(range(1, 1000, 2)), [0.9] * 500)
    margin = np.where(right == 1, 1.0, -1.0)
    by_series = figures.main_figures(evaluated(data, margin))["accuracy"]
    by_pair = figures.main_figures(figures.Evaluated(data, margin, metrics.Resamples(np.arange(500))))["accuracy"]
    assert by_series.value == by_pair.value == right.mean()
    assert by_series.high - by_series.low > 2 * (by_pair.high - by_pair.low)
    assert (by_series.groups, by_pair.groups) == (50, 500)


def planted(count: int, factor: float) -> figures.Evaluated:
    """People who answer as margins say, and a ranker whose margins are `factor` times these."""
    generator = np.random.default_rng(3)
    truth = generator.normal(0, 1.5, count)
    label = (generator.random(count) < metrics.sigmoid(truth)).astype(float)
    data = compared(list(range(count)), list(range(0, 2 * count, 2)), list(range(1, 2 * count, 2)), label.tolist())
    return evaluated(data, factor * truth)


def test_the_calibration_error_finds_a_ranker_that_is_too_sure() -> None:
    honest, boasting, timid = (figures.calibration_error(planted(4000, factor)) for factor in (1, 4, 0.25))
    assert honest.value < 0.03
    assert min(boasting.low, timid.low) > 0.1 > honest.high
    # What it should be: the mean distance between what is said and what is so.
    truth = np.random.default_rng(3).normal(0, 1.5, 4000)
    gap = np.abs(metrics.sigmoid(np.abs(4 * truth)) - metrics.sigmoid(np.abs(truth))).mean()
    assert boasting.value == pytest.approx(gap, abs=0.02)
    rows = figures.reliability(planted(4000, 4))
    assert rows["95–100 %"]["confidence"].low > rows["95–100 %"]["people who agree"].high


def test_a_ranker_that_takes_no_side_is_half_right_and_calibrated() -> None:
    found = figures.main_figures(evaluated(compared([0, 1], [0, 2], [1, 3], [1.0, 0.2]), np.zeros(2)))
    assert found["accuracy"].value == 0.5
    assert found["calibration error"].value == 0
    assert found["Kendall's tau"].value == 0
    assert found["top-1 of series"].value == 0.5
    assert found["log loss"].value == pytest.approx(np.log(2))


def test_certain_answers_are_kept_first_and_ties_share_what_room_there_is() -> None:
    data = compared(list(range(8)), list(range(0, 16, 2)), list(range(1, 16, 2)), [1.0] * 7 + [0.5])
    margin = np.array([4.0, 3, -2, 2, -1, -1, -1, 9])
    found = {name: row["accuracy"].value for name, row in figures.coverage_figures(evaluated(data, margin)).items()}
    assert found["100 %"] == pytest.approx(3 / 7)  # the last has no right answer and takes no room
    assert found["50 %"] == pytest.approx(2.75 / 3.5)  # 4, 3, and 1.5 of the two at 2, of which half are right
    assert found["75 %"] == pytest.approx(3 / 5.25)


def test_a_series_of_many_photos_is_picked_from_in_little_memory() -> None:
    data, _, _ = all_pairs([300], 6)
    scores = np.random.default_rng(6).normal(size=300)
    data = compared(
        data.series.tolist(), data.left.tolist(), data.right.tolist(),
        metrics.sigmoid(scores[data.left] - scores[data.right]).tolist(),
    )  # fmt: skip
    margin = scores[data.left] - scores[data.right]
    assert figures.top1(data, margin)[0] == 1
    assert figures.top1(data, -margin)[0] == 0
    assert list(figures.by_size(evaluated(data, margin))) == ["9 photos or more"]


def test_parts_hold_what_belongs_to_them() -> None:
    data = compared([0, 0, 0, 1, 2], [0, 0, 1, 3, 5], [1, 2, 2, 4, 6], [1, 1, 1, 1, 0.5])
    each = evaluated(data, np.array([1.0, 1, -1, 1, 1]))
    sizes = figures.by_size(each)
    assert {name: row["log loss"].n for name, row in sizes.items()} == {"2 photos": 2, "3 photos": 3}
    assert sizes["3 photos"]["accuracy"].value == pytest.approx(2 / 3)
    assert figures.by_agreement(each)["50 %"]["accuracy"].n == 0
    names = np.array(["jpeg-40", "blur-10", "blur-2", "blur-2", "none"], dtype=object)
    variants = figures.by_variant(each, names)
    assert list(variants) == ["jpeg", "jpeg-40", "blur", "blur-2", "blur-10", "none"]
    assert variants["blur"]["accuracy"].value == pytest.approx(2 / 3)
    assert variants["blur-2"]["accuracy"].value == 0.5
    named = figures.by_variant(each, np.array(["blur", "blur-2", "blur-2", "jpeg", "jpeg"], dtype=object))
    assert {name: row["log loss"].n for name, row in named.items()} == {
        "blur, all": 3, "blur": 1, "blur-2": 2, "jpeg": 2,
    }  # fmt: skip
