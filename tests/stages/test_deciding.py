"""What to keep of a series: how many, what is too close to call, and what does not compete."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from photorank.errors import ConfigError
from photorank.metrics import sigmoid
from photorank.stages.deciding import Keep, order

SCORES = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=9)


def frames(*series: list[float], bracket: tuple[int, ...] = ()) -> pd.DataFrame:
    """A table of series s0, s1, ...; frames are a0, a1, ... in the order given, those numbered in `bracket` of one."""
    rows = [(f"s{number}", score) for number, scores in enumerate(series) for score in scores]
    table = pd.DataFrame(rows, columns=["series", "score"])
    table["path"] = [f"a{at}" for at in range(len(table))]
    table["bracket"] = pd.Series(["b" if at in bracket else None for at in range(len(table))], dtype=object)
    return table


def called(table: pd.DataFrame) -> list[object]:
    """What was called: True, False, or "?" where it is undecided."""
    return ["?" if each is pd.NA else bool(each) for each in table["keep"]]


@pytest.mark.parametrize(
    ("text", "frames_of", "wanted"),
    [
        ("1", 5, 1), ("2", 5, 2), ("9", 5, 5), ("30%", 5, 2), ("30 %", 10, 3), ("7%", 100, 7), ("1%", 5, 1),
        ("100%", 5, 5), ("12.5%", 8, 1),
    ],
)  # fmt: skip
def test_how_many_are_kept(text: str, frames_of: int, wanted: int) -> None:
    assert Keep.parse(text).of(frames_of) == wanted
    (_, *kept) = order(frames([0.0], list(range(frames_of))), Keep.parse(text))["keep"]
    assert kept == [True] * wanted + [False] * (frames_of - wanted)


@pytest.mark.parametrize("text", ["0", "-1", "0%", "101%", "half", "1.5", "", "%"])
def test_what_is_no_number_of_frames_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--keep is how many frames of a series"):
        Keep.parse(text)


@settings(deadline=None, max_examples=40)
@given(SCORES, st.integers(1, 4), st.floats(0.5, 1))
def test_what_is_decided_is_as_sure_as_was_asked(scores: list[float], count: int, confidence: float) -> None:
    every = order(frames(scores), Keep(count))
    table = order(frames(scores), Keep(count), confidence)
    score, keep = table["score"].to_numpy(float), table["keep"]
    assert keep[~keep.isna()].equals(every["keep"][~keep.isna()])
    if len(scores) <= count:
        assert keep.all()
        return
    last, out = score[count - 1], score[count]
    sure = [sigmoid(one - out) if at < count else sigmoid(last - one) for at, one in enumerate(score)]
    assert list(keep.isna()) == [each < confidence for each in sure]


def test_close_calls_are_undecided_on_both_sides_of_the_border() -> None:
    table = order(frames([3.0, 2.9, 0.0], [5.0], [1.0, -1.0]), Keep(1), 0.8)
    assert called(table) == ["?", "?", False, True, True, False]
    table = order(frames([3.0, 2.9, 0.0]), Keep(2), 0.8)
    assert list(table["keep"]) == [True, True, False]


def test_the_heads_own_probabilities_decide() -> None:
    """A difference head's odds of two frames need not be those of their scores."""
    asked: list[tuple[float, float]] = []
    table = frames([0.0, 2.0, 1.0])

    def margins(left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
        asked.extend(zip(table["score"][left], table["score"][right], strict=True))
        return np.array([{(2, 1): 0.1, (2, 0): 4.0}[left, right] for left, right in asked])

    ordered = order(table, Keep(1), 0.9, margins)
    assert called(ordered) == ["?", "?", False]
    assert set(asked) == {(2.0, 1.0), (2.0, 0.0)}


def test_frames_of_a_bracket_are_all_kept_and_do_not_compete() -> None:
    table = order(frames([9.0, 1.0, 5.0, 4.0, 3.0], bracket=(0, 1, 2)), Keep(1), 0.6)
    assert dict(zip(table["path"], table["keep"], strict=True)) == {
        "a0": True, "a2": True, "a3": True, "a4": False, "a1": True,
    }  # fmt: skip
    assert list(table["rank"]) == [1, 2, 3, 4, 5]
    assert [table["path"][at] if at >= 0 else None for at in table["pick"]] == [None, None, "a3", "a3", None]


@settings(deadline=None, max_examples=40)
@given(st.lists(SCORES, min_size=1, max_size=4))
def test_probabilities_of_a_series_sum_to_one_and_ties_stay_in_order(series: list[list[float]]) -> None:
    table = order(frames(*series))
    np.testing.assert_allclose(table.groupby("series")["p_best"].sum(), 1)
    assert (table[table["keep"]]["rank"] == 1).all()
    for _, part in table.groupby("series"):
        assert part["score"].is_monotonic_decreasing
        number = part["path"].str[1:].astype(int)
        assert all(np.diff(number)[np.diff(part["score"]) == 0] > 0)
