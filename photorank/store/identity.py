"""What things in a store are called: fingerprints of specs, names of spaces, ids of segments."""

from __future__ import annotations

import hashlib
import json
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from photorank.errors import StoreError

JSONDict: TypeAlias = dict[str, Any]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SPACE_FOLDER = re.compile(rf"({_NAME.pattern})@([0-9a-f]{{16}})")
_SEGMENT = re.compile(r"[0-9a-f]{16}-[0-9a-f]{8}")


def plain_json(value: object, where: str = "") -> Any:
    """`value` with tuples as lists; anything that JSON cannot hold exactly is a StoreError that says where it is."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [plain_json(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise StoreError(f"A spec's keys are strings; those at {where or 'its top'} are {list(value)!r}.")
        return {key: plain_json(item, f"{where}.{key}" if where else key) for key, item in value.items()}
    raise StoreError(f"A spec holds strings, finite numbers, lists and mappings; {where or 'it'} is {value!r}.")


def canonical_json(value: object) -> bytes:
    """The one UTF-8 encoding of a JSON value: sorted keys, no spaces, tuples as lists, floats as Python's repr."""
    text = json.dumps(plain_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StoreError(f"A spec's strings must be valid Unicode: {error}.") from None


def fingerprint(spec: Mapping[str, Any]) -> str:
    """The identity of a spec: the first 16 hex digits of the sha256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(spec)).hexdigest()[:16]


def check_space_name(name: str) -> str:
    """`name`, if a space may be called so; else StoreError."""
    if not _NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} cannot name a feature space: a name is letters, digits, '.', '_' and '-', "
            "and starts with a letter or a digit."
        )
    return name


def split_space_folder(folder: str) -> tuple[str, str] | None:
    """(name, fingerprint) of a folder called `<name>@<fingerprint>`, or None when it is not called like that."""
    match = _SPACE_FOLDER.fullmatch(folder)
    return (match[1], match[2]) if match else None


def is_segment_id(text: str) -> bool:
    """Whether `text` is what `new_segment_id` makes."""
    return _SEGMENT.fullmatch(text) is not None


_last_time = 0
_lock = threading.Lock()


def new_segment_id(existing: Iterable[str] = ()) -> str:
    """An id that sorts after every one made by this process and after all of `existing`: 16 hex digits of the time in
    nanoseconds, "-", 8 random hex digits (two processes may draw the same time)."""
    global _last_time
    # A clock that was set back must not make what is written now sort before what is there already.
    newest = max((int(segment[:16], 16) for segment in existing), default=0)
    with _lock:
        _last_time = max(time.time_ns(), _last_time + 1, newest + 1)
        if _last_time >> 64:  # the name would be longer, and no reader would see it
            raise StoreError(
                "No segment can follow one whose id starts with ffffffffffffffff; is that file the store's?"
            )
        return f"{_last_time:016x}-{secrets.token_hex(4)}"


def segment_id_after(segment: str, taken: Callable[[str], bool]) -> str:
    """The first id after the segment's that is not `taken`: what is written under it counts where the segment did."""
    number = int(segment.replace("-", ""), 16) + 1
    while taken(following := f"{number:024x}"[:16] + "-" + f"{number:024x}"[16:]):
        number += 1
    return following
