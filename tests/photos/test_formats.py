"""AVIF, HEIC and camera RAW: upright once, in sRGB, within the limit, and every damage a PhotoError."""

import io
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from photorank.errors import PhotoError
from photorank.photos import decode_photo, photo_details, photo_key, photo_orientation
from photorank.photos.finding import PHOTO_SUFFIXES, find_photos
from photorank.photos.metadata import orientation, read_header
from photorank.photos.raw import is_raw
from tests.photos.test_photos import close, encoded, exif_of, in_srgb, other_profile, scene, sha256, turned

try:
    import pillow_heif
except ImportError:
    pillow_heif = None
try:
    import rawpy
except ImportError:
    rawpy = None

needs_heif = pytest.mark.skipif(pillow_heif is None, reason="pillow-heif is not installed (photorank[heif])")
needs_raw = pytest.mark.skipif(rawpy is None, reason="rawpy is not installed (photorank[raw])")
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow has no AVIF")
both = pytest.mark.parametrize("kind", [pytest.param("HEIC", marks=needs_heif), pytest.param("AVIF", marks=needs_avif)])
RANDOM = np.random.default_rng(0)


# --- HEIC and AVIF ---


def heic(image: Image.Image, **info: object) -> bytes:
    """A HEIC photo, lossless but for rounding; an orientation in the EXIF becomes irot and imir as well."""
    written = pillow_heif.from_pillow(image)
    written[0].info.update(info)
    file = io.BytesIO()
    written.save(file, quality=-1, chroma=444, matrix_coefficients=0)
    return file.getvalue()


def picture(kind: str, image: Image.Image, exif: Image.Exif | None = None, profile: bytes | None = None) -> bytes:
    if kind == "HEIC":
        info = {"exif": exif and exif.tobytes(), "icc_profile": profile, "icc_profile_type": "prof"}
        return heic(image, **{name: value for name, value in info.items() if value and (profile or name == "exif")})
    options = {name: value for name, value in (("exif", exif), ("icc_profile", profile)) if value}
    return encoded(image, "AVIF", quality=100, subsampling="4:4:4", speed=8, **options)


@both
@pytest.mark.parametrize("way", range(1, 9))
def test_boxes_turn_a_picture_once(kind: str, way: int) -> None:
    exif = exif_of(way, make="Apple", model="iPhone 15", taken="2024:02:29 23:59:58", offset="+01:00")
    data = picture(kind, turned(scene(), way), exif)
    photo = decode_photo(data)
    assert photo.format == {"HEIC": "HEIF", "AVIF": "AVIF"}[kind]
    assert photo.orientation == photo_orientation(data) == way
    assert close(photo.rgb, scene(), 3)
    assert photo.rgb.flags.c_contiguous and photo.rgb.flags.writeable and photo.rgb.dtype == np.uint8
    assert photo_details(data) == (photo.taken_at, photo.camera) == ("2024-02-29T23:59:58+01:00", "Apple iPhone 15")
    assert photo_key(data) == sha256(data)


@both
def test_an_orientation_in_the_exif_alone_is_a_note(kind: str) -> None:
    """As the standards say, and as libheif, libavif and browsers do."""
    exif = exif_of(make="Apple")
    exif[0x0113] = 6  # renamed afterwards: an orientation would be written into the boxes
    data = picture(kind, scene(), exif)
    assert data.count(b"\x01\x13\x00") == 1
    data = data.replace(b"\x01\x13\x00", b"\x01\x12\x00")
    photo = decode_photo(data)
    assert orientation(read_header(data).exif) == 6
    assert photo.orientation == photo_orientation(data) == 1 and close(photo.rgb, scene(), 3)


@needs_avif
def test_the_first_frame_of_an_avif() -> None:
    data = encoded(scene(), "AVIF", save_all=True, append_images=[scene().rotate(90)], quality=100, subsampling="4:4:4")
    assert data[8:12] == b"avis" and close(decode_photo(data).rgb, scene(), 3)


@needs_heif
def test_a_size_that_only_the_boxes_claim() -> None:
    data = heic(scene())
    at = data.index(b"ispe") + 8
    for claimed in ((24, 16), (480, 320), (12_000, 12_000), (0, 0)):
        with pytest.raises(PhotoError):
            decode_photo(data[:at] + struct.pack(">II", *claimed) + data[at + 8 :])


@needs_heif
@needs_raw
@needs_avif
def test_threads_agree_on_all_of_them() -> None:
    exif = exif_of(5)
    photos = [picture(kind, turned(scene(), 5), exif) for kind in ("HEIC", "AVIF")]
    photos = [*photos, dng(6), dng(3, jpeg((60, 40)), (60, 40))] * 10
    expected = [decode_photo(data).rgb.tobytes() for data in photos[:4]] * 10
    with ThreadPoolExecutor(4) as pool:
        assert [photo.rgb.tobytes() for photo in pool.map(decode_photo, photos)] == expected


@needs_avif
def test_boxes_count_whatever_the_exif_says() -> None:
    data = picture("AVIF", turned(scene(), 6), exif_of(6))
    assert orientation(read_header(data).exif) == 1  # Pillow writes it so
    assert decode_photo(data).orientation == 6 and close(decode_photo(data).rgb, scene(), 3)


@both
def test_a_profile_of_a_picture_in_boxes(kind: str) -> None:
    data = picture(kind, scene(), profile=other_profile())
    assert close(decode_photo(data).rgb, in_srgb(scene(), other_profile()), 6)
    assert not close(decode_photo(data).rgb, scene(), 40)
    same = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert close(decode_photo(picture(kind, scene(), profile=same)).rgb, scene(), 3)


@both
def test_grey_and_transparent_pictures_in_boxes(kind: str) -> None:
    grey = scene(mode="L")
    assert close(decode_photo(picture(kind, grey)).rgb, grey.convert("RGB"), 3)
    clear = scene()
    clear.putalpha(100)
    expected = np.asarray(scene()) * (100 / 255) + 155
    assert close(decode_photo(picture(kind, clear)).rgb, expected, 3)


@needs_heif
def test_ten_bits_come_out_as_eight() -> None:
    deep = np.asarray(scene()).astype("<u2") * 257
    file = io.BytesIO()
    written = pillow_heif.from_bytes("RGB;16", (48, 32), deep.tobytes())
    written.save(file, quality=-1, chroma=444, matrix_coefficients=0)
    read = pillow_heif.open_heif(io.BytesIO(file.getvalue()), convert_hdr_to_8bit=False)
    assert read.info["bit_depth"] == 10
    assert close(decode_photo(file.getvalue()).rgb, scene(), 2)


@both
def test_the_limit_on_pixels_in_boxes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture(kind, scene())
    assert decode_photo(data, 48 * 32).width == 48

    def load(*_: object) -> None:
        raise AssertionError("decoded")

    where = (
        pillow_heif.as_plugin._LibHeifImageFile if kind == "HEIC" else sys.modules["PIL.AvifImagePlugin"].AvifImageFile
    )
    monkeypatch.setattr(where, "load", load)
    with pytest.raises(PhotoError, match=r"^has 48 x 32 pixels, more than the limit of 1535$"):
        decode_photo(data, 48 * 32 - 1)


@both
def test_damaged_boxes(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = picture(kind, turned(scene(), 8), exif_of(8, make="Apple"), other_profile())
    survives_damage(data, 1000)
    assert capfd.readouterr() == ("", "")
    for size in range(40):  # of any bytes there is an orientation
        assert photo_orientation(data[:12] + RANDOM.bytes(size)) == 1
    for each in (b"meta", b"iinf", b"iloc", b"ipma", b"ipco", b"pitm", b"irot", b"Exif"):
        assert 1 <= photo_orientation(data.replace(each, b"free")) <= 8
        assert 1 <= photo_orientation(data[: data.index(each) + 8]) <= 8


def survives_damage(data: bytes, header: int, cuts: int = 20, flips: int = 40) -> None:
    """Truncated at so many points and with so many bytes flipped, a file gives a picture or a PhotoError, and soon."""
    damaged = [data[: len(data) * each // cuts] for each in range(1, cuts)]
    for at, bits in zip(RANDOM.integers(12, min(len(data), header), flips), RANDOM.bytes(flips), strict=True):
        damaged += [data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]]
    for each in damaged:
        began = time.monotonic()
        try:
            assert decode_photo(each, 1 << 20).rgb.ndim == 3
        except PhotoError as error:
            assert str(error)[0].islower() and "\n" not in str(error)
        photo_orientation(each), photo_details(each)
        assert time.monotonic() - began < 10


def test_brands() -> None:
    def ftyp(major: bytes, *others: bytes) -> bytes:
        return struct.pack(">I4s4s4x", 16 + 4 * len(others), b"ftyp", major) + b"".join(others)

    from photorank.photos.heif import kind

    for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        assert kind(ftyp(brand)) == kind(ftyp(brand, b"mif1", b"heic")) == "HEIC"
    assert kind(ftyp(b"avif")) == kind(ftyp(b"avis", b"msf1")) == kind(ftyp(b"mif1", b"miaf", b"avif")) == "AVIF"
    for brand in (b"isom", b"mp42", b"qt  ", b"crx "):
        assert kind(ftyp(brand)) is None
    with pytest.raises(PhotoError, match="is not an image"):
        decode_photo(ftyp(b"isom", b"mp42") + bytes(100))


# --- without the extras ---


def test_a_heic_photo_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r"^is a HEIC photo: pip install 'photorank\[heif\]'$"):
        decode_photo(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50))


def test_a_raw_photo_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for data in (dng(), b"FUJIFILMCCD-RAW 0201" + bytes(200)):
        with pytest.raises(PhotoError, match=r"^is a camera RAW photo: pip install 'photorank\[raw\]'$"):
            decode_photo(data)


def test_a_pillow_without_avif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    with pytest.raises(PhotoError, match=r"^is an AVIF photo, which this Pillow cannot read: pip install"):
        decode_photo(b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + bytes(50))


def test_extras_are_imported_only_where_they_are_needed() -> None:
    code = (
        "import io, sys; from PIL import Image; from photorank.photos import decode_photo; file = io.BytesIO();"
        "Image.new('RGB', (9, 9)).save(file, 'TIFF'); decode_photo(file.getvalue());"
        "print({'rawpy', 'pillow_heif'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "set()"


def test_their_files_are_found(tmp_path: Path) -> None:
    names = [
        "a.HEIC",
        "b.heif",
        "c.hif",
        "d.avif",
        "e.DNG",
        "f.cr2",
        "g.CR3",
        "h.NEF",
        "i.arw",
        "j.raf",
        "k.orf",
        "l.rw2",
    ]
    for name in names:
        (tmp_path / name).touch()
    assert [Path(each.path).name for each in find_photos([tmp_path])[0]] == names
    assert {".pef", ".srw", ".nrw", ".3fr", ".iiq", ".rwl"} <= PHOTO_SUFFIXES


# --- camera RAW ---

Tags = Mapping[int, tuple[int, Sequence[float] | bytes]]
# Of a camera whose colours are linear sRGB's, so that what is planted comes out: CIE XYZ → linear sRGB.
FROM_XYZ = (3.2404542, -1.5371385, -0.4985314, -0.969266, 1.8760108, 0.041556, 0.0556434, -0.2040259, 1.0572252)
COLOURS = ((200, 40, 60), (50, 190, 80), (60, 70, 210), (180, 170, 160))
SIZE = (96, 64)


def directory_bytes(tags: Tags, at: int) -> bytes:
    """A little-endian TIFF directory that begins at an offset, with what does not fit into it behind it."""
    head, tail = struct.pack("<H", len(tags)), b""
    for tag in sorted(tags):
        kind, values = tags[tag]
        if isinstance(values, bytes):
            raw = values
        elif kind in (5, 10):
            raw = b"".join(struct.pack("<iI", round(value * 1_000_000), 1_000_000) for value in values)
        else:
            raw = struct.pack(f"<{len(values)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", *values)
        head += struct.pack("<HHI", tag, kind, len(values))
        if len(raw) > 4:
            raw, tail = struct.pack("<I", at + 6 + 12 * len(tags) + len(tail)), tail + raw + bytes(len(raw) % 2)
        head += raw.ljust(4, b"\0")
    return head + bytes(4) + tail


def tiff_of(main: Tags, below: Sequence[Tags] = (), blocks: Sequence[bytes] = ()) -> bytes:
    """A TIFF whose directories come first, then the blocks; tag 273 is the number of a directory's block."""
    starts, places = [0] * len(blocks), [0] * len(below)
    for _ in range(2):  # the first time to know how long everything is
        data, at = b"II*\0\x08\0\0\0", []
        for number, tags in enumerate((main, *below)):
            placed = {330: (4, places)} if below and number == 0 else {}
            if 273 in tags:
                placed[273] = 4, [starts[tags[273][1][0]]]
            at.append(len(data))
            data += directory_bytes({**tags, **placed}, len(data))
        places, starts = at[1:], [len(data) + sum(map(len, blocks[:number])) for number in range(len(blocks))]
    return data + b"".join(blocks)


def planted() -> np.ndarray:
    """Four quarters, each of one colour: (64, 96, 3)."""
    rows = [np.repeat(np.array(COLOURS[row : row + 2]), SIZE[0] // 2, axis=0) for row in (0, 2)]
    return np.repeat(np.stack(rows), SIZE[1] // 2, axis=0)


def mosaic(rgb: np.ndarray) -> np.ndarray:
    """What a sensor with the filters RG/GB sees of sRGB colours, 16 bits."""
    share = rgb / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) * 65535
    seen = linear[..., 1].copy()
    seen[::2, ::2], seen[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    return np.rint(seen).astype("<u2")


ABOUT: Tags = {
    271: (2, b"photorank\0"), 272: (2, b"test camera\0"), 274: (3, [1]), 50706: (1, [1, 4, 0, 0]),
    50708: (2, b"photorank test\0"), 50721: (10, FROM_XYZ), 50728: (5, [1, 1, 1]), 50778: (3, [21]),
}  # fmt: skip


def sensor_tags(width: int, height: int) -> Tags:
    return {
        254: (4, [0]), 256: (4, [width]), 257: (4, [height]), 258: (3, [16]), 259: (3, [1]), 262: (3, [32803]),
        277: (3, [1]), 278: (4, [height]), 279: (4, [2 * width * height]), 284: (3, [1]),
        33421: (3, [2, 2]), 33422: (1, [0, 1, 1, 2]), 50714: (3, [0]), 50717: (3, [65535]),
    }  # fmt: skip


def preview_tags(size: tuple[int, int], length: int) -> Tags:
    return {
        254: (4, [1]), 256: (4, [size[0]]), 257: (4, [size[1]]), 258: (3, [8, 8, 8]), 259: (3, [7]), 262: (3, [6]),
        277: (3, [3]), 278: (4, [size[1]]), 279: (4, [length]),
    }  # fmt: skip


def dng(
    way: int = 1,
    preview: bytes | None = None,
    size: tuple[int, int] = (0, 0),
    nested: bool = False,
    sensor: np.ndarray | None = None,
    neutral: Sequence[float] = (1, 1, 1),
) -> bytes:
    """A small DNG; `nested` as Adobe writes it, with a thumbnail in the main directory and the sensor's data below."""
    sensor = mosaic(planted()) if sensor is None else sensor
    height, width = sensor.shape
    about = {**ABOUT, 274: (3, [way]), 50728: (5, neutral)}
    thumbnail = {
        254: (4, [1]), 256: (4, [12]), 257: (4, [8]), 258: (3, [8, 8, 8]), 259: (3, [1]), 262: (3, [2]),
        273: (4, [0]), 277: (3, [3]), 278: (4, [8]), 279: (4, [12 * 8 * 3]), 284: (3, [1]),
    }  # fmt: skip
    # The sensor's data come last: cut short, the file still has all its tags.
    whole = {**sensor_tags(width, height), 273: (4, [2])}
    main, below = ({**thumbnail, **about}, [whole]) if nested else ({**whole, **about}, [])
    if preview is not None:
        below.append({**preview_tags(size, len(preview)), 273: (4, [1])})
    return tiff_of(main, below, [bytes(12 * 8 * 3), preview or b"", sensor.tobytes()])


def jpeg(size: tuple[int, int], **options: object) -> bytes:
    return encoded(scene(*size), "JPEG", quality=90, **options)


def upright(rgb: np.ndarray, way: int) -> np.ndarray:
    image = Image.fromarray(rgb.astype(np.uint8))
    ways = [None, 0, 3, 1, 5, 4, 6, 2][way - 1]  # Image.Transpose's numbers, as the EXIF standard has them
    return np.asarray(image if ways is None else image.transpose(Image.Transpose(ways)))


@needs_raw
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("way", range(1, 9))
def test_a_raw_without_a_preview_is_demosaiced(way: int, nested: bool) -> None:
    data = dng(way, nested=nested)
    photo = decode_photo(data)
    assert (photo.format, photo.orientation) == ("RAW demosaiced", way) and photo_orientation(data) == way
    assert photo.rgb.flags.c_contiguous and photo.rgb.flags.writeable and photo.rgb.dtype == np.uint8
    expected = upright(planted(), way)
    assert photo.rgb.shape == expected.shape == ((64, 96, 3) if way < 5 else (96, 64, 3))
    # Demosaicing blurs where two colours meet; elsewhere every colour is the planted one.
    meet = np.zeros((64, 96, 3), bool)
    meet[28:36], meet[:, 44:52] = True, True
    inside = ~upright(meet, way).astype(bool)
    assert np.abs(photo.rgb.astype(int) - expected)[inside].max() <= 2
    assert photo_key(data) == sha256(data) and photo.camera == "photorank test camera"


@needs_raw
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("way", range(1, 9))
def test_a_large_preview_is_taken_bit_for_bit(way: int, nested: bool) -> None:
    size = (48, 32)  # exactly half
    preview = jpeg(size, icc_profile=other_profile())
    photo = decode_photo(dng(way, preview, size, nested))
    assert (photo.format, photo.orientation) == ("RAW preview", way)
    assert close(photo.rgb, upright(decode_photo(preview).rgb, way))
    assert photo.camera == "photorank test camera"


@needs_raw
@pytest.mark.parametrize("size", [(47, 32), (48, 31), (32, 20)])
def test_a_small_preview_is_passed_over(size: tuple[int, int]) -> None:
    assert decode_photo(dng(3, jpeg(size), size)).format == "RAW demosaiced"
    assert close(decode_photo(dng(3, jpeg(size), size)).rgb, decode_photo(dng(3)).rgb)


@needs_raw
@pytest.mark.parametrize(
    ("way", "own", "size", "applied"),
    [
        (6, 6, (96, 64), 6),  # as Fujifilm does
        (8, None, (96, 64), 8),
        (6, 1, (64, 96), 1),  # turned already
        (6, None, (64, 96), 1),
        (6, 1, (96, 64), 6),  # says that it is turned, and lies on its side
        (3, 1, (96, 64), 1),
        (1, 1, (96, 64), 1),
        (6, 1, (64, 64), 1),
        (6, None, (64, 64), 6),
    ],
)
def test_a_preview_is_turned_once(way: int, own: int | None, size: tuple[int, int], applied: int) -> None:
    preview = jpeg(size, **({} if own is None else {"exif": exif_of(own, make="x")}))
    photo = decode_photo(dng(way, preview, size))
    assert (photo.format, photo.orientation) == ("RAW preview", applied)
    plain = np.asarray(Image.open(io.BytesIO(preview)))
    assert close(photo.rgb, upright(plain, applied))


@needs_raw
@pytest.mark.parametrize("order", [1, -1])
def test_the_largest_preview_is_taken(order: int) -> None:
    sizes = [(24, 16), (90, 60)][::order]
    previews = [jpeg(size) for size in sizes]
    (first, second), blocks = (
        [preview_tags(size, len(each)) for size, each in zip(sizes, previews, strict=True)],
        previews,
    )
    main = {**ABOUT, **sensor_tags(*SIZE), 273: (4, [2])}
    data = tiff_of(main, [{**first, 273: (4, [0])}, {**second, 273: (4, [1])}], [*blocks, mosaic(planted()).tobytes()])
    assert close(decode_photo(data).rgb, decode_photo(jpeg((90, 60))).rgb)


@needs_raw
def test_a_preview_that_is_no_jpeg_is_passed_over() -> None:
    for preview in (b"\xff\xd8\xff" + bytes(500), bytes(500), jpeg((96, 64))[:100]):
        assert decode_photo(dng(1, preview, (96, 64))).format == "RAW demosaiced"


@needs_raw
def test_the_same_light_is_the_same_pixel_whatever_else_is_in_the_frame() -> None:
    """LibRaw would brighten a dark frame, and take the brightest pixel of a frame for its white."""
    dark = np.full((64, 96, 3), 40)
    bright = dark.copy()
    bright[:, 60:] = 255
    middle = dark.copy()
    middle[:, 60:] = 230
    shown = [decode_photo(dng(sensor=mosaic(each))).rgb[:, :50] for each in (dark, bright, middle)]
    assert all(close(each, dark[:, :50], 1) for each in shown)


@needs_raw
def test_the_cameras_white_balance_counts() -> None:
    grey = np.full((64, 96, 3), 120.0)
    warm = mosaic(grey).astype(float)
    warm[1::2, 1::2] *= 0.5  # half the blue, and the camera knew
    shown = decode_photo(dng(sensor=np.rint(warm).astype("<u2"), neutral=(1, 1, 0.5))).rgb[20:40, 20:60]
    assert int(np.ptp(shown.astype(int), axis=2).max()) <= 2


@needs_raw
def test_a_sensor_without_colours() -> None:
    grey = np.tile(np.linspace(0, 65535, 96).astype("<u2"), (64, 1))
    data = dng(sensor=grey).replace(struct.pack("<HHIH", 262, 3, 1, 32803), struct.pack("<HHIH", 262, 3, 1, 34892))
    photo = decode_photo(data)
    assert photo.rgb.shape == (64, 96, 3) and (photo.rgb[..., 0] == photo.rgb[..., 2]).all()
    assert photo.rgb[5, 90, 0] > 200 > 100 > photo.rgb[5, 5, 0]


@needs_raw
def test_the_limit_on_pixels_of_a_raw() -> None:
    size = (60, 40)
    with pytest.raises(PhotoError, match=r"^has 96 x 64 pixels, more than the limit of 6143$"):
        decode_photo(dng(), 96 * 64 - 1)
    assert decode_photo(dng(), 96 * 64).format == "RAW demosaiced"
    assert decode_photo(dng(1, jpeg(size), size), 60 * 40).format == "RAW preview"
    with pytest.raises(PhotoError, match=r"^has 60 x 40 pixels, more than the limit of 2399$"):
        decode_photo(dng(1, jpeg(size), size), 60 * 40 - 1)
    # A size that only the header claims.
    huge = dng().replace(struct.pack("<HHII", 256, 4, 1, 96), struct.pack("<HHII", 256, 4, 1, 60_000))
    huge = huge.replace(struct.pack("<HHII", 257, 4, 1, 64), struct.pack("<HHII", 257, 4, 1, 60_000))
    with pytest.raises(PhotoError, match=r"has 60000 x 60000 pixels|truncated or damaged|cannot read"):
        decode_photo(huge)


@needs_raw
def test_damaged_raws(capfd: pytest.CaptureFixture[str]) -> None:
    size = (60, 40)
    for data in (dng(6), dng(6, jpeg(size), size, nested=True)):
        survives_damage(data, 700)
    cut = dng()
    for end in (len(cut) - 1, len(cut) - 2000, len(cut) - 12_288):
        with pytest.raises(PhotoError, match=r"^is truncated"):
            decode_photo(cut[:end])
    for data in (
        b"FUJIFILMCCD-RAW 0201FF",
        b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
        b"IIRO\x08\0\0\0",
        b"IIU\0\x08\0\0\0",
    ):
        for rest in (b"", bytes(300), RANDOM.bytes(300)):
            with pytest.raises(PhotoError):
                decode_photo(data + rest)
            photo_details(data + rest)
    # LibRaw's own C code writes to stderr, which nothing in Python can hold back for one thread alone.
    assert capfd.readouterr().out == ""


def sub(photometric: int) -> Tags:
    return {254: (4, [0]), 262: (3, [photometric])}


def test_a_raw_is_told_from_a_tiff() -> None:
    for image in (scene(), scene(mode="L"), scene(mode="CMYK")):
        assert not is_raw(encoded(image, "TIFF")) and not is_raw(encoded(image, "TIFF", big_tiff=True))
    assert not is_raw(tiff_of(sub(2), [sub(2), sub(6)])) and not is_raw(b"II*\0") and not is_raw(b"")
    assert is_raw(tiff_of(sub(32803))) and is_raw(tiff_of(sub(2), [sub(6), sub(32803)]))
    assert is_raw(tiff_of(sub(2), [sub(34892)])) and is_raw(tiff_of({**sub(2), 50706: (1, [1, 4, 0, 0])}))
    for magic in (
        b"II*\0\x10\0\0\0CR\x02\0", b"\0\0\0\x18ftypcrx ", b"FUJIFILMCCD-RAW ", b"IIRO", b"IIRS", b"MMOR", b"IIU\0",
        b"II*\0\x08\0\0\0IIII", b"\0MRM", b"II\x1a\0\0\0HEAPCCDR",
    ):  # fmt: skip
        assert is_raw(magic + bytes(20))
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP"):
        assert not is_raw(encoded(scene(), kind))


def test_a_tiff_with_endless_directories_takes_no_time() -> None:
    looped = bytearray(tiff_of(sub(2), [sub(2)] * 200))
    began = time.monotonic()
    assert not is_raw(bytes(looped)) and time.monotonic() - began < 1


@cache
def exif_tiff() -> bytes:
    return exif_of(6, make="OLYMPUS", taken="2024:02:29 23:59:58").tobytes().removeprefix(b"Exif\0\0")


def test_when_and_with_what_of_raws() -> None:
    exif = exif_tiff()
    like = {b"II": (b"IIRO", b"IIRS", b"IIU\0"), b"MM": (b"MMOR",)}[exif[:2]]
    for magic in like:
        assert photo_details(magic + exif[4:]) == ("2024-02-29T23:59:58", "OLYMPUS")
        assert photo_orientation(magic + exif[4:]) == 6
    inside = encoded(scene(), "JPEG", exif=exif_of(8, make="FUJIFILM", model="X-T5"))
    raf = b"FUJIFILMCCD-RAW ".ljust(84, b"\0") + struct.pack(">II", 160, len(inside)) + bytes(68) + inside
    assert photo_details(raf) == (None, "FUJIFILM X-T5") and photo_orientation(raf) == 8
    assert photo_key(raf) == sha256(raf)
