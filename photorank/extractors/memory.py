"""Want of memory, which PyTorch and the libraries below it tell in many ways, in one sentence."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from photorank.errors import ConfigError

_OUT_OF_MEMORY = (
    "DefaultCPUAllocator", "bad_alloc", "out of memory", "could not create a memory object", "_STATUS_ALLOC_FAILED",
)  # fmt: skip
"""What is said where there is no class for it: by PyTorch on processors, by C++, by CUDA and on `mps`, by oneDNN, by
cuBLAS and cuDNN."""

_REMEDY = "end what else uses it, or take another --device"


def is_want_of_memory(error: BaseException) -> bool:
    """Whether this is what PyTorch, or a library below it, raises where memory is not to be had."""
    import torch

    said = str(error)
    # oneDNN has no memory for its code; of what it does not know it says "a primitive descriptor".
    no_code = said.strip().endswith("could not create a primitive")
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or no_code
        or any(each in said for each in _OUT_OF_MEMORY)
    )


@contextlib.contextmanager
def memory_for(what: str, device: str, remedy: str = _REMEDY) -> Iterator[None]:
    """Want of memory inside is a ConfigError: that of the device does not hold `what`, and the remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if is_want_of_memory(error):
            raise ConfigError(f"the memory of {device} does not hold {what}; {remedy}") from error
        raise
