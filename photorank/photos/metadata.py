"""What a photo's bytes say besides its pixels: the canonical form behind the key, and EXIF. Standard library only.

Nothing here raises on any bytes, and nothing here asks Pillow: its EXIF reader warns and raises in ways that change
with its version, while a key must stay the same for ever.

The canonical form of a JPEG leaves out what taggers write: the APP1, APP13 and COM segments of its header. The EXIF
orientation, which lives in an APP1 segment, comes back as one minimal segment right after SOI. The key is the form's
sha256, and `decode_photo` goes by the same bytes and no others, so two files that decode differently share no key:
- A header that is a well-formed chain of segments up to the first SOS gives a canonical form whose header is one too,
  and from which the orientation (is there an APP1?) and the rest can be told apart.
- Any other header is not touched: the file is its own canonical form. Decoders differ in how they find their way
  through junk, and leaving a segment out could show them another way. Such a form equals none of the former kind.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from photorank.photos import heif

Order = Literal["little", "big"]

_MARKER = re.compile(rb"\xff+([^\xff])")  # a marker may have any number of fill bytes before it
_SOS = 0xDA
_LEFT_OUT = frozenset({0xE1, 0xED, 0xFE})  # APP1: EXIF, XMP; APP13: IPTC; COM
# Segments that carry a length: SOF, DHT, DAC, DQT, DNL, DRI, APPn, COM. Any other marker before SOS makes a header
# ill-formed: decoders disagree about whether a length follows it.
_SEGMENTS = frozenset({*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE} - {0xC8})
_EXIF = b"Exif\0\0"
_LIKE_TIFF = (b"IIRO", b"IIRS", b"MMOR", b"IIU\0")

_MAKE, _MODEL, _ORIENTATION, _EXIF_DIRECTORY = 0x010F, 0x0110, 0x0112, 0x8769
_TAKEN_AT, _OFFSET, _SUBSECOND = 0x9003, 0x9011, 0x9291
_RATING = 0x4746
_SECONDS, _APERTURE, _ISO, _BIAS, _MODE, _SERIAL = 0x829A, 0x829D, 0x8827, 0x9204, 0xA402, 0xA431
_OF_EXPOSURE = frozenset({_SECONDS, _APERTURE, _ISO, _BIAS, _MODE, _SERIAL})
_WANTED = frozenset({_MAKE, _MODEL, _ORIENTATION, _EXIF_DIRECTORY, _TAKEN_AT, _OFFSET, _SUBSECOND})
# Of one value: BYTE, ASCII, SHORT, LONG, RATIONAL, SRATIONAL, IFD, LONG8, IFD8.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8, 13: 4, 16: 8, 18: 8}
_LONGEST = 1024  # bytes of a value that is worth reading
_DATE = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")


class Header(NamedTuple):
    """What a walk through a photo's bytes found."""

    kept: list[tuple[int, int]]
    """The canonical form without its orientation: ranges of the bytes, in order."""
    exif: bytes
    """A TIFF structure, unchecked; empty where there is none."""
    well_formed: bool
    """Whether this is a JPEG whose header is a well-formed chain."""
    turned: int | None = None
    """The orientation by the container, 1..8, which overrules the one in the EXIF; None where only EXIF can say it."""


class Exposure(NamedTuple):
    """How a photo was exposed, as EXIF has it; None where absent or nonsense."""

    bias: float | None = None
    """Exposure compensation, stops."""
    light: float | None = None
    """Stops of light that the settings let the picture have: log2 of seconds × ISO / aperture²."""
    seconds: float | None = None
    bracketed: bool | None = None
    """Whether the camera says that it made a bracket (EXIF's ExposureMode 2)."""
    serial: str | None = None
    """Of the camera's body."""


def read_header(data: bytes) -> Header:
    """Ranges and EXIF of a photo's bytes, whatever they are. Only slices and the length are asked for of anything
    but a JPEG, so that a file does that is not read whole: the EXIF of most kinds may be anywhere in it."""
    beginning = data[:16]
    if beginning.startswith(b"\xff\xd8\xff"):
        return _read_jpeg(data)
    if _order(data) is not None:  # a TIFF file is what EXIF took its structure from
        return Header([(0, len(data))], data, False)
    exif = b""
    if beginning.startswith(b"\x89PNG\r\n\x1a\n"):
        exif = next((data[start:end] for name, start, end in _png_chunks(data) if name == b"eXIf"), b"")
    elif beginning.startswith(b"RIFF") and beginning[8:12] == b"WEBP":
        exif = next((data[start:end] for name, start, end in _riff_chunks(data) if name == b"EXIF"), b"")
    elif heif.kind(data) is not None:
        exif, turned = heif.exif_and_orientation(data)
        return Header([(0, len(data))], exif.removeprefix(_EXIF), False, turned)
    elif beginning.startswith(_LIKE_TIFF):  # RAWs of Olympus and Panasonic, TIFFs but for their third and fourth byte
        exif = tiff_of(data)
    elif beginning.startswith(b"FUJIFILMCCD-RAW"):  # begins with a whole JPEG
        start, size = (_number(data[at : at + 4], "big") for at in (84, 88))
        exif = _read_jpeg(data[start : start + size]).exif
    return Header([(0, len(data))], exif.removeprefix(_EXIF), False)


def tiff_of(data: bytes) -> bytes:
    """The TIFF that a RAW is but for its third and fourth byte; anything else as it is."""
    if not data[:4].startswith(_LIKE_TIFF):
        return data
    return data[:2] + (b"*\0" if data[:2] == b"II" else b"\0*") + data[4:]


def orientation_segment(orientation: int) -> bytes:
    """A whole APP1 segment that holds the EXIF orientation and nothing else."""
    entry = b"\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0"
    return b"\xff\xe1\0\x22" + _EXIF + b"MM\0*\0\0\0\x08\0\x01" + entry + bytes(4)


def orientation(exif: bytes, absent: int = 1) -> int:
    """The orientation in 1..8; `absent` where there is none or one that is unreadable or out of range.

    XMP's tiff:Orientation is left alone on purpose, as browsers do: it is a note of what EXIF said once.
    """
    kind, value = directory(exif).get(_ORIENTATION, (0, b""))
    number = _number(value[: _SIZES[kind]], _order(exif)) if kind in (3, 4) else absent
    return number if 1 <= number <= 8 else absent


def rating(exif: bytes) -> int | None:
    """Stars by EXIF's Rating, 0 to 5; None where absent or nonsense."""
    kind, value = directory(exif, wanted=frozenset({_RATING})).get(_RATING, (0, b""))
    stars = _number(value[: _SIZES[kind]], _order(exif)) if kind in (3, 4) else None
    return stars if stars is not None and stars <= 5 else None


def details(exif: bytes) -> tuple[str | None, str | None]:
    """When (ISO 8601; no time zone where EXIF has none) and with which camera; each None where absent or nonsense."""
    main = directory(exif)
    more = _below(exif, main, _WANTED)
    make, model = _text(main, _MAKE), _text(main, _MODEL)
    # "NIKON CORPORATION" makes the "NIKON D90", "EASTMAN KODAK COMPANY" the "KODAK Z612".
    if model.lower().split(" ")[0] not in make.lower().split():
        model = f"{make} {model}".strip()
    return _taken_at(_text(more, _TAKEN_AT), _text(more, _SUBSECOND), _text(more, _OFFSET)), model or None


def exposure(exif: bytes) -> Exposure:
    """How the photo was exposed, and by which body."""
    found = _below(exif, directory(exif), _OF_EXPOSURE)
    seconds, aperture, iso = (_quotient(exif, found, tag) for tag in (_SECONDS, _APERTURE, _ISO))
    light = None
    if seconds and aperture and iso and min(seconds, aperture, iso) > 0:
        light = math.log2(seconds * iso / aperture**2)
    mode = _quotient(exif, found, _MODE)
    serial = _text(found, _SERIAL).strip(" 0") or None  # zeros only: the field is there and nobody filled it
    bias = _quotient(exif, found, _BIAS)
    return Exposure(
        bias if bias is not None and abs(bias) <= 20 else None, light, seconds, mode == 2 if mode is not None else None,
        serial,
    )  # fmt: skip


def _below(exif: bytes, main: dict[int, tuple[int, bytes]], wanted: frozenset[int]) -> dict[int, tuple[int, bytes]]:
    """Wanted tags of the directory that EXIF keeps below the main one."""
    kind, pointer = main.get(_EXIF_DIRECTORY, (0, b""))
    return directory(exif, _number(pointer, _order(exif)), wanted) if kind == 4 else {}


def _quotient(exif: bytes, directory: dict[int, tuple[int, bytes]], tag: int) -> float | None:
    """The first number of a SHORT, LONG, RATIONAL or SRATIONAL."""
    kind, value = directory.get(tag, (0, b""))
    if kind in (3, 4):
        return float(_number(value[: _SIZES[kind]], _order(exif)))
    if kind not in (5, 10):
        return None
    above, under = (int.from_bytes(value[at : at + 4], _order(exif) or "big", signed=kind == 10) for at in (0, 4))
    return above / under if under else None


def _read_jpeg(data: bytes) -> Header:
    kept, exif, since, at = [], [], 0, 2
    while (marker := _MARKER.match(data, at)) is not None and (code := marker[1][0]) != _SOS:
        body, length = marker.end(), int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        if code not in _SEGMENTS or length < 2 or body + length > len(data):
            break
        if code in _LEFT_OUT:
            kept.append((since, at))
            since = body + length
            if data.startswith(_EXIF, body + 2) and code == 0xE1:  # EXIF beyond 64 KB goes on in the next segment
                exif.append(data[body + 2 + len(_EXIF) : since])
        at = body + length
    well_formed = marker is not None and marker[1][0] == _SOS
    kept = [*kept, (since, len(data))] if well_formed else [(0, len(data))]
    return Header(kept, b"".join(exif).removeprefix(_EXIF), well_formed)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 8
    while at + 8 <= len(data):
        start, size = at + 8, int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : start], start, start + size
        at = start + size + 4


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    while at + 8 <= len(data):
        start, size = at + 8, int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], start, start + size
        at = start + size + size % 2


def _order(tiff: bytes) -> Order | None:
    if tiff[:4] in (b"II*\0", b"II+\0"):
        return "little"
    return "big" if tiff[:4] in (b"MM\0*", b"MM\0+") else None


def _number(value: bytes, order: Order | None) -> int:
    return int.from_bytes(value, order or "big")


def directory(
    tiff: bytes, at: int | None = None, wanted: frozenset[int] = _WANTED, longest: int = _LONGEST
) -> dict[int, tuple[int, bytes]]:
    """Wanted tags of the directory at an offset, or of the main one → type and value's bytes, where these are there."""
    order, found = _order(tiff), dict[int, tuple[int, bytes]]()
    if order is None:
        return found
    wide, counter = (8, 8) if b"+" in tiff[2:4] else (4, 2)  # BigTIFF's numbers are wider
    step = 4 + 2 * wide
    if at is None:
        at = _number(tiff[wide : 2 * wide], order)
    end = min(at + counter + step * _number(tiff[at : at + counter], order), len(tiff) - step + 1)
    for entry in range(at + counter, end, step):
        tag, kind = _number(tiff[entry : entry + 2], order), _number(tiff[entry + 2 : entry + 4], order)
        value = entry + 4 + wide
        size = _SIZES.get(kind, 0) * _number(tiff[entry + 4 : value], order)
        if tag in wanted and 0 < size <= longest:
            start = value if size <= wide else _number(tiff[value : value + wide], order)
            if start + size <= len(tiff):
                found[tag] = kind, tiff[start : start + size]
    return found


def _text(directory: dict[int, tuple[int, bytes]], tag: int) -> str:
    kind, value = directory.get(tag, (0, b""))
    text = value.split(b"\0")[0].decode("utf-8", "replace") if kind == 2 else ""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _taken_at(date: str, subsecond: str, offset: str) -> str | None:
    match = _DATE.fullmatch(date)
    if match is None or not date.isascii():
        return None
    text = "{}-{}-{}T{}:{}:{}".format(*match.groups())
    try:
        datetime.datetime.fromisoformat(text)
    except ValueError:  # 0000:00:00, or the 31st of February
        return None
    if re.fullmatch("[0-9]{1,9}", subsecond):
        text += f".{subsecond}"
    return text + offset if re.fullmatch("[+-](0[0-9]|1[0-4]):[0-5][0-9]", offset) else text
