"""Finding, identifying and decoding photos: the key's law above all, held against random damage."""

import hashlib
import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, features

from photorank.errors import PhotoError
from photorank.photos import MAX_PIXELS, decode_photo, photo_details, photo_key, photo_orientation, read_photo
from photorank.photos.finding import FailedPath, find_photos
from photorank.photos.metadata import orientation, orientation_segment, read_header
from photorank.store import FeatureStore

SHARED = Path(__file__).resolve().parents[3] / "shared" / "photos"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the real photos are not here ({SHARED})")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's file names and special files")
LAW = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def scene(width: int = 48, height: int = 32, mode: str = "RGB") -> Image.Image:
    """Smooth, but different in every corner, so that a turned or mirrored copy is another photo."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    bands = [255 * x / width, 255 * y / height, 255 * (x / width) * (1 - y / height), 20 + 0 * x]
    picked = [bands[band] for band in range(len(Image.new(mode, (1, 1)).getbands()))]
    return Image.fromarray(np.stack(picked, -1).astype(np.uint8).squeeze(), mode if mode != "L" else None)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif_of(orientation: int | None = None, **text: str) -> Image.Exif:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    for name, tag in {"artist": 0x013B, "make": 0x010F, "model": 0x0110}.items():
        if name in text:
            exif[tag] = text[name]
    for name, tag in {"taken": 0x9003, "offset": 0x9011, "subsecond": 0x9291}.items():
        if name in text:
            exif.get_ifd(0x8769)[tag] = text[name]
    return exif


@cache
def other_profile() -> bytes:
    """An RGB profile that is far from sRGB: sRGB's own with red's and green's primaries exchanged."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack(">I", profile[128:132])[0]
    tags = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * count, 12)}
    red, green = (profile[tags[tag] : tags[tag] + 8] for tag in (b"rXYZ", b"gXYZ"))
    profile[tags[b"rXYZ"] : tags[b"rXYZ"] + 8], profile[tags[b"gXYZ"] : tags[b"gXYZ"] + 8] = green, red
    return bytes(profile)


@cache
def jpegs() -> dict[str, bytes]:
    plain = scene()
    return {
        "baseline": encoded(plain, "JPEG", quality=90),
        "progressive": encoded(plain, "JPEG", progressive=True),
        "grey": encoded(scene(mode="L"), "JPEG"),
        "cmyk": encoded(scene(mode="CMYK"), "JPEG"),
        "icc": encoded(plain, "JPEG", icc_profile=other_profile(), comment=b"a comment"),
        "restarts": encoded(plain, "JPEG", restart_marker_blocks=2),
        "turned": encoded(plain, "JPEG", exif=exif_of(6, artist="somebody"), xmp=b"<x:xmpmeta/>"),
    }


SAMPLES = st.sampled_from(["baseline", "progressive", "grey", "cmyk", "icc", "restarts", "turned"]).map(
    lambda name: jpegs()[name]
)


def segment(code: int, payload: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(payload) + 2) + payload


def exif_segment(orientation: int | None = None, **text: str) -> bytes:
    return segment(0xE1, exif_of(orientation, **text).tobytes())


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The header's segments, and all from SOS on."""
    segments, at = [], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        segments.append(data[at:end])
        at = end
    return segments, data[at:]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def joined(segments: list[bytes], scan: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(segments) + scan


def pixels(data: bytes) -> tuple[tuple[int, ...], bytes] | str:
    """What a photo renders as; a failure has no pixels, and its words may differ."""
    try:
        rgb = decode_photo(data, 1 << 20).rgb
    except PhotoError:
        return "fails"
    return rgb.shape, rgb.tobytes()


# --- the key ---

OTHERS = {kind: encoded(scene(), kind) for kind in ("PNG", "WEBP", "TIFF", "BMP", "GIF")}

METADATA = st.one_of(
    st.binary(max_size=40).map(lambda text: segment(0xFE, text)),
    st.binary(max_size=40).map(lambda text: segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + text)),
    st.binary(max_size=40).map(lambda text: segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0" + text)),
    st.just(segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>')),
    st.text("abc", max_size=9).map(lambda text: exif_segment(artist=text)),
    st.binary(max_size=40).map(lambda rest: segment(0xE1, b"Exif\0\0" + rest)),
)


@LAW
@given(SAMPLES, st.lists(st.tuples(METADATA, st.integers(0, 20), st.integers(0, 3)), max_size=4), st.booleans())
def test_metadata_anywhere_in_the_header_keeps_the_key(
    data: bytes, added: list[tuple[bytes, int, int]], strip: bool
) -> None:
    key, shown, turned = photo_key(data), pixels(data), photo_orientation(data)
    segments, scan = split(data)
    # EXIF continues from segment to segment, so what is added behind one is text of it, and in front of one hides it.
    segments = [each for each in segments if each[1] not in ((0xE1, 0xED, 0xFE) if strip or added else ())]
    for new, at, fill in added:
        segments.insert(at % (len(segments) + 1), b"\xff" * fill + new)
    if turned != 1 and (strip or added):
        segments.insert(0, exif_segment(turned, artist="somebody else"))
    changed = joined(segments, scan)
    assert photo_orientation(changed) == turned
    assert photo_key(changed) == key
    assert pixels(changed) == shown


@given(SAMPLES, st.integers(1, 8), st.integers(1, 8))
def test_the_orientation_is_part_of_the_key(data: bytes, left: int, right: int) -> None:
    segments, scan = split(data)
    bare = [each for each in segments if each[1] != 0xE1]
    one, other = (joined([exif_segment(turned, artist="x"), *bare], scan) for turned in (left, right))
    assert (photo_key(one) == photo_key(other)) == (left == right)
    # The canonical form is itself a photo that looks the same and is its own canonical form.
    canonical = joined([orientation_segment(left)] * (left > 1) + [each for each in bare if each[1] != 0xFE], scan)
    assert photo_key(one) == photo_key(canonical) == sha256(canonical)
    assert photo_orientation(canonical) == left and pixels(canonical) == pixels(one)


@pytest.mark.parametrize("name", jpegs())
def test_whatever_changes_pixels_changes_the_key(name: str) -> None:
    data = jpegs()[name]
    segments, scan = split(data)
    keys = {photo_key(data)}
    changed = [joined(segments, scan[: len(scan) // 2] + b"\x01" + scan[len(scan) // 2 :]), data + b"\0", data + data]
    changed.append(joined([*segments, segment(0xE2, b"ICC_PROFILE\0\x01\x01" + other_profile()[::-1])], scan))
    changed.append(joined([*segments, segment(0xE0, b"JFIF\0")], scan))
    for at, each in enumerate(segments):
        if each[1] == 0xDB:
            table = each[:-1] + bytes([each[-1] ^ 1])
            changed.append(joined([*segments[:at], table, *segments[at + 1 :]], scan))
    for each in changed:
        assert photo_key(each) not in keys
        keys.add(photo_key(each))


def test_a_key_is_the_hash_of_the_bytes_for_all_other_formats() -> None:
    for data in (b"", b"\xff", b"\xff\xd8", b"\xff\xd8\xff", b"text", encoded(scene()), encoded(scene(), "BMP")):
        assert photo_key(data) == sha256(data)


@pytest.mark.parametrize(
    "header",
    [
        b"\xff\xd8" + segment(0xFE, b"x") + b"junk" + segment(0xE1, b"y"),
        b"\xff\xd8" + segment(0xFE, b"x") + b"\xff\xfe\0\x01",  # a length that cannot be
        b"\xff\xd8" + segment(0xFE, b"x") + b"\xff\xfe\xff\xff",  # beyond the end
        b"\xff\xd8" + segment(0xFE, b"x") + b"\xff\xd8",
        b"\xff\xd8" + segment(0xFE, b"x") + b"\xff\xd0",
        b"\xff\xd8" + segment(0xFE, b"x") + segment(0xF0, b"a marker that may or may not have a length"),
        b"\xff\xd8\xff\x00",
    ],
)
def test_an_ill_formed_header_is_hashed_whole(header: bytes) -> None:
    segments, scan = split(jpegs()["baseline"])
    for rest in (b"", b"".join(segments), b"".join(segments) + scan, joined(segments, scan)):
        assert photo_key(header + rest) == sha256(header + rest)


def test_a_header_that_ends_early_is_hashed_whole() -> None:
    segments, scan = split(jpegs()["icc"])
    data = joined(segments, b"\xff\xff" + scan[:2])
    assert read_header(data).well_formed  # up to SOS, and with fill bytes before it
    for end in range(len(data)):
        assert photo_key(data[:end]) == sha256(data[:end])


def test_an_orientation_before_junk_still_counts() -> None:
    segments, scan = split(jpegs()["baseline"])
    data = b"\xff\xd8" + exif_segment(8) + b"\0junk" + b"".join(segments) + scan
    assert photo_orientation(data) == 8 and photo_key(data) == sha256(data)
    assert decode_photo(data).rgb.shape == (48, 32, 3)


MUTATIONS = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 1 << 20), st.integers(0, 255)),
    st.tuples(st.just("flip"), st.integers(0, 700), st.sampled_from([0, 0xFF, 0xE1, 0xFE, 0xED, 0xDA, 0xD8, 0xD0])),
    st.tuples(st.just("cut"), st.integers(0, 1 << 20), st.integers(0, 60)),
    st.tuples(st.just("end"), st.integers(0, 1 << 20), st.just(0)),
    st.tuples(st.just("junk"), st.integers(0, 700), st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("junk"), st.integers(0, 700), METADATA),
    st.tuples(st.just("twice"), st.integers(0, 20), st.integers(0, 20)),
    st.tuples(st.just("insert"), st.integers(0, 20), st.one_of(METADATA, st.integers(0, 9).map(exif_segment))),
    st.tuples(st.just("drop"), st.integers(0, 20), st.just(0)),
)


def mutated(data: bytes, mutation: tuple[str, int, object]) -> bytes:
    kind, at, what = mutation
    if kind in ("twice", "insert", "drop"):
        try:
            segments, scan = split(data)
            at %= len(segments) + (kind == "insert")
        except (IndexError, ZeroDivisionError):
            return data
        if kind == "drop":
            del segments[at]
        else:
            segments.insert(at, segments[at] if kind == "twice" else bytes(what))  # type: ignore[call-overload]
        return joined(segments, scan)
    at %= len(data) + 1
    if kind == "end":
        return data[:at]
    if kind == "flip":
        return data[:at] + bytes([int(what)]) + data[at + 1 :]  # type: ignore[call-overload]
    if kind == "cut":
        return data[:at] + data[at + int(what) :]  # type: ignore[call-overload]
    return data[:at] + bytes(what) + data[at:]  # type: ignore[call-overload]


def law_holds(*photos: bytes) -> None:
    shown = {}
    for data in photos:
        assert shown.setdefault(photo_key(data), pixels(data)) == pixels(data)
        assert 1 <= photo_orientation(data) <= 8
        photo_details(data)


def canonical(data: bytes) -> bytes:
    """The bytes whose hash the key is."""
    header = read_header(data)
    turned = orientation(header.exif) if header.well_formed else 1
    kept = b"".join(data[start:end] for start, end in header.kept)
    form = kept[:2] + (orientation_segment(turned) if turned > 1 else b"") + kept[2:]
    assert photo_key(data) == sha256(form)
    return form


@LAW
@given(SAMPLES, st.lists(MUTATIONS, max_size=3), st.lists(MUTATIONS, max_size=3))
def test_equal_keys_are_equal_pixels_whatever_the_damage(
    data: bytes, left: list[tuple[str, int, object]], right: list[tuple[str, int, object]]
) -> None:
    one = other = data
    for mutation in left:
        one = mutated(one, mutation)
    for mutation in right:
        other = mutated(other, mutation)
    # The canonical forms join in: they are the files most likely to share a key with these.
    law_holds(data, one, other, canonical(one), canonical(other))
    assert canonical(canonical(one)) == canonical(one)


@LAW
@given(st.binary(max_size=80), st.sampled_from([b"", b"\xff\xd8\xff", *(each[:12] for each in OTHERS.values())]))
@example(b"\x08\0\0\0\xff\xff" + bytes(70), b"II*\0")
def test_random_bytes_have_a_key_and_no_surprise(data: bytes, magic: bytes) -> None:
    law_holds(magic + data)


@LAW
@given(
    st.integers(0, 70_000), st.sampled_from(["little", "big"]), st.sampled_from([3, 4]), st.binary(max_size=30),
    st.integers(0, 60), st.integers(0, 60),
)  # fmt: skip
def test_orientation_agrees_with_pillow(value: int, order: str, kind: int, junk: bytes, cut: int, at: int) -> None:
    mark, pack = (b"II*\0", "<") if order == "little" else (b"MM\0*", ">")
    number = struct.pack(pack + "HI"[kind - 3], value % (1 << 16))
    entry = struct.pack(pack + "HHI", 0x0112, kind, 1) + number.ljust(4, b"\0")
    tiff = mark + struct.pack(pack + "IH", 8, 1) + entry + bytes(4)
    tiff = (tiff[:at] + junk + tiff[at + len(junk) :])[: 8 + cut] if cut % 2 else tiff
    exif = Image.Exif()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exif.load(tiff)
            expected = exif.get(0x0112, 1)
        except Exception:  # Pillow refuses what is only cut short or not EXIF at all
            expected = None
    if expected in range(1, 9) and not cut % 2:
        assert orientation(tiff) == expected
    elif not cut % 2:
        assert orientation(tiff) == 1
    assert 1 <= orientation(tiff) <= 8


def test_exif_beyond_one_segment_and_xmp() -> None:
    segments, scan = split(jpegs()["baseline"])
    whole = exif_of(6, artist="x" * 500).tobytes()
    for cut in (7, 20, 100):
        parts = [segment(0xE1, whole[:cut]), segment(0xE1, b"Exif\0\0" + whole[cut:])]
        assert photo_orientation(joined([*parts, *segments], scan)) == 6
    doubled = segment(0xE1, b"Exif\0\0" + whole)
    assert photo_orientation(joined([doubled, *segments], scan)) == 6
    for code in (0xED, 0xFE, 0xE2):
        assert photo_orientation(joined([segment(code, whole), *segments], scan)) == 1
    xmp = segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>')
    assert photo_orientation(joined([xmp, *segments], scan)) == 1


@needs_shared
@pytest.mark.parametrize("folder", ["beach", "castle", "objects"])
def test_real_photos_keep_their_key_when_stripped(folder: str) -> None:
    for path in sorted((SHARED / folder).iterdir())[:40]:
        if path.suffix.lower() not in (".jpg", ".jpeg"):
            continue
        data = path.read_bytes()
        segments, scan = split(data)
        turned = photo_orientation(data)
        bare = [each for each in segments if each[1] not in (0xE1, 0xED, 0xFE)]
        for added in ([], [exif_segment(turned, artist="me")], [segment(0xFE, b"a caption"), exif_segment(turned)]):
            if turned == 1 or added:
                assert photo_key(joined([*added, *bare], scan)) == photo_key(data)
        assert photo_key(joined([exif_segment(3), *bare], scan)) != photo_key(data) or turned == 3
    law_holds(data, joined(bare, scan), joined([exif_segment(turned), *bare], scan))


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_what_exiftool_writes_keeps_the_key(tmp_path: Path) -> None:
    for name, data in jpegs().items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    (tmp_path / "mpo.jpg").write_bytes(encoded(scene(), "MPO", save_all=True, append_images=[scene(16, 16)]))
    if SHARED.is_dir():
        for folder in ("beach", "castle", "objects"):
            for path in sorted(path for path in (SHARED / folder).iterdir() if path.suffix.lower() != ".md")[:2]:
                shutil.copy(path, tmp_path)
    files = sorted(tmp_path.iterdir())
    keys = [photo_key(path.read_bytes()) for path in files]
    for tag in ("-Rating=4", "-XMP:Label=Red", "-IPTC:Caption-Abstract=a caption", "-Comment=hi", "-Artist=me"):
        before = [path.read_bytes() for path in files]
        subprocess.run(["exiftool", "-q", "-m", "-overwrite_original", tag, *files], check=True)
        assert all(path.read_bytes() != old for path, old in zip(files, before, strict=True))
        assert [photo_key(path.read_bytes()) for path in files] == keys
    subprocess.run(["exiftool", "-q", "-m", "-overwrite_original", "-n", "-Orientation=7", *files], check=True)
    assert not {photo_key(path.read_bytes()) for path in files} & set(keys)
    assert {photo_orientation(path.read_bytes()) for path in files} == {7}


# --- decoding ---


def close(left: np.ndarray | Image.Image, right: Image.Image | np.ndarray, tolerance: int = 0) -> bool:
    left, right = np.asarray(left), np.asarray(right)
    return left.shape == right.shape and int(np.abs(left.astype(int) - right.astype(int)).max()) <= tolerance


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image as a camera stores it that was held so."""
    way = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]  # Image.Transpose's numbers, each undoing the tag's
    return image if way is None else image.transpose(Image.Transpose(way))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "tiff_lzw"])
def test_orientations_come_out_upright(kind: str, orientation: int) -> None:
    exif = exif_of(orientation)
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}
    options = {"compression": kind} if "_" in kind else lossless.get(kind, {})
    stored = turned(scene(), orientation)
    data = encoded(stored, kind.split("_")[0].upper(), exif=exif, **options)
    photo = decode_photo(data)
    assert photo_orientation(data) == photo.orientation == orientation
    assert photo.rgb.flags.c_contiguous and photo.rgb.flags.writeable and photo.rgb.dtype == np.uint8
    assert (photo.height, photo.width) == (32, 48) == photo.rgb.shape[:2]
    assert close(photo.rgb, scene(), 8 if kind == "JPEG" else 0)
    assert close(photo.rgb, ImageOps.exif_transpose(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_out_of_range_is_none(orientation: int) -> None:
    for kind in ("PNG", "JPEG", "TIFF"):
        photo = decode_photo(encoded(scene(), kind, exif=exif_of(orientation)))
        assert photo.orientation == 1 and photo.rgb.shape == (32, 48, 3)


def test_a_big_tiff_comes_out_upright() -> None:
    data = encoded(turned(scene(), 6), "TIFF", exif=exif_of(6), big_tiff=True)
    assert data[2] == 43 and photo_orientation(data) == 6
    assert close(decode_photo(data).rgb, scene())


def test_an_orientation_that_only_pillow_reads_does_no_harm() -> None:
    data = encoded(scene(), "TIFF", exif=exif_of(6)).replace(b"\x12\x01\x03\0", b"\x12\x01\x09\0")
    assert photo_orientation(data) == 1
    assert close(decode_photo(data).rgb, scene())


def test_broken_metadata_does_no_harm() -> None:
    """Pillow itself refuses such a photo, for metadata that no pixel depends on."""
    segments, scan = split(jpegs()["baseline"])
    data = joined([segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"), *segments], scan)
    with pytest.raises(Exception, match=r"."):
        Image.open(io.BytesIO(data)).load()
    assert pixels(data) == pixels(jpegs()["baseline"]) and photo_key(data) == photo_key(jpegs()["baseline"])


def test_a_tiffs_xmp_does_not_turn_it() -> None:
    data = encoded(scene(), "TIFF", tiffinfo={700: b'<x tiff:Orientation="6"/>'})
    assert close(decode_photo(data).rgb, scene())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_profile_is_turned_to_srgb(kind: str) -> None:
    image = scene()
    data = encoded(image, kind, icc_profile=other_profile(), **({"lossless": True} if kind == "WEBP" else {}))
    expected = in_srgb(Image.open(io.BytesIO(data)), other_profile())
    assert close(decode_photo(data).rgb, expected)
    assert not close(decode_photo(data).rgb, image, 40)


def in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    return ImageCms.profileToProfile(
        image,
        ImageCms.ImageCmsProfile(io.BytesIO(profile)),
        ImageCms.createProfile("sRGB"),
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )


def grey_profile(gamma: float = 1.0) -> bytes:
    """A grey profile, written by hand: Pillow makes none."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ " + bytes(4) + struct.pack(">3i", *(round(each * 65536) for each in (0.9642, 1, 0.8249)))
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(78 + 1)
    body, table, at = b"", b"", 128 + 4 + 3 * 12
    for name, tag in ((b"desc", text), (b"wtpt", white), (b"kTRC", curve)):
        table += name + struct.pack(">II", at + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    head = bytearray(128)
    head[0:4], head[8:12] = struct.pack(">I", at + len(body)), b"\x02\x40\0\0"
    head[12:24], head[36:40] = b"mntrGRAYXYZ ", b"acsp"
    head[68:80] = white[8:]
    return bytes(head) + struct.pack(">I", 3) + table + body


def test_a_profile_of_greys_with_alpha() -> None:
    grey = scene(mode="L")
    expected = np.asarray(in_srgb(grey, grey_profile())) * (100 / 255) + 255 * (155 / 255)
    grey.putalpha(100)
    assert close(decode_photo(encoded(grey, icc_profile=grey_profile())).rgb, expected, 1)


def test_a_grey_profile_counts_for_grey_photos_only() -> None:
    grey = scene(mode="L")
    shown = decode_photo(encoded(grey, icc_profile=grey_profile())).rgb
    assert close(shown, in_srgb(grey, grey_profile())) and not close(shown, grey.convert("RGB"), 20)
    assert close(decode_photo(encoded(scene(), icc_profile=grey_profile())).rgb, scene())
    assert close(decode_photo(encoded(grey, icc_profile=other_profile())).rgb, grey.convert("RGB"))


@pytest.mark.parametrize("profile", [b"not a profile", b"\0" * 200, other_profile()[:150]])
def test_an_unreadable_profile_is_passed_over(profile: bytes) -> None:
    assert close(decode_photo(encoded(scene(), icc_profile=profile)).rgb, scene())


def test_srgb_stays_as_it_is() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert close(decode_photo(encoded(scene(), icc_profile=profile)).rgb, scene())
    # Makers round sRGB's numbers differently: what moves no colour by more than a step is taken for it.
    at = struct.unpack(">I", profile[(entry := profile.index(b"rXYZ")) + 4 : entry + 8])[0] + 8
    other = profile[:at] + struct.pack(">i", struct.unpack(">i", profile[at : at + 4])[0] + 20) + profile[at + 4 :]
    assert not close(in_srgb(scene(), other), scene())
    assert close(decode_photo(encoded(scene(), icc_profile=other)).rgb, scene())


@needs_shared
def test_real_profiles() -> None:
    seen = 0
    for path in sorted((SHARED / "objects").glob("*.JPEG")):
        with Image.open(path) as image:
            profile = image.info.get("icc_profile")
            if profile and image.mode == "RGB" and seen < 12:
                shown = decode_photo(path.read_bytes()).rgb
                # Off by two where the profile is sRGB already and so left alone.
                assert close(shown, ImageOps.exif_transpose(in_srgb(image, profile)), 2)
                seen += 1
    assert seen


def test_cmyk() -> None:
    image = scene(mode="CMYK")
    for kind in ("TIFF", "JPEG"):
        data = encoded(image, kind)
        assert close(decode_photo(data).rgb, Image.open(io.BytesIO(data)).convert("RGB"))


def test_deep_greys_are_scaled_not_clipped() -> None:
    deep = np.linspace(0, 65535, 48 * 32).reshape(32, 48)
    expected = np.repeat(np.rint(deep.astype(np.uint16) / 257)[..., None], 3, -1)
    for kind in ("PNG", "TIFF"):
        assert close(decode_photo(encoded(Image.fromarray(deep.astype(np.uint16)), kind)).rgb, expected)
    big = Image.frombytes("I;16B", (48, 32), deep.astype(">u2").tobytes())
    assert close(decode_photo(encoded(big, "TIFF")).rgb, expected)
    assert close(decode_photo(encoded(Image.fromarray(deep.astype(np.int32)), "TIFF")).rgb, expected)
    huge = Image.fromarray((deep * 32768).astype(np.int32))
    assert close(decode_photo(encoded(huge, "TIFF")).rgb, expected, 1)
    for scale in (1 / 65535, 1.0, 1e30):
        floats = Image.fromarray((deep * scale).astype(np.float32))
        assert close(decode_photo(encoded(floats, "TIFF")).rgb, expected, 1)
    odd = deep.astype(np.float32)
    odd[0, 0], odd[0, 1] = np.nan, np.inf
    assert decode_photo(encoded(Image.fromarray(odd), "TIFF")).rgb[-1, -1].tolist() == [255] * 3


def test_transparency_is_over_white() -> None:
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1)))
    rgba = scene()
    rgba.putalpha(alpha)
    share = np.asarray(alpha)[..., None] / 255
    expected = np.asarray(scene()) * share + 255 * (1 - share)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert close(decode_photo(encoded(rgba, kind, **options)).rgb, expected, 1)
    grey = scene(mode="L")
    grey.putalpha(alpha)
    expected = np.asarray(scene(mode="L").convert("RGB")) * share + 255 * (1 - share)
    assert close(decode_photo(encoded(grey)).rgb, expected, 1)
    # A profile is applied to colours, not to what they look like over white.
    shown = decode_photo(encoded(rgba, icc_profile=other_profile())).rgb
    assert close(shown, np.asarray(in_srgb(scene(), other_profile())) * share + 255 * (1 - share), 1)


def test_palettes_and_declared_transparent_colours() -> None:
    palette = scene().quantize(16)
    assert close(decode_photo(encoded(palette)).rgb, palette.convert("RGB"))
    indices = np.asarray(palette)
    hole = int(indices[3, 3])
    for transparency in (hole, bytes(0 if index == hole else 255 for index in range(16))):
        shown = decode_photo(encoded(palette, transparency=transparency)).rgb
        assert close(shown, np.where((indices == hole)[..., None], 255, np.asarray(palette.convert("RGB"))))
    red = Image.new("RGB", (4, 4), (200, 0, 0))
    assert (decode_photo(encoded(red, transparency=(200, 0, 0))).rgb == 255).all()
    assert (decode_photo(encoded(Image.new("L", (4, 4), 7), transparency=7)).rgb == 255).all()
    deep = Image.fromarray(np.array([[1000, 2000]], np.uint16))
    assert decode_photo(encoded(deep, transparency=1000)).rgb[0, :, 0].tolist() == [255, 8]
    assert decode_photo(encoded(Image.new("1", (4, 4), 1))).rgb.min() == 255


def test_lab_and_ycbcr() -> None:
    lab = Image.new("LAB", (4, 4), (200, 128, 128))
    assert close(decode_photo(encoded(lab, "TIFF")).rgb, Image.open(io.BytesIO(encoded(lab, "TIFF"))).convert("RGB"))
    assert close(decode_photo(encoded(scene().convert("YCbCr"), "TIFF")).rgb, scene(), 4)


def test_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "lime", "blue")]
    kinds = ["GIF", "PNG", "TIFF", "MPO"] + ["WEBP"] * features.check("webp")
    for kind in kinds:
        options = {"WEBP": {"lossless": True}}.get(kind, {})
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        photo = decode_photo(data)
        assert close(photo.rgb, frames[0], 2 if kind == "MPO" else 0)
        assert photo.format == ("JPEG" if kind == "MPO" else kind)


def test_a_multi_picture_directory_that_lies_does_no_harm() -> None:
    data = encoded(scene(), "MPO", save_all=True, append_images=[scene(16, 16)])
    for at in range(data.index(b"MPF\0") + 4, data.index(b"MPF\0") + 80):
        changed = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
        assert pixels(changed) == pixels(data)


def test_when_and_with_what() -> None:
    def seen(**text: str) -> tuple[str | None, str | None]:
        data = encoded(scene(), "JPEG", exif=exif_of(**text))
        photo = decode_photo(data)
        assert photo_details(data) == (photo.taken_at, photo.camera)
        return photo.taken_at, photo.camera

    assert seen() == (None, None)
    assert seen(taken="2024:02:29 23:59:58", make="Canon", model="Canon EOS R5\0\0 ") == (
        "2024-02-29T23:59:58",
        "Canon EOS R5",
    )
    assert seen(taken="2024:02:29 23:59:58", subsecond="07 ", offset="+05:30")[0] == "2024-02-29T23:59:58.07+05:30"
    assert seen(make="NIKON CORPORATION", model="NIKON D90")[1] == "NIKON D90"
    assert seen(make=" SONY ", model="ILCE-7M3")[1] == "SONY ILCE-7M3"
    assert seen(make="Apple")[1] == "Apple"
    for nonsense in ("0000:00:00 00:00:00", "2023:02:29 10:00:00", "    :  :     :  :  ", "now", "2024:01:01 24:30:00"):
        assert seen(taken=nonsense) == (None, None)
    assert seen(taken="2024:02:29 23:59:58", subsecond="x", offset="   :  ")[0] == "2024-02-29T23:59:58"
    tiff = exif_of(make="SONY", taken="2024:02:29 23:59:58").tobytes().removeprefix(b"Exif\0\0")
    assert photo_details(tiff) == ("2024-02-29T23:59:58", "SONY")


# --- bad photos ---


def chunk(name: bytes, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))


def lying_png(side: int) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def refusal(data: bytes, **options: int) -> str:
    with pytest.raises(PhotoError) as caught:
        decode_photo(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_refusals_say_why() -> None:
    assert refusal(b"") == "is empty"
    for other in (b"some text", b"<svg/>", b"%PDF-1.4", b"P6 2 2 255 xxxxxxxxxxxx", b"\x00" * 1000):
        assert refusal(other) == "is not an image that photorank can read"
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"):
        data = encoded(scene(200, 200), kind)
        for share in (0.2, 0.5, 0.8):
            assert refusal(data[: int(len(data) * share)]).startswith("is truncated or damaged (")
    assert refusal(lying_png(100_000)) == f"has 100000 x 100000 pixels, more than the limit of {MAX_PIXELS}"
    assert refusal(encoded(scene()), max_pixels=1000) == "has 48 x 32 pixels, more than the limit of 1000"
    gif = bytearray(encoded(scene(), "GIF"))
    gif[6:10] = b"\xff" * 4
    assert "pixels" in refusal(bytes(gif))
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + b"\xff\xff\0" * 2
    assert refusal(webp)


def test_a_large_photo_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    """Between once and twice Pillow's limit, where Pillow warns; the lie keeps the test small."""
    assert refusal(lying_png(9_500)).startswith("is truncated or damaged")
    gif = bytearray(encoded(Image.new("L", (4, 4)), "GIF"))
    gif[6:10] = struct.pack("<HH", 9_500, 9_500)
    decode_photo(bytes(gif))
    assert not recwarn.list


def test_odd_metadata_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    tiff = encoded(scene(), "TIFF", tiffinfo={270: "words " * 20})
    at = tiff.index(b"\x0e\x01\x02\x00")
    odd = tiff[: at + 4] + b"\xff\xff\xff\x0f" + tiff[at + 8 :]
    with pytest.warns(UserWarning, match="Tag"):  # Pillow itself does
        Image.open(io.BytesIO(odd)).load()
    recwarn.clear()
    assert close(decode_photo(odd).rgb, scene())
    assert not recwarn.list


def test_damage_never_escapes(capfd: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for kind in ("PNG", "WEBP", "TIFF", "BMP", "GIF", "tiff_lzw", "tiff_jpeg"):
        options = {"compression": kind} if "_" in kind else {}
        data = np.frombuffer(encoded(scene(), kind.split("_")[0].upper(), exif=exif_of(6), **options), np.uint8)
        for _ in range(150):
            changed = data.copy()
            changed[random.integers(0, min(len(data), 2000), 3)] = random.integers(0, 256, 3)
            assert pixels(changed.tobytes()) is not None
        # libtiff's own C code writes to stderr, which nothing in Python can hold back for one thread alone.
        assert capfd.readouterr() == ("", "") or "tiff" in kind.lower()


def test_ctrl_c_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("photorank.photos.decoding._load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        decode_photo(encoded(scene()))


def test_threads_agree() -> None:
    photos = [encoded(scene(), "JPEG", icc_profile=other_profile()), *jpegs().values()] * 12
    expected = [pixels(data) for data in photos]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(pixels, photos)) == expected


# --- finding and reading ---


def names(found: list, root: Path) -> list[str]:
    return [os.path.relpath(each.path, root).replace(os.sep, "/") for each in found]


def test_finding(tmp_path: Path) -> None:
    photos = ["a/deep/y.Jpeg", "a/x.png", "b.JPG", "d.jpg/in.tif", "z.mpo"]
    for name in (*photos, ".hidden.jpg", ".thumbs/t.jpg", "notes.txt", "jpg", "xjpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    found, failed = find_photos([tmp_path])
    assert (names(found, tmp_path), failed) == (photos, [])
    assert (found[2].size, found[2].mtime_ns) == (5, (tmp_path / "b.JPG").stat().st_mtime_ns)
    # Each once, however often named; a named file is taken whatever its name.
    again, _ = find_photos([str(tmp_path), tmp_path / "a", tmp_path / "a" / ".." / "a", tmp_path / "notes.txt"])
    assert names(again, tmp_path) == sorted([*names(found, tmp_path), "notes.txt"])
    assert names(find_photos([tmp_path / ".thumbs"])[0], tmp_path) == [".thumbs/t.jpg"]
    # A feature store's thumbnails are no photos.
    FeatureStore.create(tmp_path / "a" / "store")
    (tmp_path / "a" / "store" / "thumbnails").mkdir()
    (tmp_path / "a" / "store" / "thumbnails" / "t.jpg").write_bytes(b"12345")
    assert names(find_photos([tmp_path])[0], tmp_path) == photos


def test_relative_names_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.jpg").touch()
    monkeypatch.chdir(tmp_path)
    for named in (".", "x.jpg", "./nowhere/../x.jpg"):
        assert [each.path for each in find_photos([named])[0]] == [str(Path.cwd() / "x.jpg")]


@pytest.mark.parametrize("name", ["missing.jpg", "", "missing/x.jpg", "nul\0byte"])
def test_a_named_path_must_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(PhotoError, match="does not exist; "):
        find_photos([str(tmp_path / name) if name else ""])


def linked(link: Path, target: Path | str) -> None:
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError as error:
        pytest.skip(f"this user may make no links ({error})")


def test_links(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (root / "z").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (root / "z" / "in.jpg", elsewhere / "out.jpg"):
        path.touch()
    linked(root / "a-link-to-z", root / "z")  # sorts first, but the folder itself comes first
    linked(root / "z" / "up", root)
    linked(root / "out", elsewhere)
    linked(elsewhere / "back", root)
    linked(root / "file.jpg", elsewhere / "out.jpg")
    linked(root / "dangling.jpg", tmp_path / "nothing")
    linked(root / "dangling", tmp_path / "nothing")
    linked(root / "self.jpg", "self.jpg")
    found, failed = find_photos([root])
    assert names(found, root) == ["file.jpg", "out/out.jpg", "z/in.jpg"]
    assert names(failed, root) == ["dangling.jpg", "self.jpg"]
    assert failed[0].error == "is a link to a file that does not exist"
    assert names(find_photos([root / "dangling.jpg"])[1], root) == ["dangling.jpg"]
    # A link that is named is the folder that is wanted.
    assert names(find_photos([root / "out"])[0], root)[0].startswith("out/")


@linux_only
def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        linked(tmp_path / "device.jpg", "/dev/zero")
        found, failed = find_photos([tmp_path])
        assert list(found) == []
        assert names(failed, tmp_path) == ["device.jpg", "pipe.jpg", "socket.png"]
        assert {each.error for each in failed} == {"is not a regular file"}
        assert find_photos([tmp_path / "pipe"])[1] == [FailedPath(str(tmp_path / "pipe"), "is not a regular file")]
        for path in ("pipe", "device.jpg", "socket.png", "."):
            with pytest.raises(PhotoError, match=r"is not a regular file|cannot be read"):
                read_photo(str(tmp_path / path))


@linux_only
def test_names_of_any_bytes(tmp_path: Path) -> None:
    odd = [b"new\nline.jpg", b"caf\xe9.jpg", "日本.jpg".encode(), b" .jpg", b"'\".jpg", b"-n.jpg"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    found, failed = find_photos([tmp_path])
    assert failed == []
    assert {os.fsencode(each.path).rsplit(b"/", 1)[1] for each in found} == set(odd)
    assert [each.path for each in found] == sorted(each.path for each in found)
    assert all(os.fsencode(each.path).endswith(b"/" + read_photo(each.path)) for each in found)


@linux_only
def test_a_file_from_beyond_2262_is_found(tmp_path: Path) -> None:
    """Its time in nanoseconds is more than 64 bits with a sign hold."""
    (tmp_path / "x.jpg").touch()
    os.utime(tmp_path / "x.jpg", (9_500_000_000, 9_500_000_000))
    ((found,), _) = find_photos([tmp_path])
    assert found.mtime_ns == min(2**63 - 1, (tmp_path / "x.jpg").stat().st_mtime_ns)


def test_reading(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\r\n\x1a\0data")
    assert read_photo(str(tmp_path / "a.jpg")) == b"\r\n\x1a\0data"
    (tmp_path / "empty.jpg").touch()
    for name, why in (("empty.jpg", "is empty"), ("missing.jpg", "cannot be read"), (".", "regular|cannot be read")):
        with pytest.raises(PhotoError, match=why) as caught:
            read_photo(str(tmp_path / name))
        assert str(tmp_path) not in str(caught.value)


@linux_only
def test_what_may_not_be_read() -> None:
    """root reads everything, so an ordinary user does this, in a process of its own and a folder open to all."""
    code = """
        import os, sys
        from photorank.photos import read_photo
        from photorank.photos.finding import find_photos
        from photorank.errors import PhotoError
        if os.getuid() == 0:
            os.setgid(65534), os.setgroups([]), os.setuid(65534)
        found, failed = find_photos([sys.argv[1]])
        print(*(os.path.basename(each.path) for each in found))
        print(*(each.error for each in failed))
        try:
            read_photo(os.path.join(sys.argv[1], "secret.jpg"))
        except PhotoError as error:
            print(error)
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a").mkdir()
        for each in ("a/in.jpg", "secret.jpg", "open.jpg"):
            (folder / each).write_bytes(b"data")
        for each, mode in (("secret.jpg", 0), ("a", 0), (".", 0o755)):
            (folder / each).chmod(mode)
        command = [sys.executable, "-c", textwrap.dedent(code), name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
        (folder / "a").chmod(0o700)
    if done.returncode:
        pytest.skip(f"no other user could be taken on here: {done.stderr.splitlines()[-1:]}")
    assert done.stdout.splitlines() == [
        "open.jpg secret.jpg",
        "cannot be listed (Permission denied)",
        "cannot be read (Permission denied)",
    ]


def test_many_files_take_little_time(tmp_path: Path) -> None:
    for folder in range(10):
        (tmp_path / str(folder)).mkdir()
        for number in range(500):
            (tmp_path / str(folder) / f"{number}.jpg").touch()
    began = time.process_time()
    found, _ = find_photos([tmp_path])
    assert len(found) == 5000
    assert time.process_time() - began < 1  # measured: 0.03 s


def test_finding_imports_no_pillow() -> None:
    code = """
        import sys
        from photorank.photos import photo_key
        from photorank.photos.finding import find_photos
        find_photos(["tests"]), photo_key(b"")
        print({"PIL", "numpy"} & set(sys.modules))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "set()"
