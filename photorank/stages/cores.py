"""How many processes are worth starting."""

from __future__ import annotations

import os


def cores() -> int:
    """Processor cores that this process may use, at least one: fewer than there are under `taskset` and in many
    containers."""
    if hasattr(os, "sched_getaffinity"):  # not on Windows and macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
