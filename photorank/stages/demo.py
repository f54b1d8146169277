"""demo: the whole pipeline over real photos, with labels that are known because the worse frames were made.

Every photo is left out once: heads are trained on the frames of the others and judged on its own.
"""

from __future__ import annotations

import datetime
import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import platformdirs

from photorank import metrics
from photorank.config import ExtractConfig, HeadConfig
from photorank.errors import ConfigError, PhotoError
from photorank.photos import decode_photo, read_photo
from photorank.photos.finding import find_photos
from photorank.reports.tables import Tile, contact_sheet
from photorank.runs import load_run
from photorank.stages.baselines import baselines
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.stages.frames import KINDS, ORIGINAL, save_frames
from photorank.stages.pipeline import Progress
from photorank.stages.rank import rank
from photorank.store import FeatureStore

MOST_PHOTOS = 16
# The photos that the packages of `photorank[demo]` carry: (package, file). Those of one name are one source.
PACKAGED = {
    "astronaut": [("skimage", "data/astronaut.png")],
    "cat": [("skimage", "data/chelsea.png")],
    "coffee": [("skimage", "data/coffee.png")],
    "rocket": [("skimage", "data/rocket.jpg")],
    "hubble": [("skimage", "data/hubble_deep_field.jpg")],
    "retina": [("skimage", "data/retina.jpg")],
    "temple": [("sklearn", "datasets/images/china.jpg")],
    "flower": [("sklearn", "datasets/images/flower.jpg")],
    "motorcycle": [("skimage", "data/motorcycle_left.png"), ("skimage", "data/motorcycle_right.png")],
}
SHOWN = 4
"""Series on the contact sheet."""


@dataclass
class DemoReport:
    """What the demo found on photos that its heads had not seen."""

    folder: str
    sources: int
    frames: int
    figures: dict[str, metrics.Estimate]
    """Ranker → accuracy, its interval bootstrapped over source photos."""
    by_kind: dict[str, metrics.Estimate]
    """Degradation → accuracy of the head."""
    top1: metrics.Estimate
    """Share of series in which the original was picked."""
    contact_sheet: str
    run: str
    """A head trained on all the photos, to use elsewhere."""
    seconds: dict[str, float] = field(default_factory=dict)


def default_folder() -> Path:
    """A new folder in the user's cache folder."""
    stamp = datetime.datetime.now().strftime("demo-%Y%m%d-%H%M%S")
    return Path(platformdirs.user_cache_dir("photorank")) / stamp


def demo(paths: Sequence[str], out: Path, say: Callable[[str], None], progress: Progress | None = None) -> DemoReport:
    """Make series of the photos under `paths` (none: of those in the demo's packages) in `out`, and learn from them.

    Raises PhotoError where there are fewer than three photos large enough, ConfigError where the packages are missing
    or `out` is in use.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} is there already and is kept; name another --out, or remove it")
    sources = _folder_sources(paths) if paths else _packaged_sources()
    say("making series: several crops of each photo as scenes, each with frames that are worse")
    frames = _make_frames(sources, out / "frames")
    say(f"extract: {len(frames)} frames of {len(sources)} photos")
    extract([out / "frames"], out / "store", ExtractConfig(), progress=progress)
    comparisons = _comparisons(frames)
    names = frames["source"].unique()
    predictions, rankings = [], []
    for name in names:
        say(f"fit-head and rank: leaving out {name}")
        run = _fit(comparisons, out, f"without-{name}", held_out=name)
        told = pd.read_parquet(run / "predictions.parquet")
        predictions.append(told[told["split"] == "val"].assign(source=name))
        ranking = rank([out / "frames" / name], load_run(run), out / "store", series_by="folder")
        rankings.append(ranking.table.assign(source=name))
    run = _fit(comparisons, out, "all", held_out=None)
    return _report(out, frames, pd.concat(predictions), pd.concat(rankings), run)


def _packaged_sources() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for name, files in PACKAGED.items():
        for package, file in files:
            spec = importlib.util.find_spec(package)
            path = Path(spec.origin).parent / file if spec is not None and spec.origin else None
            if path is None or not path.is_file():
                raise ConfigError(
                    "the demo's photos travel in scikit-image and scikit-learn: pip install 'photorank[demo]', or name "
                    "a folder of your own photos"
                )
            found.setdefault(name, []).append(path)
    return found


def _folder_sources(paths: Iterable[str]) -> dict[str, list[Path]]:
    files, _ = find_photos(paths)
    # Evenly over the folder: neighbours are often frames of one moment.
    chosen = (
        [files[at] for at in sorted({round(i) for i in np.linspace(0, len(files) - 1, MOST_PHOTOS)})] if files else []
    )
    stems = [re.sub(r"[^\w.-]", "_", Path(file.path).stem) for file in chosen]  # they become names of folders
    return {f"{number:02d}-{stem}": [Path(chosen[number - 1].path)] for number, stem in enumerate(stems, 1)}


def _make_frames(sources: dict[str, list[Path]], folder: Path) -> pd.DataFrame:
    rows: list[dict[str, str]] = []
    for number, (name, files) in enumerate(sources.items()):
        for part, file in enumerate(files):
            try:
                pixels = decode_photo(read_photo(str(file))).rgb
            except PhotoError:
                continue
            inside = folder / name / str(part + 1) if len(files) > 1 else folder / name
            rows += [{"source": name, **row} for row in save_frames(pixels, inside, seed=1000 * number + 100 * part)]
    frames = pd.DataFrame(rows, columns=["source", "series", "frame", "path"])
    if frames["source"].nunique() < 3:
        raise PhotoError("the demo leaves one photo out at a time and needs at least three of 180 × 180 pixels or more")
    return frames


def _comparisons(frames: pd.DataFrame) -> pd.DataFrame:
    """The original of each series against each other frame, on a random side."""
    original = frames[frames["frame"] == ORIGINAL].set_index("series")["path"]
    worse = frames[frames["frame"] != ORIGINAL].reset_index(drop=True)
    better = original.loc[worse["series"]].to_numpy()
    left = np.random.default_rng(0).random(len(worse)) < 0.5
    return pd.DataFrame(
        {
            "series": worse["series"],
            "left": np.where(left, better, worse["path"]),
            "right": np.where(left, worse["path"], better),
            "p_left": left.astype(float),
            "source": worse["source"],
        }
    )


def _fit(comparisons: pd.DataFrame, out: Path, name: str, held_out: str | None) -> Path:
    table = comparisons.assign(split=np.where(comparisons["source"] == held_out, "val", "train"))
    file = out / "comparisons" / f"{name}.csv"
    file.parent.mkdir(exist_ok=True)
    table.drop(columns="source").to_csv(file, index=False)
    fit_head(out / "store", file, HeadConfig(), out / "runs" / name)
    return out / "runs" / name


def _report(
    out: Path, frames: pd.DataFrame, predictions: pd.DataFrame, rankings: pd.DataFrame, run: Path
) -> DemoReport:
    keys = rankings.set_index("path")["key"]
    frame_of = dict(zip(frames["path"].map(os.path.abspath).map(keys), frames["frame"], strict=True))
    right = metrics.correct(predictions["margin"], predictions["p_left"])
    figures = {"head": metrics.bootstrap(right, predictions["source"])}
    hexes, at = np.unique(predictions[["left", "right"]].to_numpy(str).T, return_inverse=True)
    left, right_photo = at.reshape(2, -1)
    packed = np.frombuffer(b"".join(bytes.fromhex(each) for each in hexes), np.uint8).reshape(-1, 32)
    per_photo = baselines(FeatureStore.open(out / "store"), packed)
    for name, margin in metrics.trivial_margins(left, right_photo, per_photo).items():
        figures[name] = metrics.bootstrap(metrics.correct(margin, predictions["p_left"]), predictions["source"])
    loser = np.where(predictions["p_left"] > 0.5, predictions["right"], predictions["left"])
    kinds = np.array([frame_of[key] for key in loser])
    by_kind = {kind: metrics.bootstrap(right[kinds == kind], predictions["source"][kinds == kind]) for kind in KINDS}
    picked = rankings[rankings["keep"]]
    hit = (picked["key"].map(frame_of) == ORIGINAL).to_numpy(float)
    sheet = out / "contact-sheet.png"
    contact_sheet(_sheet_rows(rankings, frame_of), sheet)
    return DemoReport(
        str(out), frames["source"].nunique(), len(frames), figures, by_kind, metrics.bootstrap(hit, picked["source"]),
        str(sheet), str(run),
    )  # fmt: skip


def _sheet_rows(rankings: pd.DataFrame, frame_of: dict[str, str]) -> list[tuple[str, list[Tile]]]:
    """A series of each of the first sources, its frames best first."""
    rows = []
    for source, table in list(rankings.groupby("source", sort=False))[:SHOWN]:
        # The last scene is the photo's centre.
        series = table[table["series"] == table["series"].max()].sort_values("rank")
        tiles = [
            Tile(Path(row.path), f"{row.rank}  {frame_of[row.key]}", bool(row.keep)) for row in series.itertuples()
        ]
        rows.append((f"{source}: best first, by a head that never saw this photo", tiles))
    return rows
