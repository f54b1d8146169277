"""Stars that people gave photos: from XMP sidecars, and from the XMP and EXIF inside the photo."""

from __future__ import annotations

import re
from pathlib import Path
from xml.parsers import expat

from photorank.errors import PhotoError
from photorank.photos import read_photo
from photorank.photos.metadata import rating, read_header

_NAME = "http://ns.adobe.com/xap/1.0/ Rating"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_VALUE = f"{_RDF} value"
_TOP = [f"{_RDF} RDF", f"{_RDF} Description"]
_BEGIN = re.compile(rb"<(x:x[am]pmeta|rdf:RDF)[\s>]")  # the former is around the latter, or not there


def stars_of(path: str) -> float | None:
    """The rating of the photo at a path: −1 (rejected) to 5 stars, 0 where it was said to have none, None where nothing
    is said.

    The first of these that has one counts: the sidecars `IMG.CR2.xmp` and `IMG.xmp`, the XMP in the photo, its EXIF.
    Raises PhotoError, as the rest of a sentence that begins with the path, where the photo or a sidecar of it cannot be
    read.
    """
    for sidecar in _sidecars(path):
        try:
            stars = stars_of_xmp(read_photo(str(sidecar)))
        except PhotoError as error:
            raise PhotoError(f"has the sidecar {sidecar.name}, which {error}") from error
        if stars is not None:
            return stars
    return stars_inside(read_photo(path))


def stars_inside(data: bytes) -> float | None:
    """The same of a photo's bytes, of whatever format: its XMP is found by how a packet begins and ends, as the XMP
    specification's part 3 foresees. PhotoError where a packet is no XML."""
    at = 0
    while begin := _BEGIN.search(data, at):
        end = re.compile(rb"</%s\s*>" % begin[1]).search(data, begin.end())
        if end is None:
            break
        stars, at = stars_of_xmp(data[begin.start() : end.end()]), end.end()
        if stars is not None:
            return stars
    return rating(read_header(data).exif)


def stars_of_xmp(data: bytes) -> float | None:
    """The first `xmp:Rating` of an XMP document, attribute or element, with text or an `rdf:value`; None where there is
    none. It is a property of an rdf:Description right below rdf:RDF: one further inside is that of an earlier version,
    say, or of another photo.

    Raises PhotoError where it is no XML, declares a document type (XMP has none, and its entities can be made to grow
    without bound), or has a rating other than −1 to 5.
    """
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    inside, found = list[str](), list[str]()

    def start(name: str, attributes: dict[str, str]) -> None:
        inside.append(name)
        if _NAME in attributes and inside[-2:] == _TOP:
            found.append(attributes[_NAME])
        if inside[-3:] == [*_TOP, _NAME] and _VALUE in attributes:
            found.append(attributes[_VALUE])

    def text(letters: str) -> None:
        if inside[-3:] == [*_TOP, _NAME] and letters.strip():
            found.append(letters)

    def end(_: str) -> None:
        inside.pop()

    def doctype(*_: object) -> None:
        raise PhotoError("declares a document type, which no XMP does")

    parser.StartElementHandler, parser.CharacterDataHandler, parser.EndElementHandler = start, text, end
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        raise PhotoError(f"is no XMP ({error})") from error
    return _stars(found[0]) if found else None


def _stars(text: str) -> float:
    try:
        stars = float(text)
    except ValueError:
        stars = float("nan")
    if not -1 <= stars <= 5:
        raise PhotoError(f"has the rating {text.strip()[:20]!r}, which is not among -1 to 5")
    return stars


def _sidecars(path: str) -> list[Path]:
    """The sidecars that there are, the one that is of this file alone first."""
    photo = Path(path)
    names = [f"{stem}{suffix}" for stem in (photo.name, photo.stem) for suffix in (".xmp", ".XMP")]
    found = [photo.with_name(name) for name in names if _is_there(photo.with_name(name))]
    return found[:1] + [each for each in found[1:] if not each.samefile(found[0])]


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that became too long, say
        return False
