"""Marks in XMP documents: `xmp:Rating` and `xmp:Label`, put in where they are or belong, every other byte as it was.

A document is never built anew from what was understood of it: an XML parser says where things are, and the bytes there
are changed. So what other programs keep in a sidecar (history, masks, namespaces of their own, comments) lives on.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from xml.parsers import expat

from photorank.errors import PhotoError

_XMP, _RDF = "http://ns.adobe.com/xap/1.0/", "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML = "http://www.w3.org/XML/1998/namespace"
_TOP = [f"{_RDF} RDF", f"{_RDF} Description"]
_OF_TEXT = ((_RDF, "ID"), (_RDF, "datatype"))
"""Attributes that an element with text may have, beside those of XML."""
_NEW = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="photorank">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
_BOMS = (  # UTF-32's little-endian one begins as UTF-16's does
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"),
)  # fmt: skip
_DECLARED = re.compile(rb"""<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
_TAG = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""(\s+)([^\s=/>]+)\s*=\s*("[^"]*"|'[^']*')""")


def new_xmp(marks: Mapping[str, str]) -> bytes:
    """A document with nothing but marks."""
    return mark(_NEW.encode(), marks)


def mark(data: bytes, marks: Mapping[str, str], overwrite: bool = False) -> bytes:
    """The document with marks: name (`Rating`, `Label`) → value; the same bytes where there is nothing to change.

    A mark that is there already stays as it is unless `overwrite`; no stars (0) and an empty label count as none.
    Raises PhotoError, as the rest of a sentence that begins with the file's path, where the bytes are no XMP, declare a
    document type, or have a mark that is not plain text.
    """
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
        exact = text.encode(encoding) == data
    except (UnicodeError, LookupError) as error:
        raise PhotoError(f"is no XMP ({error})") from error
    if not exact:
        raise PhotoError(f"is in an encoding ({encoding}) that cannot be written as it was read")
    document = text.encode()
    for name, value in marks.items():
        document = _mark(document, name, value, overwrite)
    return document.decode().encode(encoding)


def _encoding(data: bytes) -> str:
    for start, encoding in _BOMS:
        if data.startswith(start):
            return encoding
    declared = _DECLARED.match(data)
    return declared[1].decode() if declared else "utf-8"


@dataclass
class _Place:
    """Where a mark is: the element whose tag begins at `start`, or an attribute of that tag."""

    start: int
    value: str = ""
    attribute: bytes | None = None
    """Its name as it is written."""
    end: int = 0
    """Where the element's end tag begins; without meaning where it has none."""
    plain: bool = True
    """Whether the value is text that can be changed: all that the element holds, or its `rdf:value`."""
    given: bool = False
    """Whether it counts as given, whatever the value."""


def _mark(document: bytes, name: str, value: str, overwrite: bool) -> bytes:
    found = _Reader(document, name)
    if found.places:
        if not overwrite and any(place.given or place.value.strip() not in ("", "0") for place in found.places):
            return document
        for place in reversed(found.places):
            document = _replace(document, place, value)
        return document
    if found.description is None:
        if found.end_of_rdf is None:
            raise PhotoError("is XML, but has no rdf:RDF that a rating could be put in")
        more = f'<d:Description xmlns:d="{_RDF}" d:about=""/>'.encode()
        document = document[: found.end_of_rdf] + more + document[found.end_of_rdf :]
        found = _Reader(document, name)
    assert found.description is not None
    return _insert(document, found.description, found.prefixes, name, value)


class _Reader:
    """Reads a UTF-8 document for one mark: a property of an rdf:Description right below rdf:RDF. The same name anywhere
    else, in a history say, is none."""

    def __init__(self, document: bytes, name: str) -> None:
        self.places: list[_Place] = []
        self.description: int | None = None
        """Where the first rdf:Description begins."""
        self.prefixes: dict[str, str] = {}
        """Prefix → namespace there."""
        self.end_of_rdf: int | None = None
        self._document, self._name = document, name
        self._path: list[str] = []
        self._bound: dict[str, list[str]] = {}
        self._inside: _Place | None = None
        self._rdf = b""
        self._parser = parser = expat.ParserCreate("UTF-8", " ")
        parser.namespace_prefixes = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text
        parser.StartNamespaceDeclHandler, parser.EndNamespaceDeclHandler = self._bind, self._unbind
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(document, True)
        except (expat.ExpatError, ValueError) as error:
            raise PhotoError(f"is no XMP ({error})") from error

    def _start(self, qualified: str, attributes: dict[str, str]) -> None:
        if self._inside is not None:
            self._inside.plain = False
        self._path.append(" ".join(qualified.split(" ")[:2]))
        at = self._parser.CurrentByteIndex
        if self._path[-1] == _TOP[0]:
            self._rdf = _name_at(self._document, at)
        if self._path[-2:] == _TOP:
            if self.description is None:
                self.description = at
                self.prefixes = {prefix: uris[-1] for prefix, uris in self._bound.items() if uris}
            for key, value in attributes.items():
                uri, local, prefix = (*key.split(" "), "", "")[:3]
                if (uri, local) == (_XMP, self._name):
                    self.places.append(_Place(at, value, f"{prefix}:{local}".encode()))
        elif self._path[-3:] == [*_TOP, f"{_XMP} {self._name}"]:
            self._inside = _property(at, attributes)

    def _end(self, _: str) -> None:
        at = self._parser.CurrentByteIndex
        if self._inside is not None and self._path[-3:-1] == _TOP:
            self._inside.end = at
            self.places.append(self._inside)
            self._inside = None
        elif self._path[-1] == _TOP[0] and self._document.startswith(b"</" + self._rdf, at):  # else it is <rdf:RDF/>
            self.end_of_rdf = at
        self._path.pop()

    def _text(self, letters: str) -> None:
        if self._inside is not None:
            self._inside.value += letters
            self._inside.plain &= self._inside.attribute is None

    def _bind(self, prefix: str | None, uri: str) -> None:
        self._bound.setdefault(prefix or "", []).append(uri)

    def _unbind(self, prefix: str | None) -> None:
        self._bound[prefix or ""].pop()

    def _doctype(self, *_: object) -> None:
        raise PhotoError("declares a document type, which no XMP does")


def _property(at: int, attributes: Mapping[str, str]) -> _Place:
    """The element of a mark. With attributes other than those that qualify its text it is one of RDF's longer forms:
    given, and to be changed only where the value is an `rdf:value`."""
    names = {key: (*key.split(" "), "", "")[:3] for key in attributes}
    value = next((key for key, (uri, local, _) in names.items() if (uri, local) == (_RDF, "value")), None)
    if value is not None:
        return _Place(at, attributes[value], f"{names[value][2]}:value".encode(), given=True)
    longer = any(uri != _XML and (uri, local) not in _OF_TEXT for uri, local, _ in names.values())
    return _Place(at, plain=not longer, given=longer)


def _replace(document: bytes, place: _Place, value: str) -> bytes:
    if not place.plain:
        raise PhotoError("has a rating or label that is not plain text")
    tag_end, attributes = _tag(document, place.start)
    if place.attribute is not None:
        match = next(each for each in attributes if each[2] == place.attribute)
        start, end = match.span(3)
        return document[: start + 1] + value.encode() + document[end - 1 :]
    if document.startswith(b"/", tag_end - 2):  # <xmp:Rating/>
        closing = b"</" + _name_at(document, place.start) + b">"
        return document[: tag_end - 2] + b">" + value.encode() + closing + document[tag_end:]
    return document[:tag_end] + value.encode() + document[place.end :]


def _insert(document: bytes, at: int, prefixes: Mapping[str, str], name: str, value: str) -> bytes:
    """The document with an attribute more in the tag at `at`, laid out as the one before it."""
    _, attributes = _tag(document, at)
    space, end = b" ", at + 1 + len(_name_at(document, at))
    if attributes:
        space, end = attributes[-1][1], attributes[-1].end()
    prefix = next((each for each, uri in prefixes.items() if each and uri == _XMP), None)
    more = b""
    if prefix is None:
        prefix = next(
            each for each in ("xmp", "xap", *map("xmp{}".format, range(len(prefixes)))) if each not in prefixes
        )
        more = space + f'xmlns:{prefix}="{_XMP}"'.encode()
    return document[:end] + more + space + f'{prefix}:{name}="{value}"'.encode() + document[end:]


def _tag(document: bytes, at: int) -> tuple[int, list[re.Match[bytes]]]:
    """Where the start tag at `at` ends, and its attributes: space before, name, quoted value. It is well-formed."""
    end, attributes = at + 1 + len(_name_at(document, at)), list[re.Match[bytes]]()
    while (match := _ATTRIBUTE.match(document, end)) is not None:
        attributes.append(match)
        end = match.end()
    return document.index(b">", end) + 1, attributes


def _name_at(document: bytes, at: int) -> bytes:
    match = _TAG.match(document, at)
    assert match is not None
    return match[0][1:]
