"""Devices, precisions and batches of one fixed shape."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError
from photorank.extractors import Begun, Prepared, Resized
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
    # A device is not built in (RuntimeError, AssertionError), or its module is not installed (ImportError).
    except (RuntimeError, AssertionError, ImportError) as error:
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
    """A network on a device, run on prepared photos, so many at once, always: see `photorank.extractors.Deferring`.

    The last ones of a batch are padded: kernels are chosen by shape, so with one shape a photo's vector does not depend
    on how many others came with it.
    """

    def __init__(
        self, network: Callable[[torch.Tensor], torch.Tensor], spec: Mapping[str, Any], prepare: Resized, device: str,
        at_once: int,
    ) -> None:  # fmt: skip
        """`network`: (at_once, 3, H, W) of the spec's precision on the device → (at_once, D)."""
        import torch

        self.device = device
        self._network, self._at_once = network, at_once
        self._dtype: torch.dtype = getattr(torch, spec["precision"])
        self._mean, self._std = (torch.tensor(spec["preprocessing"][name], device=device) for name in ("mean", "std"))
        # Pinned memory is copied to a CUDA device, and from it, while both sides go on with their work.
        self._pinned = device.startswith("cuda")
        self._decode: PixelsOnDevice | None = None
        if spec.get("decode") == "device":
            from photorank.extractors.on_device import PixelsOnDevice

            self._decode = PixelsOnDevice(prepare.preprocess, device)

    def embed(self, prepared: Sequence[Prepared]) -> NDArray[np.float32]:
        """A batch of n photos, prepared by `Resized` → (n, D) float32, NaN where a JPEG is damaged.

        ConfigError for want of memory.
        """
        return self.begin(prepared)()[0]

    def begin(self, prepared: Sequence[Prepared]) -> Begun:
        """The same, without waiting for a CUDA device."""
        import torch

        with self._memory(), torch.inference_mode():
            start = self._now()
            failed: list[int] = []
            if self._decode is not None:
                pixels, failed = self._decode(prepared)
                batches = [self._padded(pixels[at : at + self._at_once]) for at in self._starts(prepared)]
            else:
                photos = [photo for (photo,) in prepared]
                batches = [self._moved(photos[at : at + self._at_once]) for at in self._starts(prepared)]
            vectors = torch.cat([self._network(self._normalised(each)).float() for each in batches])[: len(prepared)]
            on_the_way = torch.empty(vectors.shape, pin_memory=self._pinned).copy_(vectors, non_blocking=self._pinned)
            end = self._now()

        def wait() -> tuple[NDArray[np.float32], float, float]:
            with self._memory():
                started, ended = start(), end()
            rows: NDArray[np.float32] = on_the_way.numpy()
            rows[failed] = np.nan
            return rows, started, ended

        return wait

    def _memory(self) -> contextlib.AbstractContextManager[None]:
        if self._at_once == 1:
            return memory_for("a photo", self.device, "take a smaller model, or another --device")
        fewer = f"take fewer at once, say --batch-size {self._at_once // 2}"
        return memory_for(f"a batch of {self._at_once} photos", self.device, fewer)

    def _now(self) -> Callable[[], float]:
        """When the device comes to this point, by `time.perf_counter`; to be asked for it, which waits until then."""
        now = time.perf_counter()
        return self._on_cuda.mark() if self._pinned else lambda: now

    @functools.cached_property
    def _on_cuda(self) -> _CudaClock:
        return _CudaClock(self.device)

    def _starts(self, prepared: Sequence[Prepared]) -> range:
        return range(0, len(prepared), self._at_once)

    def _moved(self, photos: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """At most `at_once` photos, (H, W, 3) each → (at_once, H, W, 3) uint8 on the device."""
        import torch

        # From PyTorch's own pool, which does not give pinned memory out again before what was copied of it is there.
        batch = torch.empty((self._at_once, *photos[0].shape), dtype=torch.uint8, pin_memory=self._pinned)
        np.stack(photos, out=batch.numpy()[: len(photos)])
        batch[len(photos) :] = 0
        return batch.to(self.device, non_blocking=self._pinned)

    def _padded(self, photos: torch.Tensor) -> torch.Tensor:
        import torch.nn.functional as functional

        return functional.pad(photos, (0, 0) * 3 + (0, self._at_once - len(photos)))

    def _normalised(self, photos: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 → (N, 3, H, W) of the network's precision, channels last: the quicker layout on CPUs and
        on tensor cores. By the operations of torchvision's ToTensor and Normalize, in their order; on whole rows, as
        three values at a time take four times as long."""
        width = photos.shape[2]
        mean, std = self._mean.repeat(width), self._std.repeat(width)
        rows = photos.flatten(2).float().div_(255).sub_(mean).div_(std).to(self._dtype)
        return rows.view(photos.shape).permute(0, 3, 1, 2)


class _CudaClock:
    """Tells when a CUDA device came to a point of its work, on this process's clock."""

    def __init__(self, device: str) -> None:
        import torch

        self._stream = torch.cuda.current_stream(device)
        self._stream.synchronize()
        self._zero, self._started = self._event(), time.perf_counter()

    def _event(self) -> torch.cuda.Event:
        import torch

        event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def mark(self) -> Callable[[], float]:
        """Marks the point that the device's work has come to; what is returned waits until it is there."""
        event = self._event()

        def reached() -> float:
            event.synchronize()
            milliseconds: float = self._zero.elapsed_time(event)
            return self._started + milliseconds / 1000

        return reached
