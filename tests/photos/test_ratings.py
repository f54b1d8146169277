"""Stars: where they are looked for, in which order, and XMP that is refused."""

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from photorank.errors import PhotoError
from photorank.photos.ratings import stars_inside, stars_of, stars_of_xmp
from tests.conftest import make_picture
from tests.sidecars import DARKTABLE


def xmp(rating: object, element: bool = False) -> bytes:
    attribute = "" if element else f' xmp:Rating="{rating}"'
    inner = f"<xmp:Rating>{rating}</xmp:Rating>" if element else "<xmp:Label>Red</xmp:Label>"
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:xmp="http://ns.adobe.com/xap/1.0/"{attribute}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>'
        '<?xpacket end="w"?>'
    ).encode()


NONE = xmp(0).replace(b' xmp:Rating="0"', b"")


def save(path: Path, packet: bytes | None = None, exif: int | None = None) -> Path:
    options: dict[str, object] = {}
    if exif is not None:
        tags = Image.Exif()
        tags[0x4746] = exif
        options["exif"] = tags
    if packet is not None and path.suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", packet.decode())  # type: ignore[attr-defined]
    elif packet is not None and path.suffix == ".tif":
        options["tiffinfo"] = {700: packet}
    elif packet is not None:
        options["xmp"] = packet
    make_picture(0).save(path, **options)
    return path


@pytest.mark.parametrize("element", [False, True])
@pytest.mark.parametrize("rating", [-1, 0, 1, 5, 3.5])
def test_a_rating_is_an_attribute_or_an_element(rating: float, element: bool) -> None:
    assert stars_of_xmp(xmp(rating, element)) == rating


def test_other_prefixes_encodings_and_documents_without_a_rating() -> None:
    assert stars_of_xmp(xmp(4).replace(b"xmp:", b"xap:").replace(b"xmlns:xmp", b"xmlns:xap")) == 4
    assert stars_of_xmp(xmp(4).decode().replace("\ufeff", "").encode("utf-16")) == 4
    assert stars_of_xmp(NONE) is None
    assert stars_of_xmp(xmp("\n ", element=True)) is None
    # A rating in another's namespace is none of xmp:Rating's.
    assert stars_of_xmp(xmp(4).replace(b"http://ns.adobe.com/xap/1.0/", b"http://ns.microsoft.com/photo/1.0/")) is None


def test_a_rating_further_inside_is_none_of_this_photo() -> None:
    """Of an earlier version, in the history that darktable keeps."""
    assert b'xmp:Rating="4"' in DARKTABLE.encode()
    assert stars_of_xmp(DARKTABLE.encode()) == -1
    assert stars_of_xmp(DARKTABLE.replace('xmp:Rating="-1"', "").encode()) is None


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_xmp_inside_needs_no_element_around_it(suffix: str, tmp_path: Path) -> None:
    """The specification's x:xmpmeta is optional."""
    bare = xmp(4).replace(b'<x:xmpmeta xmlns:x="adobe:ns:meta/">', b"").replace(b"</x:xmpmeta>", b"")
    assert b"xmpmeta" not in bare
    assert stars_of(str(save(tmp_path / f"a.{suffix}", bare))) == 4


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed (libimage-exiftool-perl)")
def test_ratings_that_exiftool_writes_are_read(tmp_path: Path) -> None:
    given = {"-XMP-xmp:Rating=-1": -1, "-XMP-xmp:Rating=3": 3, "-EXIF:Rating=4": 4, "-XMP-xmp:Label=Red": None}
    wanted: dict[str, float | None] = {}
    for number, (tag, stars) in enumerate(given.items()):
        files = [str(save(tmp_path / f"{number}.{suffix}")) for suffix in ("jpg", "tif", "png", "webp")]
        subprocess.run(["exiftool", "-q", "-m", "-overwrite_original", tag, *files], check=True)
        wanted |= dict.fromkeys(files, stars)
        for style in ("{}.xmp", "{}.jpg.xmp"):
            photo = save(tmp_path / f"{number}-{len(style)}.jpg", xmp(2))
            sidecar = tmp_path / style.format(photo.stem)
            if tag.startswith("-XMP"):
                subprocess.run(["exiftool", "-q", tag, sidecar], check=True)
                wanted[str(photo)] = 2 if stars is None else stars
    assert {path: stars_of(path) for path in wanted} == wanted


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_xmp_inside_is_found_in_each_format(suffix: str, tmp_path: Path) -> None:
    assert stars_of(str(save(tmp_path / f"a.{suffix}", xmp(4)))) == 4
    assert stars_of(str(save(tmp_path / f"b.{suffix}"))) is None


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_exif_counts_where_xmp_says_nothing(suffix: str, tmp_path: Path) -> None:
    assert stars_of(str(save(tmp_path / f"a.{suffix}", exif=2))) == 2
    assert stars_of(str(save(tmp_path / f"b.{suffix}", NONE, exif=2))) == 2
    assert stars_of(str(save(tmp_path / f"c.{suffix}", xmp(0), exif=2))) == 0
    assert stars_of(str(save(tmp_path / f"d.{suffix}", exif=99))) is None


def test_a_sidecar_counts_before_what_is_inside_and_the_longer_name_first(tmp_path: Path) -> None:
    photo = save(tmp_path / "IMG.jpg", xmp(1))
    (tmp_path / "IMG.xmp").write_bytes(xmp(2))
    assert stars_of(str(photo)) == 2
    (tmp_path / "IMG.jpg.xmp").write_bytes(xmp(3))
    assert stars_of(str(photo)) == 3
    (tmp_path / "IMG.jpg.xmp").write_bytes(NONE)
    assert stars_of(str(photo)) == 2
    (tmp_path / "IMG.xmp").write_bytes(xmp(0))
    assert stars_of(str(photo)) == 0
    other = save(tmp_path / "IMG_2.jpg", xmp(1))
    (tmp_path / "IMG_2.XMP").write_bytes(xmp(5))
    assert stars_of(str(other)) == 5


def test_a_name_that_no_sidecar_could_have_does_no_harm(tmp_path: Path) -> None:
    assert stars_of(str(save(tmp_path / f"{'n' * 250}.jpg", exif=3))) == 3


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
OUTSIDE = b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (BOMB, "declares a document type"),
        (OUTSIDE, "declares a document type"),
        (b"no xml at all", "is no XMP"),
        (xmp(3)[:-60], "is no XMP"),
        (b"\xff\xfe\x00", "is no XMP"),
        (xmp(7), "has the rating '7', which is not among"),
        (xmp("nan"), "has the rating 'nan'"),
        (xmp("good"), "has the rating 'good'"),
    ],
)
def test_xmp_that_cannot_be_right_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=said):
        stars_of_xmp(data)
    photo = save(tmp_path / "a.jpg", xmp(2))
    (tmp_path / "a.xmp").write_bytes(data)
    with pytest.raises(PhotoError, match=rf"has the sidecar a\.xmp, which {said}"):
        stars_of(str(photo))


@pytest.mark.parametrize("data", [b"", b"\0" * 5])
def test_a_sidecar_that_is_empty_or_binary_is_refused(data: bytes, tmp_path: Path) -> None:
    photo = save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg.xmp").write_bytes(data)
    with pytest.raises(PhotoError, match=r"has the sidecar a\.jpg\.xmp, which is"):
        stars_of(str(photo))


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_any_bytes_give_a_rating_none_or_a_photo_error(before: bytes, inside: bytes) -> None:
    for data in (before, before + b"<x:xmpmeta>" + inside + b"</x:xmpmeta>" + before, xmp(3) + before):
        try:
            assert stars_inside(data) in (None, 0, 1, 2, 3, 4, 5)
        except PhotoError:
            continue


def test_many_beginnings_without_an_end_take_no_time() -> None:
    buffer = io.BytesIO()
    make_picture(0).save(buffer, "JPEG")
    assert stars_inside(buffer.getvalue() + b"<x:xmpmeta>" * 500_000) is None
