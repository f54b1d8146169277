"""Series that share photos stay together: in splits, folds, early stopping and intervals."""

import logging
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from photorank.comparisons import Comparisons, read_comparisons, resolve
from photorank.comparisons.groups import groups
from photorank.comparisons.tables import components
from photorank.config import HeadConfig
from photorank.reports.figures import comparison_figures
from photorank.stages.crossing import fold_parts, pooled_figures
from photorank.stages.training_report import split_figures
from photorank.training import fusion
from tests.planted import ROLES, planted


def doubled(data: Comparisons) -> Comparisons:
    """Every series twice, under another name the second time."""
    count = len(data.series_names)
    assert data.votes is not None
    return Comparisons(
        data.keys, np.tile(data.left, 2), np.tile(data.right, 2), np.tile(data.p_left, 2),
        np.concatenate([data.series, data.series + count]), [*data.series_names, *(f"{n}x" for n in range(count))],
        np.tile(data.split, 2), np.tile(data.votes, 2),
    )  # fmt: skip


def photos(data: Comparisons, rows: np.ndarray) -> set[int]:
    return {*data.left[rows].tolist(), *data.right[rows].tolist()}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=25))
def test_groups_are_what_photos_connect(rows: list[tuple[int, int, int]]) -> None:
    series, left, right = np.array(rows).T
    found = groups(series, left, right)
    of = pd.Series([f"series {each}" for each in np.tile(series, 2)])
    expected = np.array(components(of, pd.Series(np.concatenate([left, right]).astype(str))), object)[: len(rows)]
    for at in range(len(rows)):
        np.testing.assert_array_equal(found == found[at], expected == expected[at])
        assert found[at] == series[found == found[at]].min()


def test_a_long_chain_of_series_is_one_group() -> None:
    order = np.random.default_rng(0).permutation(3000)
    assert set(groups(order, np.arange(3000), np.arange(1, 3001))) == {0}


def test_the_split_that_is_drawn_keeps_them_together_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "c.csv"
    rows = [f"{number},{number}a,{number}b,1" for number in range(12)]
    file.write_text("\n".join(["series,left,right,p_left", *rows, "12,3a,5b,0", "13,./5b,7a,1", ""]))
    names = [f"{number}{side}" for number in range(12) for side in "ab"]
    known = {os.fsencode(tmp_path / name): name.encode().ljust(32) for name in names}
    for seed in range(20):
        with caplog.at_level(logging.WARNING):
            data = resolve(file, read_comparisons(file), None, known.get, 0.3, seed)
        assert not photos(data, data.rows("train")) & photos(data, data.rows("val"))
        assert len(data.rows("val"))
        assert len(set(data.split[[3, 5, 7, 12, 13]])) == 1
    assert caplog.messages[0] == f"warning: {file}: 5 series share photos; they are kept together"


def test_folds_share_no_photo() -> None:
    data = doubled(planted(30)[1])
    parts = fold_parts(data, 4)
    assert sorted(np.concatenate([part.held_out for part in parts])) == list(range(len(data)))
    for part in parts:
        assert not photos(data, part.train) & photos(data, part.held_out)


def test_early_stopping_looks_at_no_photo_that_is_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    features, data = planted(30)
    data = doubled(data)
    seen: list[set[int]] = []
    by_series = fusion.by_series

    def watched(comparisons: Comparisons, rows: np.ndarray, *rest: object) -> object:
        seen.append(photos(comparisons, rows))
        return by_series(comparisons, rows, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(fusion, "by_series", watched)
    fusion.train_head(features, ROLES, data, HeadConfig(epochs=1, stop_fraction=0.3))
    fit, stop = seen
    assert fit
    assert stop
    assert not fit & stop


def test_a_series_that_is_there_twice_narrows_no_interval() -> None:
    _, data = planted(40)
    twice, margin = doubled(data), np.random.default_rng(0).normal(size=len(data))
    one, other = (split_figures("head", *each, {})[0] for each in ((margin, data), (np.tile(margin, 2), twice)))
    for split, figures in one.items():
        for name, each in figures.items():
            assert replace(other[split][name], n=each.n) == each
    rows = np.arange(len(twice))
    pooled = pooled_figures(twice, rows, np.tile(margin, 2)[None], comparison_figures)["accuracy"]
    expected = pooled_figures(data, rows[: len(data)], margin[None], comparison_figures)["accuracy"]
    assert (pooled.low, pooled.high) == pytest.approx((expected.low, expected.high))
