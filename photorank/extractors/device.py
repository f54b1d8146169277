"""Devices, precisions and batches of one fixed shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from photorank.errors import ConfigError

if TYPE_CHECKING:
    import torch


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


def best_precision(device: str) -> str:
    """The precision that suits a device: half on an accelerator, bfloat16 where the processor computes in it."""
    import torch

    if not device.startswith("cpu"):
        return "float16"
    # Without instructions for it bfloat16 is emulated, and slower than float32.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bfloat16" if any(getattr(torch.cpu, probe, bool)() for probe in probes) else "float32"


def forward_in_fixed_batches(
    forward: Callable[[torch.Tensor], torch.Tensor],
    prepared: Sequence[torch.Tensor],
    batch_size: int,
    device: str,
    dtype: torch.dtype,
    memory_format: torch.memory_format | None = None,
) -> torch.Tensor:
    """`forward` of photos (n of (3, H, W) float32, n <= batch_size) → (n, D) float32 on the CPU.

    The batch is padded with zeros to `batch_size`: kernels are chosen by shape, so with one shape a photo's vector does
    not depend on how many others came with it.
    """
    import torch

    batch = torch.zeros(batch_size, *prepared[0].shape)
    torch.stack(list(prepared), out=batch[: len(prepared)])
    batch = batch.to(device, dtype)
    if memory_format is not None:
        batch = batch.contiguous(memory_format=memory_format)
    with torch.inference_mode():
        return forward(batch)[: len(prepared)].float().cpu()
