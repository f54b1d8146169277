"""check: a comparisons file in, what is to be known of it out, before anything is trained on it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from photorank import metrics
from photorank.comparisons import CLEAR, SPLITS, as_key, read_comparisons
from photorank.comparisons.groups import groups
from photorank.comparisons.sanity import circles, contradictions
from photorank.stages.baselines import sharpness
from photorank.store import FeatureStore

EVEN = (0.45, 0.55)
"""Always the same side is no answer while its interval touches this."""
TOLD, FEW = 0.6, 30
"""An agreement with sharpness whose interval holds ½ and ends below `TOLD` is at chance; if it ends above, or rests on
fewer series than `FEW`, the clear comparisons are too few to tell. Of PhotoTriage's, 65.7 % agree."""
FEWEST = 6
"""Of fewer series all would agree by chance too often, 1 in 32, whatever the interval."""


@dataclass
class Part:
    """One split, or all."""

    comparisons: int
    series: int
    photos: int
    clear: int
    """Comparisons with max(p, 1 − p) > .7."""
    sizes: dict[int, int]
    """Photos in a series → so many series."""
    always_left: metrics.Estimate
    """How often the answer "left" is right, its interval bootstrapped over series."""
    contradictions: int
    """Pairs of which some comparisons prefer the one, and some the other."""
    circles: int
    """Series whose preferences go round."""
    sharpness: metrics.Estimate | None = None
    """How often the sharper photo is the preferred one, of the clear comparisons; None without a store that knows."""


@dataclass
class CheckReport:
    """What is to be known of a comparisons file."""

    path: str
    parts: dict[str, Part]
    """Each split that there is, and `all`."""
    in_several_splits: list[str]
    in_several_series: list[str]
    under_several_names: list[str]
    """Photos, each by one of its names: by their keys with a store, else by their paths."""
    sharpness_needs: str | None = None
    """What is missing for the sharpness figures."""
    warnings: list[str] = field(default_factory=list)


def check(path: Path, store: Path | None = None, photos: Path | None = None) -> CheckReport:
    """Look through a comparisons file; with a store also at keys and sharpness.

    `photos` as for `fit_head`. Raises ComparisonsError as of `read_comparisons`, StoreError where the store cannot be
    opened.
    """
    table = read_comparisons(path)
    names, codes = np.unique(np.concatenate([table["left"], table["right"]]).astype(str), return_inverse=True)
    opened = FeatureStore.open(store) if store is not None else None
    identity = _identities(opened, names.tolist(), photos if photos is not None else path.parent)
    _, first, number = np.unique(identity, return_index=True, return_inverse=True)
    left, right = number[codes].reshape(2, -1).astype(np.int64)
    shown = names[first]
    rows = pd.DataFrame({"left": left, "right": right, "p_left": table["p_left"].to_numpy()})
    rows["series"] = pd.factorize(table["series"])[0]
    rows["split"] = table["split"].to_numpy() if "split" in table else "all"
    sharp, needs = _sharpness(opened, identity[first])
    parts = {name: part for name in SPLITS if len(part := rows[rows["split"] == name])} | {"all": rows}
    long = pd.concat([rows[[side, "series", "split"]].set_axis(["photo", "series", "split"], axis=1) for side in
                      ("left", "right")])  # fmt: skip
    in_splits, in_series = ([str(shown[photo]) for photo in _several(long, column)] for column in ("split", "series"))
    renamed = [str(shown[photo]) for photo in np.flatnonzero(np.bincount(number) > 1)]
    report = CheckReport(
        str(path), {name: _part(part, sharp) for name, part in parts.items()}, in_splits, in_series, renamed, needs
    )
    report.warnings = _warnings(report, np.flatnonzero(left == right), shown[left])
    if opened is not None and (unseen := [name for name, each in zip(names, identity, strict=True) if each[:1] != "="]):
        report.warnings.append(
            f"the store has not seen {len(unseen):,} of {len(names):,} photos (the first: {unseen[0]}): extract them, "
            f"or say with --photos which folder the paths are relative to"
        )
    return report


def _identities(store: FeatureStore | None, names: Sequence[str], base: Path) -> NDArray[np.str_]:
    """(N,) what tells photos apart: "=" and the key in hex where it is known, else the absolute path."""
    files = store.files() if store is not None else None
    known = dict(zip(files["path"].to_pylist(), files["key"].to_pylist(), strict=True)) if files is not None else {}
    found = []
    for name in names:
        place = os.path.abspath(base / name)
        key = as_key(name) or known.get(os.fsencode(place))
        found.append(f"={key.hex()}" if key is not None else place)
    return np.array(found, dtype=str)


def _sharpness(store: FeatureStore | None, identity: NDArray[np.str_]) -> tuple[NDArray[np.float64] | None, str | None]:
    """(N,) sharpness of the photos, NaN where unknown; or what it needs."""
    if store is None:
        return None, "--store"
    there = np.array([each.startswith("=") for each in identity])
    keys = np.frombuffer(b"".join(bytes.fromhex(each[1:]) for each in identity[there]), np.uint8).reshape(-1, 32)
    values = sharpness(store, keys)
    if values is None or np.isnan(values).all():
        return None, "a store with the statistics of these photos (photorank extract)"
    found = np.full(len(identity), np.nan)
    found[there] = values
    return found, None


def _part(rows: pd.DataFrame, sharp: NDArray[np.float64] | None) -> Part:
    left, right, series = (rows[name].to_numpy(np.int64) for name in ("left", "right", "series"))
    p_left, group = rows["p_left"].to_numpy(), groups(series, left, right)
    clear = np.maximum(p_left, 1 - p_left) > CLEAR
    ends = pd.DataFrame({"series": np.tile(series, 2), "photo": np.concatenate([left, right])}).drop_duplicates()
    sizes = ends["series"].value_counts().value_counts().sort_index()
    agreement = None
    if sharp is not None:
        margin = sharp[left] - sharp[right]
        right_or_not = np.where(np.isnan(margin), np.nan, metrics.correct(margin, p_left))
        agreement = metrics.bootstrap(right_or_not[clear], group[clear])
    return Part(
        len(rows), len(np.unique(series)), ends["photo"].nunique(), int(clear.sum()),
        {int(size): int(count) for size, count in sizes.items()},  # type: ignore[call-overload]
        metrics.bootstrap(metrics.correct(np.ones(len(rows)), p_left), group),
        contradictions(left, right, p_left, series), circles(left, right, p_left, series), agreement,
    )  # fmt: skip


def _several(long: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """The photos that have several of a column's values."""
    counts = long.groupby("photo")[column].nunique()
    return counts.index[counts > 1].to_numpy(np.int64)


def _warnings(report: CheckReport, same: NDArray[np.int64], left: NDArray[np.str_]) -> list[str]:
    found = []
    if len(same):
        more = f", and {len(same) - 1} more rows" if len(same) > 1 else ""
        found.append(f"row {same[0] + 1}{more}: left and right are two names of the same photo ({left[same[0]]})")
    for kind, photos in (("splits", report.in_several_splits), ("series", report.in_several_series)):
        if photos:
            found.append(f"{len(photos):,} photos are in more than one of the {kind} (the first: {photos[0]})")
    for name, part in report.parts.items():
        if name != "all" or len(report.parts) == 1:
            found += _side_warning(name, part) + _sharpness_warning(name, part)
    return found


def _side_warning(name: str, part: Part) -> list[str]:
    each = part.always_left
    if not (each.low > EVEN[1] or each.high < EVEN[0]):
        return []
    side = "left" if each.low > EVEN[1] else "right"
    share = f"{100 * each.value:.1f} % of the comparisons prefer the left photo"
    return [f"{name}: {share}, so a ranker that always says {side} looks good; swap sides at random"]


def _sharpness_warning(name: str, part: Part) -> list[str]:
    each = part.sharpness
    if each is None or not each.low <= 0.5:
        return []
    if each.high < 0.5 and each.groups >= FEWEST:
        blurrier = f"{100 * (1 - each.value):.1f} % ({100 * (1 - each.high):.1f}–{100 * (1 - each.low):.1f})"
        return [
            f"{name}: the BLURRIER photo is preferred in {blurrier} of {each.n:,} clear comparisons: left and right, "
            f"or p_left and 1 − p_left, are probably swapped; look at some comparisons before you train"
        ]
    share = f"{100 * each.value:.1f} % ({100 * each.low:.1f}–{100 * each.high:.1f}) of {each.n:,} clear comparisons"
    if each.high >= TOLD or each.groups < FEW:
        return [f"{name}: the sharper photo is preferred in {share}: too few to tell from chance"]
    return [
        f"{name}: LABELS AT CHANCE. The sharper photo is preferred in {share}, where people prefer it in about two of "
        f"three: so it looks when labels are joined with the wrong photos; look at some comparisons before you train"
    ]
