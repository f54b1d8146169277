"""Plots of a run and of an evaluation, as PNG files: the same figures give the same bytes with one matplotlib.

Colours are of Okabe and Ito's palette, which people with each kind of colour blindness can tell apart (Wong 2011,
"Color blindness"); no plot needs them to be read: lines differ in dashes and marks too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from photorank.metrics import Estimate
from photorank.reports.figures import Figures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _ORANGE, _GREEN, _PINK, _GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#767676"
_LINES = ((_BLUE, "-", "o"), (_ORANGE, "--", "s"), (_GREEN, "-.", "^"), (_PINK, ":", "D"))
_BARS: dict[str, Any] = {"color": _BLUE, "fmt": "o", "capsize": 4, "linewidth": 1.5, "label": "with 95 % interval"}


def reliability(table: Figures, out: Path) -> None:
    """How many people agree against how sure the ranker is (`figures.reliability`), with the comparisons of each bin.

    On the diagonal a ranker is as sure as it may be; below it boasts (DeGroot and Fienberg 1983).
    """
    said = [row["confidence"] for row in table.values()]
    heard = [row["people who agree"] for row in table.values()]
    with _saved(out, "How sure the ranker is, and how many people agree", [3, 1]) as (above, below):
        above.plot([50, 100], [50, 100], color=_GREY, linestyle="--", label="as sure as it may be")
        above.errorbar([100 * each.value for each in said], *_values(heard), **_BARS)
        above.set_ylabel("people who agree (%)")
        above.legend(loc="best")
        bars = below.bar([100 * each.value for each in said], [each.n for each in said], width=2.5, color=_GREY)
        below.bar_label(bars, [f"{each.n:,}" for each in said], fontsize=9)
        below.margins(y=0.3)
        below.set_ylabel("comparisons")
        below.set_xlabel("confidence of the ranker, max(P, 1 − P) (%)")
        below.set_xlim(48, 102)


def by_agreement(table: Figures, out: Path) -> None:
    """Accuracy by how many people agree (`figures.by_agreement`), with the comparisons of each bin."""
    told = {name: row["accuracy"] for name, row in table.items() if row["accuracy"].n}
    with _saved(out, "Accuracy by agreement of people") as (axes,):
        axes.errorbar(range(len(told)), *_values(list(told.values())), **_BARS)
        axes.axhline(50, color=_GREY, linestyle="--", label="chance")
        axes.set_xticks(range(len(told)), [f"{name}\n{each.n:,}" for name, each in told.items()])
        axes.margins(x=0.1)
        axes.set_xlabel("people on the side of the majority; comparisons")
        axes.set_ylabel("accuracy (%)")
        axes.legend(loc="best")


def coverage(table: Figures, out: Path) -> None:
    """Accuracy on the most certain comparisons (`figures.coverage_figures`), the others left undecided."""
    told = [row["accuracy"] for row in table.values()]
    shares = [float(name.split()[0]) for name in table]
    with _saved(out, "Accuracy where the least certain are left undecided") as (axes,):
        axes.errorbar(shares, *_values(told), **{**_BARS, "linestyle": "-"})
        axes.set_xticks(shares)
        axes.set_xlabel("most certain comparisons that are decided (%)")
        axes.set_ylabel("accuracy (%)")
        axes.legend(loc="best")


def learning_curves(epochs: Sequence[Mapping[str, float]], best_epoch: int, out: Path) -> None:
    """What a training's log says by epoch: losses, and below them accuracies if there are any; a dashed line where the
    weights that were kept are from."""
    names = {"train": "training comparisons, while they were learnt", "stop": "series held back for early stopping"}
    told = list(dict.fromkeys(name for row in epochs for name in row))
    shown = {kind: [name for name in told if name.endswith(f"_{kind}")] for kind in ("loss", "accuracy")}
    panels = {kind: each for kind, each in shown.items() if each}
    with _saved(out, "Learning curves", [1] * len(panels)) as figure:
        for axes, (kind, each) in zip(figure, panels.items(), strict=True):
            unit, factor = (" (%)", 100) if kind == "accuracy" else ("", 1)
            for name, (colour, line, mark) in zip(each, _LINES, strict=False):
                values = [factor * row.get(name, math.nan) for row in epochs]
                axes.plot(
                    [row["epoch"] for row in epochs], values, color=colour, linestyle=line, marker=mark, markersize=4,
                    label=names.get(name.removesuffix(f"_{kind}"), name.replace("_", " ")),
                )  # fmt: skip
            axes.axvline(best_epoch, color=_GREY, linestyle="--", label=f"kept: epoch {best_epoch}")
            axes.locator_params(axis="x", integer=True)
            axes.set_ylabel(f"{kind}{unit}")
        figure[0].legend(loc="best")
        figure[-1].set_xlabel("epoch")


def _values(estimates: Sequence[Estimate]) -> tuple[list[float], list[list[float]]]:
    """In percent: the values, and how far down and up the intervals go; 0 where one series has none."""
    down = [max(0.0, each.value - each.low) if each.groups > 1 else 0.0 for each in estimates]
    up = [max(0.0, each.high - each.value) if each.groups > 1 else 0.0 for each in estimates]
    return [100 * each.value for each in estimates], [[100 * each for each in side] for side in (down, up)]


@contextmanager
def _saved(out: Path, title: str, heights: Sequence[int] = (1,)) -> Iterator[tuple[Axes, ...]]:
    """The axes, one below the other, of a figure that is written to the file `out` at the end, whatever style the user
    has set."""
    # Not pyplot, which would look for a screen; here and not above, because it takes most of a second.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("font", size=11)
        matplotlib.rc("axes", grid=True, axisbelow=True)
        matplotlib.rc("grid", color="#dddddd")
        figure = Figure((7.2, 4.6 if len(heights) == 1 else 6.4), dpi=100, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        axes[0].set_title(title)
        yield tuple(axes)
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, metadata={"Software": None})
