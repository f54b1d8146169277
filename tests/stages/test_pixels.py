"""Pixels for training: the very pixels of a plain implementation, in order, within bounds, from wherever they lie."""

import itertools
import os
import signal
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as functional
from PIL import Image, ImageOps

from photorank.comparisons import read_comparisons, resolve
from photorank.errors import PhotoError
from photorank.photos import photo_key
from photorank.photos.shards import Member, Place
from photorank.stages import loader
from photorank.stages.child import LoadOptions
from photorank.stages.children import Children
from photorank.stages.cores import cores
from photorank.stages.pixels import Pixels, PixelSource
from photorank.stages.places import Places
from tests.conftest import make_picture

PAPER = Pixels("paper", size=64)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Twelve photos of many shapes, in two folders: JPEG and PNG, one of them turned by its EXIF."""
    paths = []
    for number, (width, height) in enumerate(itertools.product([50, 64, 131, 200], [40, 64, 157])):
        suffix = "jpg" if number % 3 else "png"
        path = tmp_path / "photos" / f"series-{number % 2}" / f"{number:02d}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = Image.Exif()
        exif[0x0112] = 6 if number == 4 else 1
        make_picture(number, width, height).save(path, quality=92, exif=exif)
        paths.append(path)
    return paths


def located(photos: list[Path], base: Path | None = None) -> tuple[list[Place], np.ndarray]:
    """Places and keys of photos, as `e2e` finds them; `base`: an archive, or a folder of archives, that holds them."""
    root = photos[0].parents[1]
    places = Places(base or root)
    keys = [places.key_of(os.fsencode((base or root) / path.relative_to(root))) for path in photos]
    return [places.of[key] for key in keys], np.array([list(key) for key in keys], np.uint8)


def source(photos: list[Path], settings: Pixels = PAPER, base: Path | None = None, **options: object) -> PixelSource:
    return PixelSource(*located(photos, base), settings, workers=2, **options)  # type: ignore[arg-type]


def whole(photos: list[Path], settings: Pixels = PAPER, base: Path | None = None, **options: object) -> np.ndarray:
    """All photos (N, size, size, 3)."""
    with source(photos, settings, base, **options) as pixels:
        found = [batch for _, batch in pixels.batches(np.array_split(np.arange(len(photos)), 5))]
    return torch.cat(found).permute(0, 2, 3, 1).numpy()


def papers(path: Path, size: int) -> np.ndarray:
    """Chang et al. 2016: larger side to `size`, padded with the mean colour; Pillow's calls and nothing else."""
    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    ratio = max(image.width / size, image.height / size)
    scaled = image.resize((round(image.width / ratio), round(image.height / ratio)), Image.Resampling.BILINEAR)
    square = Image.new("RGB", (size, size), (117, 115, 110))
    square.paste(scaled, ((size - scaled.width) // 2, (size - scaled.height) // 2))
    return np.asarray(square)


def test_paper_pixels_are_those_of_a_plain_implementation(photos: list[Path]) -> None:
    np.testing.assert_array_equal(whole(photos), np.stack([papers(path, 64) for path in photos]))


@pytest.mark.parametrize(("mode", "resize"), [("scale_crop", 48), ("standard", 60)])
def test_cut_pixels_are_torchvisions(photos: list[Path], mode: str, resize: int) -> None:
    settings = Pixels(mode, size=48, resize=60)  # type: ignore[arg-type]
    expected = []
    for path in photos:
        with Image.open(path) as file:
            image = functional.resize(ImageOps.exif_transpose(file).convert("RGB"), [resize])
        expected.append(np.asarray(functional.center_crop(image, [48])))
    np.testing.assert_array_equal(whole(photos, settings), np.stack(expected))


def test_archives_and_the_cache_give_the_pixels_of_the_files(photos: list[Path], tmp_path: Path) -> None:
    expected, root = whole(photos), photos[0].parents[1]
    (tmp_path / "shards").mkdir()
    for series in (0, 1):
        with tarfile.open(tmp_path / "shards" / f"{series}.tar", "w") as archive:
            archive.add(root / f"series-{series}", f"./series-{series}")
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(root, ".")
    for base in (tmp_path / "shards", tmp_path / "all.tar"):
        assert all(isinstance(place, Member) for place in located(photos, base)[0])
        np.testing.assert_array_equal(whole(photos, base=base), expected)
    cache = tmp_path / "c.h5"
    np.testing.assert_array_equal(whole(photos, cache=cache), expected)
    gone, keys = located(photos)
    for path in photos:
        path.unlink()
    with PixelSource(gone, keys, PAPER, 2, cache) as pixels:  # all of them come from the cache now
        ((_, found),) = pixels.batches([np.arange(len(photos))])
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), expected)


def test_batches_come_as_they_were_asked_for(photos: list[Path], tmp_path: Path) -> None:
    expected = whole(photos)
    drawn = np.random.default_rng(0)
    order = [drawn.integers(0, len(photos), int(size)) for size in drawn.integers(1, 9, 30)]  # photos again and again
    with source(photos, cache=tmp_path / "c.h5") as pixels:
        for _ in range(2):
            found = list(pixels.batches(order))
            assert [numbers.tolist() for numbers, _ in found] == [numbers.tolist() for numbers in order]
            for numbers, batch in found:
                assert (batch.dtype, batch.is_contiguous(memory_format=torch.channels_last)) == (torch.uint8, True)
                np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), expected[numbers])
        # Two at once, as when a training looks at its early-stopping slice, and one that is given up.
        one, other = (pixels.batches(itertools.cycle(order)) for _ in range(2))
        for numbers, (asked, batch), (_, again) in zip(order[:5], one, other, strict=False):
            assert asked is numbers
            assert torch.equal(batch, again)


def test_photos_are_loaded_ahead_but_not_far(photos: list[Path]) -> None:
    asked, loaded = itertools.count(), []
    with source(photos) as pixels:
        really = pixels._children.load
        pixels._children.load = lambda *given: loaded.append(given) or really(*given)  # type: ignore[method-assign]
        taken = pixels.batches(np.array([next(asked) % 12, 1]) for _ in itertools.count())
        next(taken)
        deadline = time.monotonic() + 30
        while len(loaded) < 6 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(loaded) >= 6  # nobody asked for more than the first two
        time.sleep(0.3)
        assert next(asked) <= 8
        assert len(loaded) <= 16


def test_waiting_is_told_from_what_the_taker_does(photos: list[Path]) -> None:
    with source(photos) as pixels:
        for _ in pixels.batches([np.arange(2), np.arange(2), np.arange(2)]):
            waited = pixels.waited
            time.sleep(0.5)
            assert pixels.waited == waited > 0
    assert pixels.waited < 60


def test_a_damaged_photo_ends_it_in_one_sentence_at_its_batch(photos: list[Path]) -> None:
    photos[7].write_bytes(photos[7].read_bytes()[:600])
    with source(photos) as pixels:
        taken = pixels.batches([np.array([0, 1]), np.array([2, 7]), np.array([3])])
        assert next(taken)[0].tolist() == [0, 1]
        with pytest.raises(
            PhotoError, match=rf"{photos[7].name} is truncated .*; training needs every photo .*repair it"
        ):
            next(taken)
        assert len(list(pixels.batches([np.array([3])]))) == 1


def test_a_photo_that_was_changed_is_not_trained_on(photos: list[Path], tmp_path: Path) -> None:
    with source(photos, cache=tmp_path / "c.h5") as pixels:
        make_picture(99).save(photos[2])
        with pytest.raises(PhotoError, match=rf"{photos[2].name} was changed while it was trained on; start again"):
            list(pixels.batches([np.array([2])]))


CRASHING = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
from photorank.stages import loader
really = loader.read_photo
def read_photo(path):
    name = os.path.basename(path)
    first = path + ".tried"
    if name == "03.png" or name == "05.jpg" and not os.path.exists(first):
        open(first, "w").close()
        os.abort()
    return really(path)
loader.read_photo = read_photo
loader.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_photo_that_crashes_its_decoder_twice_is_named(photos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    places, keys = located(photos)
    monkeypatch.setattr(loader, "COMMAND", [sys.executable, "-c", CRASHING])
    with PixelSource(places, keys, PAPER, 1) as pixels:
        text = rf"03\.png ended the process that loaded it \(signal {signal.SIGABRT.value}\); training needs"
        with pytest.raises(PhotoError, match=text):
            list(pixels.batches([np.arange(6)]))
        assert len(list(pixels.batches([np.arange(2), np.arange(4, 6)]))) == 2
    assert Path(f"{photos[5]}.tried").exists()


def test_fast_decoding_is_another_preprocessing(photos: list[Path], tmp_path: Path) -> None:
    make_picture(1, 1200, 900).save(photos[1], quality=90)
    cache = tmp_path / "c.h5"
    exact = whole(photos, cache=cache)
    fast = whole(photos, Pixels("paper", size=64, decode="fast"), cache=cache)
    difference = np.abs(exact.astype(int) - fast).mean((1, 2, 3))
    assert 0 < difference[1] < 2
    assert not np.delete(difference, 1).any()
    np.testing.assert_array_equal(whole(photos, cache=cache), exact)


def write_comparisons(photos: list[Path], path: Path) -> None:
    """All pairs of a series, by paths relative to the photos' folder."""
    names = [str(photo.relative_to(photos[0].parents[1])) for photo in photos]
    pairs = [(a, b) for a, b in itertools.combinations(names, 2) if Path(a).parent == Path(b).parent]
    rows = [f"{Path(a).parent},{a},{b},0.8" for a, b in pairs]
    path.write_text("\n".join(["series,left,right,p_left", *rows]))


def test_the_photos_of_comparisons_are_found_in_a_folder_and_in_an_archive(photos: list[Path], tmp_path: Path) -> None:
    root = photos[0].parents[1]
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(root, ".")
    table = tmp_path / "c.csv"
    write_comparisons(photos, table)
    keys = {photo_key(path.read_bytes()) for path in photos}
    for base in (root, tmp_path / "all.tar"):
        places = Places(base)
        data = resolve(table, read_comparisons(table), base, places.key_of, 0.5, 0)
        assert {key.tobytes() for key in data.keys} == keys == set(places.of)
    with tarfile.open(tmp_path / "some.tar", "w") as archive:
        archive.add(root / "series-0", "series-0")
    with pytest.raises(
        PhotoError, match=r"some\.tar.series-1.* is not there; say with --photos .*hold 6 files, series-0"
    ):
        resolve(table, read_comparisons(table), tmp_path / "some.tar", Places(tmp_path / "some.tar").key_of, 0.5, 0)
    photos[0].unlink()
    with pytest.raises(PhotoError, match=r"00\.png is not there; say with --photos"):
        resolve(table, read_comparisons(table), root, Places(root).key_of, 0.5, 0)
    with tarfile.open(root / "rest.tar.gz", "w:gz") as archive:
        archive.add(root / "series-1", "series-0")
    with pytest.raises(
        PhotoError, match=r"is not there; .*rest\.tar\.gz is compressed: decompress it to a plain \.tar"
    ):
        resolve(table, read_comparisons(table), root, Places(root).key_of, 0.5, 0)
    photos[0].write_bytes(b"")
    with pytest.raises(PhotoError, match=r"00\.png is empty; training needs every photo"):
        resolve(table, read_comparisons(table), root, Places(root).key_of, 0.5, 0)


def test_trainings_on_one_machine_share_the_cores_that_they_may_use(
    photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LoadOptions] = []

    def children(features: object, options: LoadOptions) -> Children:
        asked.append(options)
        return Children(features, options)  # type: ignore[arg-type]

    monkeypatch.setattr("photorank.stages.pixels.Children", children)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(3, 13)), raising=False)
    for processes in ("1", "4", "20"):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        PixelSource(*located(photos), PAPER).__exit__()
    assert [options.processes for options in asked] == [10, 2, 1]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert cores() == 7
