"""JPEGs decoded, turned, resized and cut on the device that runs the model: `decode: device`."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError, PhotoError
from photorank.extractors import Prepared
from photorank.extractors.memory import is_want_of_memory
from photorank.photos.preprocessing import corner

if TYPE_CHECKING:
    import torch

    from photorank.photos.preprocessing import Preprocessing


class PixelsOnDevice:
    """What a network sees of each photo: of those that come as a JPEG, made on a device."""

    def __init__(self, preprocess: Preprocessing, device: str, decoder: str | None = None) -> None:
        """`decoder` is the device on which torchvision decodes: of a CUDA device that device itself (nvJPEG); others
        have no decoder of their own, and libjpeg-turbo takes its place. ConfigError where torchvision cannot do it."""
        self._preprocess, self._device = preprocess, device
        self._decoder = decoder or (device if device.startswith("cuda") else None)
        if self._decoder is None:
            return
        # Torchvision means to leave this to TorchCodec one day; until then there is nothing that a user could do.
        warnings.filterwarnings("ignore", "The image decoding and encoding capabilities", DeprecationWarning)
        try:
            self._decode([_smallest_jpeg()])
        except (ImportError, RuntimeError) as error:
            if is_want_of_memory(error):
                raise
            raise ConfigError(
                f"torchvision cannot decode JPEGs on {self._decoder} here ({_first_line(error)}); use `decode: exact`"
            ) from error

    def __call__(self, prepared: Sequence[Prepared]) -> tuple[torch.Tensor, list[int]]:
        """(n, H, W, 3) uint8 on the device of n photos, prepared by `Resized`; and the numbers of those that could not
        be decoded, whose pixels are 0."""
        import torch

        photos = [photo for (photo,) in prepared]
        pixels = torch.zeros((len(photos), *self._preprocess.size, 3), dtype=torch.uint8, device=self._device)
        jpegs = [number for number, photo in enumerate(photos) if photo.ndim == 1]
        failed: list[int] = []
        for number, decoded in zip(jpegs, self._decode_all([photos[number][1:] for number in jpegs]), strict=True):
            if decoded is None:
                failed.append(number)
            else:
                upright = turn(decoded, int(photos[number][0]))
                pixels[number] = self._fitted(upright).permute(1, 2, 0)
        for number, photo in enumerate(photos):
            if photo.ndim > 1:  # made where it was decoded
                pixels[number] = torch.tensor(photo, device=self._device)
        return pixels, failed

    def _decode_all(self, jpegs: Sequence[NDArray[np.uint8]]) -> list[torch.Tensor | None]:
        """(3, height, width) uint8 each, not upright; None where a JPEG is damaged."""
        if self._decoder is None:
            return [self._decode_here(jpeg) for jpeg in jpegs]
        try:
            return list(self._decode(jpegs)) if jpegs else []
        except RuntimeError as error:  # of which photo, it does not say
            if is_want_of_memory(error):
                raise
            return [self._decode_alone(jpeg) for jpeg in jpegs]

    def _decode_alone(self, jpeg: NDArray[np.uint8]) -> torch.Tensor | None:
        try:
            return self._decode([jpeg])[0]
        except RuntimeError as error:  # libjpeg-turbo may know more
            if is_want_of_memory(error):
                raise
            return self._decode_here(jpeg)

    def _decode_here(self, jpeg: NDArray[np.uint8]) -> torch.Tensor | None:
        import torch

        from photorank.photos import decode_photo

        try:
            return torch.from_numpy(decode_photo(jpeg.tobytes()).rgb).permute(2, 0, 1)
        except PhotoError:
            return None

    def _decode(self, jpegs: Sequence[NDArray[np.uint8]]) -> list[torch.Tensor]:
        import torch
        from torchvision.io import ImageReadMode, decode_jpeg

        data = [torch.from_numpy(np.array(jpeg)) for jpeg in jpegs]
        found: list[torch.Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=self._decoder)
        return found

    def _fitted(self, photo: torch.Tensor) -> torch.Tensor:
        """Resized as `Preprocessing` does it, in float32 instead of fixed point, and cut or padded as there."""
        import torch.nn.functional as functional

        fit = self._preprocess
        height, width = fit.resized(photo.shape[1], photo.shape[2])
        photo = photo.to(self._device)
        if (height, width) != tuple(photo.shape[1:]):
            resized = functional.interpolate(
                photo[None].float(), (height, width), mode=fit.interpolation, antialias=True, align_corners=False
            )
            photo = resized[0].round_().clamp_(0, 255).to(photo.dtype)
        (top, left), (tall, wide) = corner(height, width, fit.size), fit.size
        inside = photo[:, max(0, top) : max(0, top) + tall, max(0, left) : max(0, left) + wide]
        if tuple(inside.shape[1:]) == fit.size:
            return inside
        padded = photo.new_tensor(fit.fill).view(3, 1, 1).repeat(1, tall, wide)
        below, beside = max(0, -top), max(0, -left)
        padded[:, below : below + inside.shape[1], beside : beside + inside.shape[2]] = inside
        return padded


def turn(photo: torch.Tensor, orientation: int) -> torch.Tensor:
    """(3, height, width) as stored → upright; `orientation` in EXIF's numbers, 1..8."""
    if orientation >= 5:
        photo = photo.transpose(1, 2)
    # What is left to do after the transposition, by EXIF's table.
    flips = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation, [])
    return photo.flip(flips) if flips else photo


def _smallest_jpeg() -> NDArray[np.uint8]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
