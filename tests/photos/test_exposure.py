"""How photos were exposed, as it is read at each ranking: at the beginning of a JPEG, anywhere in others."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from photorank.photos import read_exposure
from photorank.photos.metadata import Exposure, Header, exposure, read_header
from tests.photos.timelines import NOON, exif

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8))
TOLD = exif(NOON, serial="123", bias=-2, seconds=0.01, mode=2)
WAYS: dict[str, dict[str, object]] = {
    "WEBP": {"lossless": True},  # the chunks with metadata come last
    "PNG": {},
    "JPEG": {"quality": 100, "subsampling": 0},
    "AVIF": {"quality": 100, "subsampling": "4:4:4", "speed": 10},
}


@pytest.mark.parametrize("kind", WAYS)
def test_exposure_is_read_wherever_in_a_long_file_it_is(tmp_path: Path, kind: str) -> None:
    if kind in ("AVIF", "WEBP") and not features.check(kind.lower()):
        pytest.skip(f"this build of Pillow has no {kind}")
    file = tmp_path / "photo"
    NOISE.save(file, kind, exif=TOLD, **WAYS[kind])
    assert file.stat().st_size > 1 << 18
    found = read_exposure(str(file))
    assert found == exposure(read_header(file.read_bytes()).exif)
    assert (found.bias, found.bracketed, found.serial) == (-2.0, True, "123")


def test_exposure_of_a_tiff_whose_directories_are_behind_the_strips(tmp_path: Path) -> None:
    """As libtiff, and so most programs, write it."""

    def directory(*entries: tuple[int, int, int, int]) -> bytes:
        return struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)

    strips = 1 << 19
    main, below = 8 + strips, 8 + strips + len(directory((0, 0, 0, 0)))
    bias = below + 2 * len(directory((0, 0, 0, 0))) - 6
    data = b"II*\0" + struct.pack("<I", main) + bytes(strips) + directory((0x8769, 4, 1, below))
    data += directory((0x9204, 10, 1, bias), (0xA402, 3, 1, 2)) + struct.pack("<ii", -4, 2)
    (tmp_path / "photo").write_bytes(data)
    assert read_exposure(str(tmp_path / "photo")) == exposure(data) == Exposure(-2.0, bracketed=True)


def test_exposure_of_a_heic_whose_exif_is_behind_the_picture(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed (photorank[heif])")
    written, data = pillow_heif.from_pillow(NOISE), io.BytesIO()
    written[0].info["exif"] = TOLD.tobytes()
    written.save(data, quality=-1, chroma=444)
    (tmp_path / "photo").write_bytes(data.getvalue())
    assert exposure(read_header(data.getvalue()[: 1 << 18]).exif) == Exposure()
    assert read_exposure(str(tmp_path / "photo")).bias == -2.0


def test_what_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert read_exposure(str(tmp_path / "gone")) == Exposure()
    (tmp_path / "junk").write_bytes(bytes(1 << 19))
    assert read_exposure(str(tmp_path / "junk")) == Exposure()


def test_a_file_that_is_cut_off_while_it_is_read_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "photo"
    NOISE.save(file, "PNG", exif=TOLD)
    assert file.stat().st_size > 1 << 18

    def cut_first(data: bytes) -> Header:
        os.truncate(file, 100)
        return read_header(data)

    monkeypatch.setattr("photorank.photos.read_header", cut_first)
    assert read_exposure(str(file)) == Exposure()
