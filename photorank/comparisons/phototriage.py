"""PhotoTriage (Chang, Yu, Wang, Ashley, Finkelstein 2016): its official pairlists as comparisons.

A row of a pairlist: series, photo 1, photo 2, P, rank 1, rank 2. The photos are numbered from 1 within the series, P is
the modelled probability that photo 1 is preferred (Bradley-Terry over the votes), and the ranks are those of the two
photos in their series, 1 the best: not a winner and a loser. Rows of the test list have the first three columns only.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from photorank.comparisons import CLEAR, check_comparisons
from photorank.comparisons.reviews import refuse_reviews
from photorank.errors import ComparisonsError

PHOTOS = {"train": "train_val_imgs", "val": "train_val_imgs", "test": "test_imgs"}
"""Split → the folder of its photos in the official layout."""
_COLUMNS = ["series", "photo1", "photo2", "p", "rank1", "rank2"]


class Counts(NamedTuple):
    """How much a split holds."""

    series: int
    pairs: int
    photos: int
    clear: int
    """Pairs with max(P, 1 − P) > .7; 0 where there are no labels."""

    def __str__(self) -> str:
        clear = f", {self.clear:,} of the pairs clear" if self.clear else ""
        return f"{self.series:,} series, {self.pairs:,} pairs, {self.photos:,} photos{clear}"


OFFICIAL = {
    "train": Counts(4560, 12075, 12019, 6749),
    "val": Counts(195, 483, 503, 289),
    "test": Counts(967, 2585, 2555, 0),
}


@dataclass(frozen=True)
class PhotoTriage:
    """What the pairlists hold."""

    table: pd.DataFrame
    """series, left, right, p_left, split."""
    photos: Path
    """The folder that the paths are relative to."""
    counts: dict[str, Counts]
    """Split → what its list holds."""
    left_out: int
    """Pairs without a label (the test split's): no comparisons."""
    warnings: list[str]


def read_phototriage(root: Path, photos: Path | None = None) -> PhotoTriage:
    """The pairlists in `root`, or in its folders `train_val` and `test`, as the data set is unpacked.

    Paths are `train_val_imgs/000015-01.JPG`, relative to `photos`, or else to the folder of the lists. Raises
    ComparisonsError where there are no lists, where there are only the reviews, for a row that cannot be right, and
    where the ranks in columns 5 and 6 contradict P.
    """
    found = {split: path for split in PHOTOS if (path := _find(root, split)) is not None}
    if not {"train", "val"} & set(found):
        if root.exists():
            refuse_reviews(root)
        raise ComparisonsError(
            f"{root} has no train_pairlist.txt and no val_pairlist.txt; give the folder in which PhotoTriage's "
            f"official lists lie beside train_val_imgs"
        )
    base = photos or next(path.parent for path in found.values())
    rows = {split: _read_list(path, split) for split, path in found.items()}
    counts = {split: _count(table) for split, table in rows.items()}
    labelled = {split: table for split, table in rows.items() if "p" in table}
    if not labelled:
        raise ComparisonsError(f"the pairlists of {root} have no labels")
    table = pd.concat([_comparisons(table, split) for split, table in labelled.items()], ignore_index=True)
    check_comparisons(root, table)
    left_out = sum(len(table) for split, table in rows.items() if split not in labelled)
    return PhotoTriage(
        table, base, counts, left_out, _warnings(root, counts) + _absent(base, table, photos is not None)
    )


def _find(root: Path, split: str) -> Path | None:
    name = f"{split}_pairlist.txt"
    places = (root / name, root / "train_val" / name, root / "test" / name)
    return next((path for path in places if path.is_file()), None)


def _read_list(path: Path, split: str) -> pd.DataFrame:
    """Columns as in the file; without `p` and ranks where the rows have no labels."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ComparisonsError(f"{path} cannot be read as text: {' '.join(str(error).split())}") from error
    cells = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not cells:
        raise ComparisonsError(f"{path} is empty")
    width = 3 if split == "test" and len(cells[0][1]) == 3 else 6
    rows = []
    for number, row in cells:
        try:
            if len(row) != width:
                raise ValueError(f"it has {len(row)} columns, not {width}")
            rows.append((*map(int, row[:3]), *map(float, row[3:4]), *map(int, row[4:])))
        except ValueError as error:
            raise ComparisonsError(
                f"{path}, row {number}: {error}; a row is {', '.join(_COLUMNS[:width])}, numbers all"
            ) from error
    table = pd.DataFrame(rows, columns=_COLUMNS[:width], index=pd.Index([number for number, _ in cells]))
    _check(path, table)
    return table


def _check(path: Path, table: pd.DataFrame) -> None:
    first, second = table["photo1"], table["photo2"]
    _refuse(path, (first < 1) | (second < 1), "photos are numbered from 1")
    _refuse(path, first == second, "a photo is compared with itself")
    if "p" not in table:
        return
    _refuse(path, ~table["p"].between(0, 1), "P is no probability")
    better, ranked = table["p"] > 0.5, table["rank1"] < table["rank2"]
    no_ranks = "columns 5 and 6 are not the ranks of the photos in their series (1 the best): "
    hint = "; a winner and a loser there are not what the official lists hold"
    wrong = (table["p"] != 0.5) & (better != ranked) | (table["rank1"] == table["rank2"])
    _refuse(path, wrong, f"{no_ranks}they contradict P{hint}")
    seen: dict[tuple[int, int], int] = {}
    columns = (table[name].tolist() for name in ("series", "photo1", "photo2", "rank1", "rank2"))
    for number, (series, one, other, rank, other_rank) in zip(table.index, zip(*columns, strict=True), strict=True):
        for photo, given in ((one, rank), (other, other_rank)):
            if seen.setdefault((series, photo), given) != given:
                raise ComparisonsError(f"{path}, row {number}: {no_ranks}photo {photo} has several{hint}")


def _refuse(path: Path, wrong: pd.Series, what: str) -> None:
    if wrong.any():
        more = f", and {int(wrong.sum()) - 1} more rows" if wrong.sum() > 1 else ""
        raise ComparisonsError(f"{path}, row {wrong.idxmax()}{more}: {what}")


def _count(table: pd.DataFrame) -> Counts:
    photos = {*zip(table["series"], table["photo1"], strict=True), *zip(table["series"], table["photo2"], strict=True)}
    clear = int((table["p"].clip(lower=1 - table["p"]) > CLEAR).sum()) if "p" in table else 0
    return Counts(table["series"].nunique(), len(table), len(photos), clear)


def _comparisons(table: pd.DataFrame, split: str) -> pd.DataFrame:
    def paths(photo: str) -> list[str]:
        numbers = zip(table["series"], table[photo], strict=True)
        return [f"{PHOTOS[split]}/{series:06d}-{number:02d}.JPG" for series, number in numbers]

    columns = {"series": table["series"].astype(str), "left": paths("photo1"), "right": paths("photo2")}
    return pd.DataFrame(columns | {"p_left": table["p"], "split": split})


def _warnings(root: Path, counts: dict[str, Counts]) -> list[str]:
    found = [f"{root} has no {split}_pairlist.txt" for split in ("train", "val") if split not in counts]
    for split, count in counts.items():
        if count._replace(clear=count.clear if OFFICIAL[split].clear else 0) != OFFICIAL[split]:
            found.append(f"{split} is not the official list, which has {OFFICIAL[split]}: here are {count}")
    return found


def _absent(base: Path, table: pd.DataFrame, asked: bool) -> list[str]:
    names = sorted({*table["left"], *table["right"]})
    folders = sorted({name.split("/")[0] for name in names})
    there = {
        f"{folder}/{each.name}" for folder in folders if (base / folder).is_dir() for each in (base / folder).iterdir()
    }
    if asked and not there:
        raise ComparisonsError(f"{base} has no photos in {' or '.join(folders)}; give --photos the folder above it")
    absent = [name for name in names if name not in there]
    if not absent:
        return []
    return [f"{len(absent):,} of {len(names):,} photos are not in {base} (the first: {absent[0]})"]
