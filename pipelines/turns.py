"""What is measured side by side: each side takes its turn in one process, the figure is the median of the ratios."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Side = Callable[[], float]
"""Does its work; the seconds that count."""


def seconds(work: Callable[[], Any]) -> float:
    """Wall seconds of some work."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_turns(sides: Mapping[str, Side], turns: int, warming: int = 0) -> dict[str, list[float]]:
    """The seconds of each side in each turn; the first `warming` turns are not counted."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warming + turns):
        now = {name: side() for name, side in sides.items()}
        print(", ".join(f"{name} {each:.1f} s" for name, each in now.items()), file=sys.stderr, flush=True)
        if turn >= warming:
            for name, each in now.items():
                taken[name].append(each)
    return taken


class Figures:
    """Collects and prints."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def ratio(self, what: str, over: Sequence[float], under: Sequence[float], bar: str, scale: float = 1) -> None:
        """`scale` times one side's seconds over another's, turn by turn."""
        ratios = [scale * a / b for a, b in zip(over, under, strict=True)]
        low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
        self.all.append({"what": what, "median": middle, "min": low, "max": high, "bar": bar})
        print(f"{what:72} {middle:7.3f} x  ({low:.3f}-{high:.3f})  bar {bar}", file=sys.stderr, flush=True)

    def note(self, what: str, value: float, unit: str, bar: str = "reported") -> None:
        self.all.append({"what": what, "value": value, "unit": unit, "bar": bar})
        print(f"{what:72} {value:7.2f} {unit}  bar {bar}", file=sys.stderr, flush=True)
