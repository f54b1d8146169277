"""Devices, precisions and batches of one fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from photorank.errors import ConfigError
from photorank.extractors import Prepared, Resized

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


class Forward:
    """A network run on prepared photos, in batches of one fixed shape.

    The batch is padded to `batch_size`: kernels are chosen by shape, so with one shape a photo's vector does not depend
    on how many others came with it.
    """

    def __init__(
        self, network: Callable[[torch.Tensor], torch.Tensor], spec: Mapping[str, Any], prepare: Resized, device: str,
        batch_size: int,
    ) -> None:  # fmt: skip
        """`network`: (N, 3, H, W) of the spec's precision on the device → (N, D)."""
        import torch

        self._network, self._device, self._batch_size = network, device, batch_size
        self._dtype: torch.dtype = getattr(torch, spec["precision"])
        self._mean, self._std = (
            torch.tensor(spec["preprocessing"][name], device=device).view(1, 3, 1, 1) for name in ("mean", "std")
        )
        self._batch: torch.Tensor | None = None
        self._decode: PixelsOnDevice | None = None
        if spec.get("decode") == "device":
            from photorank.extractors.on_device import PixelsOnDevice

            self._decode = PixelsOnDevice(prepare.preprocess, device)

    def __call__(self, prepared: Sequence[Prepared]) -> torch.Tensor:
        """n <= batch_size photos, prepared by `Resized` → (n, D) float32 on the CPU, NaN where a JPEG is damaged.

        ConfigError for want of memory.
        """
        photos, failed = self._decode(prepared) if self._decode is not None else ([each for (each,) in prepared], [])
        vectors = self._embed(photos)
        if failed:
            vectors = vectors.clone()  # what inference made cannot be changed
            vectors[failed] = float("nan")
        return vectors

    def _embed(self, photos: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        import torch

        if self._batch is None:
            shape = (self._batch_size, *photos[0].shape)
            # Pinned memory is copied to the device without a stop on the way.
            self._batch = torch.zeros(shape, dtype=torch.uint8, pin_memory=self._device.startswith("cuda"))
        np.stack(photos, out=self._batch.numpy()[: len(photos)])
        self._batch[len(photos) :] = 0
        try:
            return self._run(self._batch)[: len(photos)].float().cpu()
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"the memory of {self._device} does not hold a batch of {self._batch_size} photos; take fewer at once, "
                f"say --batch-size {max(1, self._batch_size // 2)}"
            ) from error

    def _run(self, photos: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            # (N, H, W, 3) in memory is (N, 3, H, W) channels last: the quicker layout on CPUs and on tensor cores.
            batch = photos.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
            # The operations of torchvision's ToTensor and Normalize, in their order.
            batch = batch.float().div_(255).sub_(self._mean).div_(self._std).to(self._dtype)
            return self._network(batch)
