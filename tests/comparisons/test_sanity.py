"""Contradictions and circles, against slow definitions."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from photorank.comparisons.sanity import circles, contradictions

Row = tuple[int, int, float, int]
ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 1)),
    max_size=14,
).map(lambda rows: [row for row in rows if row[0] != row[1]])


def columns(rows: list[Row]) -> tuple[np.ndarray, ...]:
    left, right, p, series = zip(*rows, strict=True) if rows else ((), (), (), ())
    return np.array(left, np.int64), np.array(right, np.int64), np.array(p, np.float32), np.array(series, np.int64)


@given(ROWS)
def test_contradictions_by_definition(rows: list[Row]) -> None:
    winners: dict[tuple[int, frozenset[int]], set[int]] = {}
    for left, right, p, series in rows:
        if p != 0.5:
            winners.setdefault((series, frozenset((left, right))), set()).add(left if p > 0.5 else right)
    assert contradictions(*columns(rows)) == sum(len(each) == 2 for each in winners.values())


@given(ROWS)
def test_circles_are_series_that_no_order_agrees_with(rows: list[Row]) -> None:
    found = 0
    for series in {row[3] for row in rows}:
        lead = np.zeros((5, 5))
        for left, right, p, other in rows:
            if other == series:
                lead[left, right] += p - 0.5
                lead[right, left] -= p - 0.5
        found += not any(
            all(lead[one, other] >= 0 for one, other in itertools.combinations(order, 2))
            for order in itertools.permutations(range(5))
        )
    assert circles(*columns(rows)) == found


def test_three_that_go_round() -> None:
    around: list[Row] = [(0, 1, 0.9, 7), (1, 2, 0.9, 7), (0, 2, 0.1, 7), (3, 4, 0.9, 8)]
    assert circles(*columns(around)) == 1
    assert circles(*columns([*around[:2], (0, 2, 0.5, 7)])) == 0
    assert contradictions(*columns(around)) == 0


def test_a_photo_beside_itself_is_neither() -> None:
    alone: list[Row] = [(0, 0, 0.9, 7), (1, 2, 0.9, 7)]
    assert circles(*columns(alone)) == contradictions(*columns([*alone, (0, 0, 0.1, 7)])) == 0
