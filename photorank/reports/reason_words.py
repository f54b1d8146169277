"""What a change of the statistics is called: families of them, and each family's words and numbers.

Statistics of one family move together (a blur lowers a dozen), so a family speaks once, for the sum of what its
members cost. It says the change of the member that changed most, of those that have words for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Change = Mapping[str, tuple[float, float]]
"""Statistic → its value in the pick, and in the frame."""


@dataclass(frozen=True)
class Shown:
    """How the change of one statistic is told."""

    statistic: str
    lower: str
    """Words for a frame that has less of it than the pick; empty where less is not worse."""
    higher: str
    amount: Callable[[float, float], float]
    """Pick's and frame's value → the change, 1 being 100 % or all pixels; below zero where the frame has less."""
    least: float
    """The smallest change that is worth telling."""
    text: str
    """What stands in brackets: `{change}` is the amount, `{share}` that of the frame's pixels, and of the pick's where
    it has one worth telling."""


def _times(power: float) -> Callable[[float, float], float]:
    """The relative change of what the statistic is the logarithm of, to some power."""
    return lambda pick, frame: math.expm1(min(power * (frame - pick), 5.0))


def _relative(pick: float, frame: float) -> float:
    return (frame + 0.01) / (pick + 0.01) - 1


def _share(pick: float, frame: float) -> float:
    """Of statistics that are the square root of a share of pixels."""
    return frame**2 - pick**2


SOFTER, DARKER, BRIGHTER = "softer than the pick", "darker than the pick", "brighter than the pick"
COMPRESSED, NOISIER = "more compressed than the pick", "noisier than the pick"

_SHOWN: dict[str, tuple[Shown, ...]] = {
    "sharpness": (
        Shown("sharpness", SOFTER, "", _times(0.5), 0.03, "sharpness {change}"),
        Shown("detail", SOFTER, "", _times(1), 0.03, "finest detail {change}"),
    ),
    "exposure": (
        Shown("luma_p50", DARKER, BRIGHTER, _relative, 0.08, "median brightness {change}"),
        Shown("clipped_bright", "", "highlights clipped", _share, 0.01, "{share}"),
        Shown("clipped_dark", "", "shadows clipped", _share, 0.01, "{share}"),
        Shown("contrast", "flatter than the pick", "harsher than the pick", _times(1), 0.15, "contrast {change}"),
    ),
    "compression": (
        Shown("blockiness", "", COMPRESSED, _times(1), 0.02, "block edges {change}"),
        Shown("blockiness_any", "", COMPRESSED, _times(1), 0.02, "block edges {change}"),
        Shown("step_high_grid", "", COMPRESSED, _times(1), 0.02, "fine detail rounded off"),
        Shown("zeros_high_grid", "", COMPRESSED, _times(1), 0.05, "fine detail rounded off"),
    ),
    "noise": (
        Shown("noise", "", NOISIER, _times(1), 0.05, "noise {change}"),
        Shown("noise_flat", "", NOISIER, _times(1), 0.05, "noise in smooth places {change}"),
    ),
    "colour": (
        Shown("colourfulness", "duller colours than the pick", "stronger colours than the pick", _times(1), 0.05,
              "colourfulness {change}"),
    ),
    "structure": (
        Shown("axis_aligned", "less level than the pick", "", _times(1), 0.05, "edges along the axes {change}"),
    ),
}  # fmt: skip

_MEMBERS: dict[str, tuple[str, ...]] = {
    "sharpness": (
        "screen_gradient", "screen_detail", "sharpness", "fine_gradient", "coarse_gradient", "fine_laplacian",
        "fine_diagonal", "bend_laplacian", "bend_diagonal", "detail", "detail_half", "third_order", "crisp",
        "crisp_half", "edge_median", "edge_p90", "edge_strongest", "chroma_gradient", "chroma_diagonal",
        "zeros_top", "energy_top", "step_top", "chroma_step_top",
    ),
    "exposure": (
        "luma_p05", "luma_p50", "luma_p95", "contrast", "entropy", "clipped_dark", "clipped_bright", "peak",
        "top_level", "spike_dark", "spike_bright", "comb", "gaps",
    ),
    "compression": (
        "blockiness", "blockiness_any", "zeros_top_grid", "zeros_high_grid", "energy_top_grid", "step_top_grid",
        "step_high_grid", "chroma_zeros_mid_grid", "chroma_energy_mid_grid", "chroma_energy_high_grid",
        "chroma_step_high_grid",
    ),
    "noise": ("noise", "noise_flat", "noise_share", "noise_whiteness", "chroma_to_luma"),
    "colour": ("colourfulness", "saturation"),
    "structure": ("focus_spread", "sparsity", "axis_aligned"),
}  # fmt: skip
FAMILIES: tuple[str, ...] = tuple(_MEMBERS)
FAMILY_OF: dict[str, str] = {name: family for family, members in _MEMBERS.items() for name in members}
"""Statistic → its family; every statistic has one."""


def words(label: str, change: Change) -> str:
    """What a family, a metric or a whole space cost a frame, in words; `change` holds the statistics and metrics."""
    if label not in _SHOWN:
        if label not in change:
            return f"{label}: less like what was preferred"
        pick, frame = change[label]
        return f"{label} {frame:.3g}, the pick's {pick:.3g}"
    steps = {shown: shown.amount(*change[shown.statistic]) / shown.least for shown in _SHOWN[label]}
    worse = [shown for shown, step in steps.items() if abs(step) >= 1 and (shown.lower if step < 0 else shown.higher)]
    if not worse:  # the head counts against it what has no words for being worse: say no more than that it differs
        told = max(steps, key=lambda shown: abs(steps[shown]))
        told_apart = "{change}" in told.text and abs(told.amount(*change[told.statistic])) >= 0.005
        return f"differs in {label}" + (f" ({_number(told, change)})" if told_apart else "")
    told = max(worse, key=lambda shown: abs(steps[shown]))
    return f"{told.lower if steps[told] < 0 else told.higher} ({_number(told, change)})"


def _number(shown: Shown, change: Change) -> str:
    pick, frame = change[shown.statistic]
    percent = 100 * shown.amount(pick, frame)
    share = f"{100 * frame**2:.0f} % of pixels"
    if round(pick**2, 9) >= shown.least:
        share += f", the pick {100 * pick**2:.0f} %"
    return shown.text.format(change=f"{percent:+.0f} %".replace("-", "−"), share=share)
