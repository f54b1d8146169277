"""Devices, precisions and batches of one fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError
from photorank.extractors import Prepared, Resized
from photorank.extractors.memory import memory_for

if TYPE_CHECKING:
    import torch

    from photorank.extractors.on_device import PixelsOnDevice


def resolve_device(wanted: str) -> str:
    """`auto` → cuda, else mps, else cpu; anything else is checked. ConfigError where it is not there."""
    import torch

    if wanted == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        with memory_for("anything more", wanted):
            torch.zeros(1, device=torch.device(wanted)).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"the device {wanted!r} is not to be had here; use --device cpu or auto") from error
    return wanted


def resolve_devices(wanted: str) -> list[str]:
    """One device, or several: those named with commas between, and for `auto` every CUDA device where there are more.

    Several are not checked: here that would take memory on each of them.
    """
    import torch

    if wanted == "auto" and torch.cuda.device_count() > 1:
        return [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    named = [part.strip() for part in wanted.split(",")]
    return [resolve_device(named[0])] if len(named) == 1 else named


def best_precision(device: str) -> str:
    """The precision that suits a device: half on an accelerator, bfloat16 where the processor computes in it."""
    import torch

    if not device.startswith("cpu"):
        return "float16"
    # Without instructions for it bfloat16 is emulated, and slower than float32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bfloat16" if any(getattr(torch.cpu, probe, bool)() for probe in probes) else "float32"


def photos_at_once(model: torch.nn.Module, device: str, batch_size: int) -> int:
    """How many photos of a batch a network had best see at once: all, but few on a processor where it convolves.

    The maps of many are more than its caches hold, and fresh memory each time: ResNet50 in bfloat16 takes a tenth to a
    fifth longer for 32 photos at once than for four times 8.
    """
    import torch

    convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    return min(batch_size, 8) if device == "cpu" and convolutions > 1 else batch_size  # transformers begin with one


class Forward:
    """A network run on prepared photos, so many at once, always.

    The last ones of a batch are padded: kernels are chosen by shape, so with one shape a photo's vector does not depend
    on how many others came with it.
    """

    def __init__(
        self, network: Callable[[torch.Tensor], torch.Tensor], spec: Mapping[str, Any], prepare: Resized, device: str,
        at_once: int,
    ) -> None:  # fmt: skip
        """`network`: (at_once, 3, H, W) of the spec's precision on the device → (at_once, D)."""
        import torch

        self._network, self._device, self._at_once = network, device, at_once
        self._dtype: torch.dtype = getattr(torch, spec["precision"])
        self._mean, self._std = (torch.tensor(spec["preprocessing"][name], device=device) for name in ("mean", "std"))
        self._photos: torch.Tensor | None = None
        self._decode: PixelsOnDevice | None = None
        if spec.get("decode") == "device":
            from photorank.extractors.on_device import PixelsOnDevice

            self._decode = PixelsOnDevice(prepare.preprocess, device)

    def __call__(self, prepared: Sequence[Prepared]) -> torch.Tensor:
        """A batch of n photos, prepared by `Resized` → (n, D) float32 on the CPU, NaN where a JPEG is damaged.

        ConfigError for want of memory.
        """
        if self._at_once == 1:
            return self._embed(prepared, "a photo", "take a smaller model, or another --device")
        fewer = f"take fewer at once, say --batch-size {self._at_once // 2}"
        return self._embed(prepared, f"a batch of {self._at_once} photos", fewer)

    def _embed(self, prepared: Sequence[Prepared], what: str, remedy: str) -> torch.Tensor:
        import torch

        with memory_for(what, self._device, remedy):
            photos, failed = self._decode(prepared) if self._decode else ([each for (each,) in prepared], [])
            starts = range(0, len(photos), self._at_once)
            vectors = torch.cat([self._run(photos[start : start + self._at_once]) for start in starts])
        if failed:
            vectors = vectors.clone()  # what inference made cannot be changed
            vectors[failed] = float("nan")
        return vectors

    def _run(self, photos: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """At most `at_once` photos, (H, W, 3) each → (n, D) float32 on the CPU."""
        import torch

        if self._photos is None:
            shape = (self._at_once, *photos[0].shape)
            # Pinned memory is copied to the device without a stop on the way.
            self._photos = torch.zeros(shape, dtype=torch.uint8, pin_memory=self._device.startswith("cuda"))
        np.stack(photos, out=self._photos.numpy()[: len(photos)])
        self._photos[len(photos) :] = 0
        with torch.inference_mode():
            batch = self._normalised(self._photos.to(self._device, non_blocking=True))
            return self._network(batch)[: len(photos)].float().cpu()

    def _normalised(self, photos: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 → (N, 3, H, W) of the network's precision, channels last: the quicker layout on CPUs and
        on tensor cores. By the operations of torchvision's ToTensor and Normalize, in their order; on whole rows, as
        three values at a time take four times as long."""
        width = photos.shape[2]
        mean, std = self._mean.repeat(width), self._std.repeat(width)
        rows = photos.flatten(2).float().div_(255).sub_(mean).div_(std).to(self._dtype)
        return rows.view(photos.shape).permute(0, 3, 1, 2)
