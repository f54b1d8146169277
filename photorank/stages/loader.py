"""What is done to one photo before any model sees it: read, hash, decode, prepare; in a process of its own.

A decoder that crashes takes its process along, and one that never returns can only be ended from outside, so photos are
loaded by child processes (`photorank.stages.children` keeps them). This module is what they run, and imports neither
PyTorch nor the store: a child starts in a fraction of a second. It talks through pipes in messages, each a JSON header
and arrays: a place comes in, the key goes out, the features that it lacks come in, what was prepared goes out.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from photorank.errors import PhotoError, PhotorankError
from photorank.extractors import Feature, Prepared, Resized, preparer
from photorank.photos import Fit, Photo, decode_photo, photo_details, photo_key, read_photo
from photorank.photos.shards import Member, Place, read_member
from photorank.photos.thumbnails import Thumbnails

DEVICE_INTERPOLATIONS = ("bilinear", "bicubic")
"""Those that PyTorch has with antialiasing, as Pillow has them."""
_LENGTH = struct.Struct("<Q")
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from photorank.stages.loader import main; main()"
COMMAND = [sys.executable, "-c", _START]
"""Starts a child; `json.dumps(sys.path)` follows."""


@dataclass
class Loaded:
    """What was made of one file's bytes. Either `failure` says why there is nothing, or `details` are there."""

    key: bytes | None = None
    details: tuple[str | None, str | None] = (None, None)
    """`taken_at` and `camera`."""
    photo: tuple[int, int, str, int] | None = None
    """Width, height (upright), format, orientation; None where nothing had to be decoded."""
    prepared: dict[int, Prepared] = field(default_factory=dict)
    """Number of the feature → what its extractor needs."""
    failure: tuple[str, str] | None = None
    """Stage and cause, where the photo as a whole could not be loaded."""
    refused: dict[int, str] = field(default_factory=dict)
    """Number of the feature → why it could not be prepared from this photo."""
    spans: list[tuple[str, float, float]] = field(default_factory=list)
    """Phase, and when it began and ended (`time.perf_counter`, one clock for all processes)."""
    lane: str = ""
    """The row of a trace that they are drawn in, which has one photo at a time."""


class Loader:
    """Loads photos for some features; with `thumbnails`, a folder, keeps one there of each photo that is decoded."""

    def __init__(self, features: Sequence[Feature], max_pixels: int, thumbnails: str | None = None) -> None:
        self._features, self._max_pixels = features, max_pixels
        self._prepare: list[Any] = [preparer(feature) for feature in features]
        self._thumbnails = Thumbnails(thumbnails) if thumbnails is not None else None

    def load(self, place: Place, lacking: Callable[[bytes], Sequence[int]]) -> Loaded:
        """Load a photo; `lacking` tells from the key which features are to be prepared, by number. Never raises."""
        loaded = Loaded()
        stage = "read"
        try:
            with _span(loaded, "read and hash"):
                data = read_member(place) if isinstance(place, Member) else read_photo(place)
                loaded.key = photo_key(data)
            wanted = lacking(loaded.key)
            stage = "decode"
            if wanted:
                self._prepare_all(data, wanted, loaded)
            else:  # a copy, or moved, or captioned: all there is to do is to note where it was seen
                loaded.details = photo_details(data)
        except PhotoError as error:
            loaded.failure = stage, str(error)
        return loaded

    def _prepare_all(self, data: bytes, wanted: Sequence[int], loaded: Loaded) -> None:
        """Decode once for all features that want every pixel, and once for each that is content with fewer.

        The latter gets those of its own decoding even where all are there, so that no vector depends on what else was
        asked for. Only JPEGs have fewer.
        """
        whole: Photo | None = None
        left_to_devices = self._leave_to_devices(data, wanted, loaded)
        for number in wanted:
            if number in left_to_devices:
                continue
            feature, prepare = self._features[number], self._prepare[number]
            fast = feature.spec.get("decode") == "fast"
            fit = prepare.preprocess.resized if fast and isinstance(prepare, Resized) else None
            if whole is None or (fit and whole.format == "JPEG"):
                photo = self._decode(data, loaded, fit)
                whole = photo if photo.rgb.shape[:2] == (photo.height, photo.width) else whole
            else:
                photo = whole
            with _span(loaded, f"prepare {feature.name}"):
                self._prepare_one(number, photo, loaded)

    def _leave_to_devices(self, data: bytes, wanted: Sequence[int], loaded: Loaded) -> list[int]:
        """Prepare a JPEG for the features whose device decodes it; their numbers."""
        able = [
            number for number in wanted if self._features[number].spec.get("decode") == "device"
            and self._prepare[number].preprocess.interpolation in DEVICE_INTERPOLATIONS
        ]  # fmt: skip
        if not able:
            return []
        from photorank.photos.undecoded import undecoded  # imports Pillow

        photo = undecoded(data, self._max_pixels)
        if photo is None:
            return []
        loaded.details = photo.taken_at, photo.camera
        loaded.photo = photo.width, photo.height, "JPEG", photo.orientation
        loaded.prepared |= {number: self._prepare[number].undecoded(photo) for number in able}
        return able

    def _decode(self, data: bytes, loaded: Loaded, fit: Fit | None = None) -> Photo:
        with _span(loaded, "decode"):
            photo = decode_photo(data, self._max_pixels, fit)
        loaded.details = photo.taken_at, photo.camera
        loaded.photo = photo.width, photo.height, photo.format, photo.orientation
        self._keep_thumbnail(photo, loaded)
        return photo

    def _keep_thumbnail(self, photo: Photo, loaded: Loaded) -> None:
        assert loaded.key is not None
        if self._thumbnails is None or self._thumbnails.has(loaded.key):
            return
        with _span(loaded, "thumbnail"), contextlib.suppress(OSError):  # the report makes what is missing, or says why
            self._thumbnails.add(loaded.key, photo.rgb)

    def _prepare_one(self, number: int, photo: Photo, loaded: Loaded) -> None:
        name = self._features[number].name
        try:
            prepare = self._prepare[number]
            loaded.prepared[number] = prepare.of(photo) if isinstance(prepare, Resized) else prepare(photo.rgb)
        except PhotoError as error:
            loaded.refused[number] = str(error)
        # Broad on purpose: an extractor may be a user's own, and one photo that it fails on must not end the run.
        except Exception as error:
            cause = " ".join(str(error).split())[:200]
            loaded.refused[number] = f"could not be prepared for {name} ({type(error).__name__}: {cause})"


@contextmanager
def _span(loaded: Loaded, phase: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        loaded.spans.append((phase, started, time.perf_counter()))


def send(stream: BinaryIO, header: dict[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """One message: the header's length, the header, the arrays' bytes."""
    arrays = [np.ascontiguousarray(array) for array in arrays]
    described = {**header, "arrays": [(array.dtype.str, array.shape) for array in arrays]}
    text = json.dumps(described).encode()
    stream.write(_LENGTH.pack(len(text)) + text)
    for array in arrays:
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """The next message; EOFError where the other side is gone."""
    length = np.empty(_LENGTH.size, np.uint8)
    _fill(stream, length)
    text = np.empty(_LENGTH.unpack(length.data)[0], np.uint8)
    _fill(stream, text)
    header = json.loads(text.tobytes())
    arrays = [np.empty(shape, np.dtype(kind)) for kind, shape in header.pop("arrays")]
    for array in arrays:
        _fill(stream, array)
    return header, arrays


def _fill(stream: Any, array: NDArray[Any]) -> None:
    view = array.reshape(-1).view(np.uint8).data
    while view:
        count = stream.readinto(view)
        if not count:
            raise EOFError
        view = view[count:]


def pack(loaded: Loaded) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """The header and arrays of a message that holds it; the key went before."""
    header = {name: getattr(loaded, name) for name in ("details", "photo", "failure", "refused", "spans")}
    counts = {number: len(prepared) for number, prepared in loaded.prepared.items()}
    return {**header, "prepared": counts}, [array for prepared in loaded.prepared.values() for array in prepared]


def unpack(key: bytes | None, header: dict[str, Any], arrays: list[NDArray[Any]]) -> Loaded:
    """What `pack` made a message of."""
    rest = iter(arrays)
    return Loaded(
        key,
        tuple(header["details"]),
        tuple(header["photo"]) if header["photo"] else None,
        {int(number): tuple(next(rest) for _ in range(count)) for number, count in header["prepared"].items()},
        tuple(header["failure"]) if header["failure"] else None,
        {int(number): text for number, text in header["refused"].items()},
        [tuple(span) for span in header["spans"]],
    )


def describe(features: Sequence[Feature], max_pixels: int, thumbnails: str | None) -> dict[str, Any]:
    """The first message to a child."""
    described = [asdict(feature) for feature in features]
    return {"features": described, "max_pixels": max_pixels, "thumbnails": thumbnails}


def describe_place(place: Place) -> dict[str, Any]:
    """A message to a child that asks for a photo."""
    return {"member": asdict(place)} if isinstance(place, Member) else {"path": place}


def main() -> None:
    """What a child does until its input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes the pipes
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the messages
    try:
        header, _ = receive(source)
        features = [Feature(**each) for each in header["features"]]
        loader = Loader(features, header["max_pixels"], header["thumbnails"])
    except PhotorankError as error:
        send(sink, {"error": str(error)})
        return
    send(sink, {})
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            asked, _ = receive(source)

            def ask(key: bytes) -> Sequence[int]:
                send(sink, {"key": key.hex()})
                lacking: Sequence[int] = receive(source)[0]["lacking"]
                return lacking

            place = Member(**asked["member"]) if "member" in asked else asked["path"]
            send(sink, *pack(loader.load(place, ask)))
