"""The statistics of tones and colours, and those of the photo at screen size."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from photorank.extractors import _planes as planes
from photorank.extractors._planes import Bytes, Planes, Values

_COUNTED = 65_536  # pixels that histograms are made of
_SCREEN = 256  # the long side of the small photo is at most this

Counts = npt.NDArray[np.intp]


def tones(r: Bytes, g: Bytes, b: Bytes) -> Values:
    """Those of three (H, W) planes, uint8: every n-th pixel of the photo. By their names in `MEANING`."""
    luma = planes.luma(r, g, b)[None]
    high, low = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    bright, dark = int(high.sum(dtype=np.uint32)), int(low.sum(dtype=np.uint32))
    values = {
        "clipped_dark": math.sqrt(np.count_nonzero(low == 0) / low.size),
        "clipped_bright": math.sqrt(np.count_nonzero(high == 255) / high.size),
        "top_level": int(high.max()) / 255,
        "saturation": (bright - dark) / max(1, bright),
    }
    _screen(luma, values)
    thin = 2 if high.size > _COUNTED else 1
    channels = [np.ascontiguousarray(plane[::thin, ::thin]) for plane in (r, g, b)]
    grey = (luma[0, ::thin, ::thin] >> 3).astype(np.uint8)
    _histogram(np.bincount(grey.ravel(), minlength=256), values)
    _ends_and_combs(np.stack([np.bincount(plane.ravel(), minlength=256) for plane in channels]), values)
    _colours(channels, values)
    return values


def _screen(luma: Planes, values: Values) -> None:
    small = planes.shrunk(luma, -(-max(luma.shape) // _SCREEN))
    if min(small.shape[1:]) < 3:  # a photo of extreme shape has no screen size to speak of
        small = np.zeros((1, 3, 3), np.int16)
    dx, dy = planes.step(small, 2), planes.step(small, 1)
    gradient = planes.mean(np.abs(dx), 0, 1) + planes.mean(np.abs(dy), 1, 0)
    laplacian = planes.mean(np.abs(planes.step(dx, 2, 2)), 0, 2) + planes.mean(np.abs(planes.step(dy, 1, 2)), 2, 0)
    values["screen_gradient"] = math.log(gradient + 0.05)
    values["screen_detail"] = math.log((laplacian + 0.02) / (gradient + 0.2))


def _histogram(counts: Counts, values: Values) -> None:
    n, level = int(counts.sum()), np.arange(256)
    below = np.cumsum(counts)
    for name, share in (("luma_p05", 0.05), ("luma_p50", 0.5), ("luma_p95", 0.95)):
        values[name] = int(np.searchsorted(below, share * n)) / 255
    total, squares = int((counts * level).sum()), int((counts * level * level).sum())
    values["contrast"] = 0.5 * math.log((squares * n - total * total) / (n * 255) ** 2 + 1e-4)
    shares = counts[counts > 0] / n
    values["entropy"] = abs(float((shares * np.log2(shares)).sum()))


def _ends_and_combs(counts: Counts, values: Values) -> None:
    """`counts`: a histogram a channel."""
    n = int(counts[0].sum())
    values["peak"] = max(int(np.searchsorted(np.cumsum(channel), 0.999 * n)) for channel in counts) / 255
    few = 1e-4 * n
    for name, end, beside in (("spike_dark", 0, slice(2, 16)), ("spike_bright", 255, slice(240, 254))):
        values[name] = sum(math.log((int(c[end]) + few) / (float(c[beside].mean()) + few)) for c in counts) / len(
            counts
        )
    inner = counts[:, 4:252].astype(np.float64)
    level, around = inner[:, 2:-2], inner[:, :-4] + inner[:, 1:-3] + inner[:, 3:-1] + inner[:, 4:]
    used = level + around > 20
    rough = float((np.abs(level - around / 4) * used).sum()) / (float(((level + around) / 5 * used).sum()) + 1)
    values["comb"] = math.log(rough + 0.02)
    empty = (used & (level < around / 20)).sum(axis=1) / np.maximum(used.sum(axis=1), 1)
    values["gaps"] = math.sqrt(float(empty.mean()))


def _colours(channels: list[Bytes], values: Values) -> None:
    r, g, b = (plane.astype(np.int32) for plane in channels)
    means, variances = [], []
    for opponent, scale in ((r - g, 1), (r + g - 2 * b, 2)):
        n, total, squares = (
            opponent.size,
            int(opponent.sum(dtype=np.int64)),
            int(np.square(opponent).sum(dtype=np.int64)),
        )
        means.append(total / n / scale)
        variances.append((squares * n - total * total) / (n * scale) ** 2)
    values["colourfulness"] = math.log1p(math.sqrt(sum(variances)) + 0.3 * math.hypot(*means))
