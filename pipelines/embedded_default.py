"""The run that comes with photorank, made again of photos given to it, with its card and its figures.

    python pipelines/embedded_default.py PHOTOS... --out RUN [--unseen PHOTOS...] [--work DIR] [--seed 0] [--workers 0]

Half of PHOTOS, drawn by the seed, are trained on; the other half, and those of --unseen, are what the figures are of.
Composes degrade, extract, fit-head and evaluate. Each photo to train on is there four times: as it is, reduced,
enlarged, and reduced and saved as JPEG after it was made worse, so that nothing of how a fault was made (holes in the
histogram, a grid of blocks) is a must for it to be seen. What is compared:

- the original with each of its faults, and each fault with stronger ones of its kind;
- crops of the original with one another, and it with its copies in fewer, more or no colours: neither is preferred
  (p = ½), so that what a frame shows, and how colourful it is, weigh little.

Labels are soft: the milder the fault, the nearer to ½. So scores stay small, and a close call is told as one.
"""

import argparse
import itertools
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance

from photorank import metrics
from photorank.comparisons import read_comparisons
from photorank.config import ExtractConfig, HeadConfig
from photorank.photos import decode_photo, photo_key, read_photo
from photorank.photos.finding import find_photos
from photorank.runs import refuse_existing
from photorank.stages.degrade import degrade
from photorank.stages.evaluate import evaluate
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.stages.frames import Pixels, add_noise
from photorank.stages.variants import choose

ORIGINAL = "original"
KINDS = {kind: choose([kind]) for kind in ("blur", "jpeg", "exposure-minus", "exposure-plus")}
KINDS["exposure-minus"].reverse()  # -1 before -2: the milder first
NOISE = {"noise-4": 4.0, "noise-8": 8.0, "noise-16": 16.0}
LADDERS = [*KINDS.values(), list(NOISE)]
FAULTS = [name for kind in KINDS.values() for name in kind]
MILD = {"jpeg-80": 0.75, "noise-4": 0.8, "blur-1": 0.9, "jpeg-60": 0.9, "exposure-minus-1": 0.9, "exposure-plus-1": 0.9}
WORSE, STRONGER, ALIKE = 0.97, 0.8, 0.5
SIZES = {"as it is": 1.0, "reduced": 0.6, "enlarged": 2.0}
SMALLEST, LARGEST = 100, 1600
"""Pixels of the sides of what is trained on, but for photos as they are."""
CROPS, CROP = 4, 0.85
COLOURS = {"colours-0": 0.0, "colours-0.5": 0.5, "colours-1.5": 1.5}
SIX = ("blur-2", "blur-4", "jpeg-20", "exposure-minus-2", "exposure-plus-2")
LOST = ("jpeg-80", "jpeg-60")
"""Faults that a reduced copy, saved as JPEG itself, does not show."""
HEAD = HeadConfig(learning_rate=1e-3, epochs=120, patience=20, dropout=0.05)
"""Slower than the default: there are few photos, and many frames of each."""
SHIPPED = ("run.json", "config.yaml", "weights.safetensors", "metrics.json")


def halves(photos: Iterable[str], seed: int) -> tuple[list[str], list[str]]:
    """The photos to train on and the others, by the order of their keys and the seed; a copy goes with its photo."""
    keys = {file.path: photo_key(read_photo(file.path)) for file in find_photos(photos)[0]}
    distinct = sorted(set(keys.values()))
    order = np.random.default_rng(seed).permutation(len(distinct))
    chosen = {distinct[at] for at in order[: len(distinct) // 2]}
    return [path for path in keys if keys[path] in chosen], [path for path in keys if keys[path] not in chosen]


def scaled(pixels: Pixels, scale: float) -> Pixels:
    height, width = pixels.shape[:2]
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    how = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
    return np.asarray(Image.fromarray(pixels).resize(size, how))


def save(pixels: Pixels, path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    how = {"quality": 93} if path.suffix == ".jpg" else {"compress_level": 0}
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, **how)
    return str(path)


def resized(photos: list[str], out: Path, scale: float) -> dict[str, str]:
    """Copies at another size → the photo; those that get too large or too small are left out."""
    made = {}
    for number, photo in enumerate(photos):
        pixels = decode_photo(read_photo(photo)).rgb
        sides = [scale * side for side in pixels.shape[:2]]
        if min(sides) >= SMALLEST and max(sides) <= LARGEST:
            made[save(scaled(pixels, scale), out / f"{number:04d}.png")] = photo
    return made


def degraded(photos: dict[str, str], out: Path, size: str, seed: int, workers: int) -> pd.DataFrame:
    """A row a frame: photo, size, frame (`original` or the fault), path; `photos` are paths → the photo they show."""
    report = degrade(photos, out, FAULTS, 0, seed, workers)
    table = read_comparisons(Path(report.comparisons_file))
    left = table["p_left"] > 0.5
    worse = pd.DataFrame({"frame": table["variant"], "path": table["right"].where(left, table["left"])})
    better = pd.DataFrame({"frame": ORIGINAL, "path": table["left"].where(left, table["right"])})
    frames = pd.concat([part.assign(photo=table["source"].map(photos), size=size) for part in (better, worse)])
    frames["path"] = [str(out / path) for path in frames["path"]]
    return frames.drop_duplicates("path")


def recoloured(pixels: Pixels, stem: Path) -> list[tuple[str, str]]:
    """Frame and path of the copies in other colours; none of a photo that has none."""
    enhance = ImageEnhance.Color(Image.fromarray(pixels)).enhance
    made = {name: np.asarray(enhance(factor)) for name, factor in COLOURS.items()}
    if any(np.array_equal(copy, pixels) for copy in made.values()):
        return []
    return [(name, save(copy, stem.with_name(f"{stem.name}-{name}.png"))) for name, copy in made.items()]


def more_frames(frames: pd.DataFrame, out: Path, seed: int) -> pd.DataFrame:
    """To train on, besides: noise and other colours at all sizes; crops; and frames as they are, reduced and saved as
    JPEG."""
    rows = []
    for number, row in enumerate(frames.itertuples()):
        pixels = decode_photo(read_photo(row.path)).rgb
        if row.frame == ORIGINAL:
            for name, sigma in NOISE.items():
                made = save(add_noise(pixels, sigma, seed + number), out / f"{number:05d}-{name}.png")
                rows.append((row.photo, row.size, name, made))
            rows += [(row.photo, row.size, *made) for made in recoloured(pixels, out / f"{number:05d}")]
        if row.size != "as it is":
            continue
        if row.frame not in LOST:
            rows.append((row.photo, "camera", row.frame, save(scaled(pixels, 0.7), out / f"{number:05d}.jpg")))
        if row.frame == ORIGINAL:
            generator = np.random.default_rng([seed, number])
            height, width = (round(CROP * side) for side in pixels.shape[:2])
            for crop in range(CROPS):
                top = generator.integers(0, pixels.shape[0] - height + 1)
                left = generator.integers(0, pixels.shape[1] - width + 1)
                cut = save(pixels[top : top + height, left : left + width], out / f"{number:05d}-crop-{crop}.png")
                rows.append((row.photo, "crops", f"crop-{crop}", cut))
    return pd.DataFrame(rows, columns=["photo", "size", "frame", "path"])


def compared(frames: pd.DataFrame, train: bool, seed: int) -> pd.DataFrame:
    """The comparisons of frames of one photo and size. To be tested on are only those with the original."""
    rows = []
    for (photo, _), part in frames.groupby(["photo", "size"], sort=True):
        paths = dict(zip(part["frame"], part["path"], strict=True))
        pairs = [
            (better, worse, MILD.get(worse, WORSE) if better == ORIGINAL else STRONGER)
            for ladder in LADDERS
            for better, worse in itertools.combinations([name for name in (ORIGINAL, *ladder) if name in paths], 2)
            if train or better == ORIGINAL
        ]
        crops = [name for name in paths if name.startswith("crop-")]
        colours = [name for name in (ORIGINAL, *COLOURS) if name in paths] if train else []
        pairs += [(one, other, ALIKE) for alike in (crops, colours) for one, other in itertools.combinations(alike, 2)]
        rows += [(photo, paths[one], paths[other], p if train else 1.0, other) for one, other, p in pairs]
    table = pd.DataFrame(rows, columns=["series", "left", "right", "p_left", "variant"])
    turned = np.random.default_rng(seed).random(len(table)) < 0.5
    table.loc[turned, ["left", "right"]] = table.loc[turned, ["right", "left"]].to_numpy()
    table.loc[turned, "p_left"] = 1 - table["p_left"]
    return table.assign(split="train" if train else "test")


def figures(run: Path, comparisons: Path, store: Path, sets: dict[str, set[str]]) -> pd.DataFrame:
    """A row a kind of fault, a column a set of unseen photos: the share of originals preferred, with its interval."""
    told = evaluate(run, comparisons, store, "test").predictions
    told["right"] = metrics.correct(told["predicted"] - 0.5, told["p_left"])
    kinds = {"blur, JPEG, exposure": FAULTS, "blur": KINDS["blur"], "JPEG": KINDS["jpeg"]}
    kinds["exposure"] = KINDS["exposure-minus"] + KINDS["exposure-plus"]
    kinds |= {name: [name] for name in FAULTS}
    table = {}
    for title, photos in sets.items():
        part = told[told["series"].isin(photos)]
        column = {}
        for name, variants in kinds.items():
            rows = part[part["variant"].isin(variants)]
            column[name] = str(metrics.bootstrap(rows["right"], rows["series"]))
        six = part[part["variant"].isin(SIX)].groupby("series")["right"].agg(["min", "size"])
        six = six[six["size"] == len(SIX)]["min"]
        column["the original first of six frames"] = str(metrics.bootstrap(six == 1, six.index))
        table[f"{title} ({part['series'].nunique()} photos)"] = column
    return pd.DataFrame(table)


CARD = """# The run that comes with photorank

A head over the weightless statistics, which `photorank rank` uses where no other run is named. Made by
`pipelines/embedded_default.py` (seed {seed}) of {trained} photos made worse in known ways, at several sizes: blurred,
recompressed, badly exposed, noisy. {compared:,} comparisons: of originals and faults, of mild and strong faults, and,
where neither is preferred, of crops of one photo and of its copies in fewer, more or no colours. The photos are
described in the checkout's `data/README.md`.

It knows technical faults and nothing else. It has seen no person choose: whose eyes are open, which moment and which
framing is the best, it cannot tell, and between frames without faults its probabilities are near ½. A fault that is
meant (a dark mood, a blurred background, grain) counts as one; how colourful a frame is hardly counts. A head trained
on comparisons of your own knows more.

Share of comparisons in which the original is preferred to the fault, on photos that it never saw, at full size (95 %
interval, bootstrapped over photos; where there is no error, resampling finds none either). The last line is the share
of series (the original, blur 2 and 4, JPEG 20, two stops less light and two more) in which the original comes first.
What is trained on, and how, was chosen with an eye on the first column.

{table}

`predictions.parquet` is cut down to one comparison a photo that was trained on, which is enough for `evaluate` to know
them again among frames that `photorank comparisons degrade --long-side 0` makes of them.
"""


def markdown(table: pd.DataFrame) -> str:
    rows = [["", *table.columns], ["---"] * (1 + len(table.columns)), *([name, *row] for name, row in table.T.items())]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def make(photos: list[str], unseen: list[str], out: Path, work: Path, seed: int, workers: int) -> pd.DataFrame:
    """Write the run `out`; its figures."""
    trained, rest = halves(photos, seed)
    frames = [degraded({path: path for path in trained}, work / "as it is", "as it is", seed, workers)]
    for size, scale in list(SIZES.items())[1:]:
        copies = resized(trained, work / "sources" / size, scale)
        if copies:
            frames.append(degraded(copies, work / size, size, seed, workers))
    frames.append(more_frames(pd.concat(frames, ignore_index=True), work / "more", seed))
    sets = {"the other half": rest} | ({"of other cameras": [f.path for f in find_photos(unseen)[0]]} if unseen else {})
    tests = [degraded({path: path for path in paths}, work / name, name, seed, workers) for name, paths in sets.items()]
    table = pd.concat([compared(pd.concat(frames), True, seed), compared(pd.concat(tests), False, seed)])
    table.to_csv(work / "comparisons.csv", index=False)
    paths = pd.unique(table[["left", "right"]].to_numpy().ravel())
    extract(paths.tolist(), work / "store", ExtractConfig(workers=workers))
    report = fit_head(work / "store", work / "comparisons.csv", HEAD.model_copy(update={"seed": seed}), work / "run")
    found = figures(work / "run", work / "comparisons.csv", work / "store", {n: set(p) for n, p in sets.items()})
    out.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(work / "run" / name, out / name)
    told = pd.read_parquet(work / "run" / "predictions.parquet")
    one = (table["variant"] == FAULTS[0]) & table["left"].str.startswith(str(work / "as it is"))
    told[one.to_numpy()].assign(series="").to_parquet(out / "predictions.parquet", index=False)
    card = CARD.format(seed=seed, trained=len(trained), compared=report.comparisons["train"], table=markdown(found))
    (out / "README.md").write_text(card, encoding="utf-8")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--unseen", nargs="+", default=[], help="photos that are only tested on")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="an empty folder to work in, which is kept; some 15 GB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    given = parser.parse_args()
    refuse_existing(given.out)
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        found = make(given.photos, given.unseen, given.out, work.absolute(), given.seed, given.workers)
    print(markdown(found))


if __name__ == "__main__":
    main()
