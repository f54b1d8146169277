"""Small pictures of photos: made once, kept by key in a folder of the store.

They are a cache. What is missing or cut short is made again, so nothing is synced to the disk.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from photorank.photos.decoding import Pixels

LONG_SIDE = 320
QUALITY = 60
_START, _END = b"\xff\xd8", b"\xff\xd9"  # of a JPEG that is there whole


def thumbnail_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of the thumbnail of a photo; smaller photos are left as they are."""
    scale = min(1.0, LONG_SIDE / max(height, width))
    return max(1, round(scale * height)), max(1, round(scale * width))


def make_thumbnail(rgb: Pixels) -> bytes:
    """A JPEG of the pixels (height, width, 3) uint8, C-contiguous, at `thumbnail_size`."""
    # Imported here: whoever only asks whether there is a thumbnail needs neither.
    import numpy as np
    import simplejpeg
    from PIL import Image

    height = rgb.shape[0]
    rows, columns = thumbnail_size(*rgb.shape[:2])
    # The mean of two rows of the photo for each of the thumbnail's: enough for the eye, and a tenth of the time of all.
    upper, lower = (rgb[((np.arange(rows) + at) * height / rows).astype(int)] for at in (0.25, 0.75))
    upper >>= 1
    lower >>= 1
    upper += lower
    small = Image.fromarray(upper).resize((columns, rows), Image.Resampling.BOX)
    jpeg: bytes = simplejpeg.encode_jpeg(np.asarray(small), QUALITY, colorsubsampling="420")
    return jpeg


class Thumbnails:
    """The thumbnails in a folder. Any number of processes may add."""

    def __init__(self, store: str | os.PathLike[str]) -> None:
        """Those of a feature store, or below any other folder."""
        self._folder = Path(store) / "thumbnails" / str(LONG_SIDE)

    def path(self, key: bytes) -> Path:
        """Where the thumbnail of the photo with this key is, or would be."""
        return self._folder / key.hex()[:2] / f"{key.hex()}.jpg"

    def has(self, key: bytes) -> bool:
        """Whether there is one, whole or not."""
        return self.path(key).exists()

    def read(self, key: bytes) -> bytes | None:
        """The JPEG; None where there is none that is whole."""
        try:
            data = self.path(key).read_bytes()
        except FileNotFoundError:
            return None
        return data if data.startswith(_START) and data.endswith(_END) else None

    def add(self, key: bytes, rgb: Pixels) -> None:
        """Make and keep the thumbnail of a photo's pixels, in place of one that is there. OSError where it cannot be
        written."""
        path = self.path(key)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(make_thumbnail(rgb))
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def forget(self, keys: Iterable[bytes]) -> None:
        """Delete the thumbnails of these photos, and what a killed process left of them."""
        for key in keys:
            for path in self.path(key).parent.glob(f"*{key.hex()}.jpg*"):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
