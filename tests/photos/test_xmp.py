"""Marks in XMP documents: what is written is read back, and every other byte is as it was."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photorank.errors import PhotoError
from photorank.photos.ratings import stars_of_xmp
from photorank.photos.xmp import mark, new_xmp
from tests.sidecars import ALL, BARE, DARKTABLE, DIGIKAM, LIGHTROOM, ODD

MARKS = {"Rating": "5", "Label": "Green"}
ENCODINGS = {"utf-8": "UTF-8", "utf-8-sig": "UTF-8", "utf-16": "UTF-16", "utf-16-be": "UTF-16", "utf-32": "UTF-32"}


def differing(before: bytes, after: bytes) -> tuple[bytes, bytes]:
    """What was taken out in one place, and what was put there."""
    start = next(
        (at for at, (x, y) in enumerate(zip(before, after, strict=False)) if x != y), min(len(before), len(after))
    )
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return before[start : len(before) - end], after[start : len(after) - end]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ALL)
def test_marks_are_written_and_every_other_byte_stays(name: str, encoding: str) -> None:
    before = ALL[name].replace('encoding="UTF-8"', f'encoding="{ENCODINGS[encoding]}"').encode(encoding)
    rated = mark(before, {"Rating": "5"}, overwrite=True)
    out, put = (part.replace(b"\0", b"") for part in differing(before, rated))
    assert out in (b"", b"2", b"-1", b"3")
    assert put == b"5" if out else put.endswith(b':Rating="5"') or b':Rating="5"' in put
    labelled = mark(rated, {"Label": "Green"}, overwrite=True)
    out, put = (part.replace(b"\0", b"") for part in differing(rated, labelled))
    assert out == b""
    assert b"Green" in put
    assert mark(before, MARKS, overwrite=True) == labelled
    assert mark(labelled, MARKS) == mark(labelled, MARKS, overwrite=True) == labelled
    assert encoding == "utf-32" or stars_of_xmp(labelled) == 5  # which expat, reading by itself, does not know


def test_marks_go_where_they_are_or_belong() -> None:
    assert mark(LIGHTROOM.encode(), MARKS, True).decode() == LIGHTROOM.replace(
        'xmp:Rating="2"', 'xmp:Rating="5"'
    ).replace('crs:Exposure2012="+0.35"', 'crs:Exposure2012="+0.35"\n   xmp:Label="Green"')
    assert mark(DIGIKAM.encode(), MARKS, True).decode() == DIGIKAM.replace(">3<", ">5<").replace(
        "Label></", "Label>Green</"
    )
    added = "q:x='a > b' xmlns:q=\"urn:q\" a:Label = 'Green' a:Rating=\"5\"\n\t/>"
    assert added in mark(ODD.encode(), MARKS).decode()
    assert mark(DARKTABLE.encode(), {"Rating": "5"}, True).decode() == DARKTABLE.replace('"-1"', '"5"')
    inside = ' <d:Description xmlns:d="http://www.w3.org/1999/02/22-rdf-syntax-ns#" d:about="" '
    assert inside in mark(BARE.encode(), MARKS).decode()


def test_what_somebody_gave_stays_unless_it_is_to_be_overwritten() -> None:
    for document in (LIGHTROOM, DARKTABLE, DIGIKAM):
        assert mark(document.encode(), {"Rating": "5"}) == document.encode()
        assert mark(document.encode(), {"Rating": "5"}, overwrite=True) != document.encode()
    nothing = LIGHTROOM.replace('xmp:Rating="2"', 'xmp:Rating="0"').encode()
    assert stars_of_xmp(mark(nothing, {"Rating": "1"})) == 1
    empty = DIGIKAM.replace("<xmp:Rating>3</xmp:Rating>", "<xmp:Rating />").encode()
    assert b"<xmp:Rating >1</xmp:Rating>" in mark(empty, {"Rating": "1"})


RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
VALUES = ('rdf:value="3" xml:lang="en"', "xml:lang='en' rdf:value = '0'", f'xmlns:r="{RDF}" r:value="3"')


@pytest.mark.parametrize("attributes", VALUES)
@pytest.mark.parametrize("end", ["/>", " ></xmp:Rating>"])
def test_a_value_in_the_form_of_an_attribute_stays_or_is_changed_there(attributes: str, end: str) -> None:
    element = f"<xmp:Rating {attributes}{end}"
    document = DIGIKAM.replace("<xmp:Rating>3</xmp:Rating>", element)
    assert mark(document.encode(), {"Rating": "5"}) == document.encode()
    changed = element.replace('"3"', '"5"').replace("'0'", "'5'")
    marked = mark(document.encode(), {"Rating": "5"}, overwrite=True)
    assert marked.decode() == document.replace(element, changed)
    assert (stars_of_xmp(document.encode()), stars_of_xmp(marked)) == (0 if "'0'" in element else 3, 5)


@pytest.mark.parametrize(
    "element",
    [
        '<xmp:Rating rdf:resource="urn:3"/>', '<xmp:Rating rdf:nodeID="a"/>', '<xmp:Rating rdf:parseType="Literal"/>',
        '<xmp:Rating rdf:parseType="Resource"><rdf:value>3</rdf:value></xmp:Rating>', '<xmp:Rating xmp:Label="a"/>',
        '<xmp:Rating rdf:value="3"> 4 </xmp:Rating>', '<xmp:Rating rdf:value="3"><rdf:Bag/></xmp:Rating>',
    ],
)  # fmt: skip
def test_a_longer_form_stays_and_is_a_sentence_where_it_is_to_be_overwritten(element: str) -> None:
    document = DIGIKAM.replace("<xmp:Rating>3</xmp:Rating>", element).encode()
    assert mark(document, {"Rating": "5"}) == document
    with pytest.raises(PhotoError, match="has a rating or label that is not plain text"):
        mark(document, {"Rating": "5"}, overwrite=True)


def test_text_with_a_language_or_type_is_plain() -> None:
    for attributes in ('xml:lang="en"', 'rdf:datatype="http://www.w3.org/2001/XMLSchema#integer" rdf:ID="a"'):
        document = DIGIKAM.replace("<xmp:Rating>3", f"<xmp:Rating {attributes}>0")
        assert mark(document.encode(), {"Rating": "5"}).decode() == document.replace(">0<", ">5<")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "is no XMP (no element found"),
        (LIGHTROOM.encode()[:500], "is no XMP ("),
        (b"\xff\xd8\xff\xe0", "is no XMP ("),
        (LIGHTROOM.encode("utf-16")[:501], "is no XMP ("),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "is no XMP (unknown encoding: nonsense)"),
        (b"<html/>", "is XML, but has no rdf:RDF that a rating could be put in"),
        (BARE.replace("> </rdf:RDF>", "/>").encode(), "is XML, but has no rdf:RDF that a rating could be put in"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + BARE.encode(), "declares a document type, which no XMP does"),
        (DIGIKAM.replace(">3<", "><b>3</b><").encode(), "has a rating or label that is not plain text"),
        (b"<?xml version='1.0' encoding='utf-7'?>" + b"+AGE-", "that cannot be written as it was read"),
    ],
)  # fmt: skip
def test_what_is_no_xmp_is_a_sentence(document: bytes, says: str) -> None:
    with pytest.raises(PhotoError) as raised:
        mark(document, {"Rating": "5"}, overwrite=True)
    assert says in str(raised.value)


@given(st.binary(max_size=80), st.integers(0, 2000), st.integers(0, 40))
def test_damaged_documents_are_marked_or_refused(noise: bytes, at: int, cut: int) -> None:
    damaged = LIGHTROOM.encode()[:at] + noise + LIGHTROOM.encode()[at + cut :]
    try:
        marked = mark(damaged, MARKS, overwrite=True)
    except PhotoError:
        return
    assert mark(marked, MARKS) == marked


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed (libimage-exiftool-perl)")
def test_exiftool_reads_our_marks_and_nothing_else_has_changed(tmp_path: Path) -> None:
    documents = {name: text.encode() for name, text in ALL.items() if name != "odd"}  # it stumbles over `a > b`
    documents["wide"] = DIGIKAM.encode("utf-16")
    for name, document in documents.items():
        (tmp_path / f"{name}-before.xmp").write_bytes(document)
        (tmp_path / f"{name}-marked.xmp").write_bytes(mark(document, MARKS, overwrite=True))
    (tmp_path / "new-marked.xmp").write_bytes(new_xmp(MARKS))
    out = subprocess.run(["exiftool", "-j", "-G1", "-a", "."], cwd=tmp_path, capture_output=True, check=True).stdout
    read = {Path(each.pop("SourceFile")).stem: each for each in json.loads(out)}
    tags = {
        name: {tag: value for tag, value in found.items() if not tag.startswith(("System:", "ExifTool:"))}
        for name, found in read.items()
    }
    for name in documents:
        before, marked = tags[f"{name}-before"], tags[f"{name}-marked"]
        assert (marked["XMP-xmp:Rating"], marked["XMP-xmp:Label"]) == (5, "Green"), name
        changed = {tag for tag in {*before, *marked} if before.get(tag) != marked.get(tag)}
        assert changed <= {"XMP-xmp:Rating", "XMP-xmp:Label"}, name
    new = {tag: value for tag, value in tags["new-marked"].items() if not tag.startswith("File:")}
    assert new == {"XMP-x:XMPToolkit": "photorank", "XMP-xmp:Rating": 5, "XMP-xmp:Label": "Green"}
