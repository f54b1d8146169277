"""HEIC and AVIF: what their boxes say beside the pixels, and who decodes them.

Both are ISO base media files: boxes in boxes. How a picture is to be turned is a property of it (irot, imir), and the
standards (ISO/IEC 23008-12, MIAF) let nothing else count: the orientation in the EXIF is a note for programs that know
only EXIF. libheif, libavif and browsers go by that, and so does this module, also where there is no irot or imir.

Standard library only but where something is decoded, and no bytes raise anything but from `plugin`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from photorank.errors import PhotoError

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_AVIF = frozenset({b"avif", b"avis"})
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_EITHER = (b"mif1", b"mif2", b"miaf", b"msf1")  # say only that it is one of the family
_MOST = 4096  # boxes and entries that are looked at: photos have tens, and damage can claim millions

# EXIF orientation → the one that a picture has that is turned or mirrored once more.
_TURNED_LEFT = (0, 8, 5, 6, 7, 4, 1, 2, 3)
_MIRRORED = ((0, 4, 3, 2, 1, 8, 7, 6, 5), (0, 2, 1, 4, 3, 6, 5, 8, 7))  # top to bottom, left to right: imir's 0 and 1

Box = tuple[bytes, int, int]
"""Name, and where its content starts and ends."""


def kind(data: bytes) -> str | None:
    """HEIC, AVIF, or None where it is neither."""
    if data[4:8] != b"ftyp":
        return None
    end = min(_number(data, 0, 4), len(data), 4 * _MOST)
    major, *others = (data[at : at + 4] for at in (8, *range(16, end - 3, 4)))
    for brand in (major, *others) if major in _EITHER else (major,):
        if brand in _AVIF:
            return "AVIF"
        if brand in _HEIC:
            return "HEIC"
    return "HEIC" if major in _EITHER else None


def exif_and_orientation(data: bytes) -> tuple[bytes, int]:
    """EXIF as a TIFF structure, unchecked and empty where there is none, and what irot and imir come to, 1..8."""
    meta = _find(data, b"meta", 0, len(data))
    if meta is None:
        return b"", 1
    parts = {name: (start, end) for name, start, end in reversed([*_boxes(data, meta[0] + 4, meta[1])])}
    pitm = parts.get(b"pitm", (0, 0))[0]
    primary = _number(data, pitm + 4, 4 if _number(data, pitm, 1) else 2)
    return _exif(data, parts), _orientation(data, parts, primary)


def is_cut_short(data: bytes) -> bool:
    """Whether a box, of any ISO base media file, goes on beyond the end."""
    at = 0
    for _ in range(_MOST):
        if at + 8 > len(data):
            break
        size = _number(data, at, 4)
        size = _number(data, at + 8, 8) if size == 1 else size or len(data) - at
        at += max(size, 8)
    return at > len(data)


def plugin(data: bytes) -> type[ImageFile] | None:
    """Pillow's class for a HEIC or AVIF photo, None for anything else. HEIC comes out turned already, AVIF does not.

    Raises PhotoError, as the rest of a sentence that begins with the path, where the class is not installed.
    """
    found = kind(data)
    if found == "HEIC":
        try:
            from pillow_heif import HeifImageFile
        except ImportError as error:
            raise PhotoError("is a HEIC photo: pip install 'photorank[heif]'") from error
        heic: type[ImageFile] = HeifImageFile
        return heic
    if found == "AVIF":
        from PIL import AvifImagePlugin

        if not AvifImagePlugin.SUPPORTED:
            raise PhotoError("is an AVIF photo, which this Pillow cannot read: pip install --force-reinstall pillow")
        return AvifImagePlugin.AvifImageFile
    return None


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    for _ in range(_MOST):
        if at + 8 > end:
            return
        size, start = _number(data, at, 4), at + 8
        if size == 1:
            size, start = _number(data, at + 8, 8), at + 16
        stop = end if size == 0 else min(at + size, end)
        if stop < start:
            return
        yield data[at + 4 : at + 8], start, stop
        at = stop


def _find(data: bytes, name: bytes, at: int, end: int) -> tuple[int, int] | None:
    return next(((start, stop) for found, start, stop in _boxes(data, at, end) if found == name), None)


def _orientation(data: bytes, parts: dict[bytes, tuple[int, int]], primary: int) -> int:
    """What the primary picture's irot (so many quarter turns to the left) and imir come to, in their order."""
    properties = parts.get(b"iprp", (0, 0))
    inside = [*_boxes(data, *(_find(data, b"ipco", *properties) or (0, 0)))]
    turned = 1
    tables = [(start, end) for name, start, end in _boxes(data, *properties) if name == b"ipma"]
    for index in (index for table in tables for index in _associated(data, *table, primary)):
        name, start, _ = inside[index - 1] if 0 < index <= len(inside) else (b"", 0, 0)
        value = _number(data, start, 1)
        if name == b"irot":
            for _ in range(value & 3):
                turned = _TURNED_LEFT[turned]
        elif name == b"imir":
            turned = _MIRRORED[value & 1][turned]
    return turned


def _associated(data: bytes, at: int, end: int, item: int) -> list[int]:
    """Numbers, from 1, of an item's properties."""
    wide, number = (2 if _number(data, at + 3, 1) & 1 else 1), (4 if _number(data, at, 1) else 2)
    entries, at = _number(data, at + 4, 4), at + 8
    for _ in range(min(entries, _MOST)):
        count, start = _number(data, at + number, 1), at + number + 1
        if start + count * wide > end:
            break
        if _number(data, at, number) == item:
            # The uppermost bit says whether a reader must understand the property.
            return [_number(data, start + wide * each, wide) & (0x7FFF >> 8 * (2 - wide)) for each in range(count)]
        at = start + count * wide
    return []


def _exif(data: bytes, parts: dict[bytes, tuple[int, int]]) -> bytes:
    """The first EXIF item; it begins with the number of bytes before its TIFF header."""
    start, end = parts.get(b"iinf", (0, 0))
    for name, at, _ in _boxes(data, start + (8 if _number(data, start, 1) else 6), end):
        number = 4 if _number(data, at, 1) > 2 else 2
        if name == b"infe" and data[at + 6 + number : at + 10 + number] == b"Exif":
            content = _content(data, parts, _number(data, at + 4, number))
            return content[4 + _number(content, 0, 4) :]
    return b""


def _content(data: bytes, parts: dict[bytes, tuple[int, int]], item: int) -> bytes:
    """An item's bytes by the table of locations (iloc), where they are in one piece, in the file or in idat."""
    at, end = parts.get(b"iloc", (0, 0))
    version, number = _number(data, at, 1), (4 if _number(data, at, 1) > 1 else 2)
    of_offset, of_length, of_base, of_index = (
        _number(data, at + 4 + i // 2, 1) >> 4 * (1 - i % 2) & 15 for i in range(4)
    )
    entries, at = _number(data, at + 6, number), at + 6 + number
    for _ in range(min(entries, _MOST)):
        found, at = _number(data, at, number), at + number
        method, at = (_number(data, at, 2) & 15, at + 2) if version else (0, at)
        base, extents = _number(data, at + 2, of_base), _number(data, at + 2 + of_base, 2)
        at += 4 + of_base
        each = (of_index if version else 0) + of_offset + of_length
        if at + each > end:
            break
        if found == item and extents == 1 and method < 2:
            at += each - of_offset - of_length
            start = base + _number(data, at, of_offset) + (parts.get(b"idat", (0, 0))[0] if method else 0)
            return data[start : start + _number(data, at + of_offset, of_length)]
        at += each * extents
    return b""
