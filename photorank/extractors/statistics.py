"""The weightless statistics of the `iqa` extractor: what can be read off a photo's pixels without a trained network.

They look at pixels only, in three ways: at full resolution (small photos whole, large ones in tiles on the grid of
their JPEG blocks), at every n-th pixel of the whole photo (tones, colours), and at the whole photo at about 256 pixels.
Most are logarithms of ratios between neighbouring scales, so they say how a photo was treated more than what it shows.
Gradient, Laplacian and diagonal are mean absolute differences in grey levels: first, second, and mixed second.
"""

from __future__ import annotations

import math

import numpy as np

from photorank.extractors import _planes as planes
from photorank.extractors._planes import COEFFICIENT, Bytes, Floats, Planes, Values
from photorank.extractors._tones import tones

VERSION: int = 1
"""Part of the spec: raised when any value changes for any photo."""

MEANING: dict[str, str] = {
    # Tone and colour. Luma is Rec. 601 on sRGB values.
    "luma_p05": "5th percentile of luma, 0 to 1",
    "luma_p50": "median luma, 0 to 1",
    "luma_p95": "95th percentile of luma, 0 to 1",
    "contrast": "log of the RMS contrast, luma's standard deviation over 255; -4.6 to -0.7",
    "entropy": "Shannon entropy of luma's 256 levels, 0 to 8 bits",
    "clipped_dark": "square root of the share of pixels with a channel at 0; 0 to 1",
    "clipped_bright": "square root of the share of pixels with a channel at 255; 0 to 1",
    "peak": "99.9th percentile of the brightest channel, 0 to 1",
    "top_level": "the highest level of any channel, 0 to 1",
    "spike_dark": "log of level 0 over the mean of levels 2-15, mean of the channels; a cut-off tail of tones; -8 to 9",
    "spike_bright": "log of level 255 over the mean of levels 240-253, the same at the other end; -8 to 9",
    "comb": "log deviation of the tone histogram from its four neighbours' mean, raised by stretched tones; -4 to 0.5",
    "gaps": "square root of the share of histogram levels left empty between filled ones; 0 to 1",
    "colourfulness": "log(1 + M) of Hasler and Süsstrunk 2003, M = sigma(rg, yb) + 0.3 |mu(rg, yb)|; 0 to 5.5",
    "saturation": "chroma range (max - min) over max, both summed over the photo; 0 to 1",
    "screen_gradient": "log gradient of the photo at screen size, -3 to 5",
    "screen_detail": "log ratio of Laplacian to gradient at screen size, -3 to 1",
    # Sharpness.
    "sharpness": "log mean square of the Laplacian at half size (Pech-Pacheco 2000: its variance), -4.6 to 13",
    "fine_gradient": "log ratio of the gradient at full to half size, -2 to 2",
    "coarse_gradient": "log ratio of the gradient at half to quarter size, -2 to 2",
    "fine_laplacian": "log ratio of the Laplacian at full to half size, -3 to 2",
    "fine_diagonal": "log ratio of the diagonal at full to half size, -3 to 2",
    "bend_laplacian": "fine_laplacian less the same one scale coarser: low where the finest is missing; -3 to 3",
    "bend_diagonal": "the same of the diagonal, -3 to 3",
    "detail": "log ratio of Laplacian to gradient at full size, -1.5 to 1",
    "detail_half": "the same at half size, -2 to 1",
    "third_order": "log ratio of third to second differences, -0.5 to 1",
    "crisp": "log ratio of Laplacian to gradient of differences of 2 levels and more only; -5.5 to 1",
    "crisp_half": "the same at half size of differences of 1 level and more, -4.5 to 1",
    "edge_median": "median over cells of log Laplacian to gradient, -2.5 to 1",
    "edge_p90": "90th percentile over cells of the same: the crispest places, where focus may lie; -2.5 to 1",
    "edge_strongest": "the same ratio in the tenth of the cells with most gradient; -2.5 to 1",
    "focus_spread": "log ratio of the gradient's 90th percentile to its median over cells: depth of field; 0 to 8",
    "sparsity": "log ratio of RMS to mean gradient: few strong edges or an even grain; -0.5 to 2",
    "axis_aligned": "log share of gradients within 1:16 of an axis among those within 1:4: a level photo; -4 to 0",
    # Noise.
    "noise": "log standard deviation of Immerkaer 1996, -3 to 5",
    "noise_flat": "log diagonal in the flattest tenth of the cells, -3 to 5",
    "noise_share": "log ratio of that to the diagonal of the 90th percentile: grain against texture; -8 to 0",
    "noise_whiteness": "log ratio of Immerkaer's response to the diagonal: high if grain is independent; -1 to 1.5",
    # JPEG. `_grid`: less the same on a grid moved by (4, 4), so 0 where no grid was left; ±5.
    # Bands of cosine coefficients (u, v) by u + v: mid 4-6, high 7-9, top 10-14.
    "blockiness": "log ratio of steps across the 8 × 8 grid to those inside (Wang, Sheikh and Bovik 2002), -2 to 3",
    "blockiness_any": "log ratio of the largest to the middling of the eight phases: a grid moved by a crop; 0 to 3",
    "zeros_top": "log odds of cosine coefficients below one grey level in the top band, ±4.6",
    "zeros_top_grid": "the same, less on the moved grid",
    "zeros_high_grid": "the same of the high band",
    "energy_top": "log mean size of the top band's coefficients, -4 to 4",
    "energy_top_grid": "the same, less on the moved grid",
    "step_top": "log mean size of those that are not zero: near the quantisation step; 0 to 5",
    "step_top_grid": "the same, less on the moved grid",
    "step_high_grid": "the same of the high band",
    # Chroma (R - Y and B - Y together); block statistics at half size, as JPEG mostly stores it.
    "chroma_gradient": "log ratio of chroma's gradient at full to half size, -2 to 2",
    "chroma_diagonal": "log ratio of chroma's diagonal at full to half size, -3 to 2",
    "chroma_to_luma": "log ratio of chroma's to luma's diagonal: coloured noise; -4 to 2",
    "chroma_zeros_mid_grid": "zeros_top_grid of chroma's mid band",
    "chroma_energy_mid_grid": "energy_top_grid of chroma's mid band",
    "chroma_energy_high_grid": "energy_top_grid of chroma's high band",
    "chroma_step_top": "step_top of chroma",
    "chroma_step_high_grid": "step_top_grid of chroma's high band",
}
"""What each statistic is, with its unit and usual range, in the vector's order."""

STATISTICS: tuple[str, ...] = tuple(MEANING)

_TONED = 200_000  # pixels that clipping is counted in
_BAND = np.add.outer(np.arange(8), np.arange(8))
_BANDS = {"mid": (_BAND >= 4) & (_BAND <= 6), "high": (_BAND >= 7) & (_BAND <= 9), "top": _BAND >= 10}


def statistics(rgb: Bytes) -> Floats:
    """The `STATISTICS` of an (H, W, 3) sRGB photo of any size, in that order: finite, and each time the same."""
    short = [max(0, planes.CELL - side) for side in rgb.shape[:2]]
    if any(short):
        rgb = np.pad(rgb, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
    every = math.isqrt((rgb.shape[0] * rgb.shape[1] - 1) // _TONED) + 1
    sampled = [np.ascontiguousarray(rgb[::every, ::every, i]) for i in range(3)]
    whole = sampled if every == 1 else [rgb[..., i] for i in range(3)]
    red, green, blue = (planes.tiles(plane) for plane in whole)
    luma = planes.luma(red, green, blue)
    chroma = np.concatenate([(plane.astype(np.int16) << 3) - luma for plane in (red, blue)])
    values = tones(*sampled)
    diagonal = _details(luma, values)
    _blocks(luma, values, "", ("high", "top"))
    _chroma(chroma, diagonal, values)
    return np.array([values[name] for name in STATISTICS], np.float32)


def _details(luma: Planes, values: Values) -> float:
    """Sharpness and noise; returns the diagonal at full size."""
    gradients, laplacians, diagonals = [], [], []
    size = luma
    for scale in range(3):
        dx, dy = planes.step(size, 2), planes.step(size, 1)
        dxx, dyy, dxy = planes.step(dx, 2, 2), planes.step(dy, 1, 2), planes.step(dx, 1)
        if scale == 0:
            third = planes.mean(np.abs(planes.step(dxx, 2, 3)), 0, 3) + planes.mean(
                np.abs(planes.step(dyy, 1, 3)), 3, 0
            )
            fourth = planes.mean(np.abs(planes.step(planes.step(dxy, 1, 2), 2, 2)), 2, 2)
        if scale == 1:
            values["sharpness"] = math.log(planes.mean_square(dxx[:, 1:-1, :-2] + dyy[:, :-2, 1:-1]) + 0.01)
        for difference in (dx, dy, dxx, dyy, dxy):
            np.abs(difference, out=difference)
        gradients.append(planes.mean(dx, 0, 1) + planes.mean(dy, 1, 0))
        laplacians.append(planes.mean(dxx, 0, 2) + planes.mean(dyy, 2, 0))
        diagonals.append(planes.mean(dxy, 1, 1))
        if scale == 0:
            values["sparsity"] = planes.log_ratio(
                math.sqrt(planes.mean_square(dx) + planes.mean_square(dy)), gradients[0]
            )
            values["crisp"] = _crisp(dx, dy, dxx, dyy, 4)
            _over_cells(dx + dy, dxx + dyy, dxy, values)
            _blockiness(dx, dy, values)
        if scale == 1:
            values["crisp_half"] = _crisp(dx, dy, dxx, dyy, 3)
            values["axis_aligned"] = _axis_aligned(dx, dy)
        size = planes.half(size)
    # Half a grey level as the floor: less is the rounding to 8 bits, whose steps look sharp in smooth places.
    for name, figures in (("gradient", gradients), ("laplacian", laplacians), ("diagonal", diagonals)):
        fine, coarse = planes.log_ratio(figures[0], figures[1], 0.5), planes.log_ratio(figures[1], figures[2], 0.5)
        values[f"fine_{name}"], values[f"coarse_{name}"], values[f"bend_{name}"] = fine, coarse, fine - coarse
    values["detail"] = planes.log_ratio(laplacians[0], gradients[0], 0.5)
    values["detail_half"] = planes.log_ratio(laplacians[1], gradients[1], 0.25)
    values["third_order"] = planes.log_ratio(third, laplacians[0], 0.5)
    values["noise"] = math.log(fourth * math.sqrt(math.pi / 2) / 6 + 0.05)
    values["noise_whiteness"] = planes.log_ratio(fourth, diagonals[0], 1.0)
    return diagonals[0]


def _crisp(dx: Planes, dy: Planes, dxx: Planes, dyy: Planes, bits: int) -> float:
    """Differences below the 2**bits are dropped, and with them grain and the steps of rounding."""
    gradient, laplacian = (
        (planes.mean(x >> bits) + planes.mean(y >> bits)) * (1 << bits) for x, y in ((dx, dy), (dxx, dyy))
    )
    return math.log((laplacian + 0.01) / (gradient + 0.1))


def _axis_aligned(dx: Planes, dy: Planes) -> float:
    larger, smaller = np.maximum(dx, dy), np.minimum(dx, dy)
    strong = larger > 8 * planes.LEVEL
    narrow, wide = (planes.mean(larger * (strong & (smaller < larger >> bits))) for bits in (4, 2))
    return planes.log_ratio(narrow, wide, 0.02)


def _over_cells(gradient: Planes, laplacian: Planes, diagonal: Planes, values: Values) -> None:
    g, l, d = (planes.cells(a) for a in (gradient, laplacian, diagonal))  # noqa: E741
    last, tenth = g.size - 1, (g.size + 9) // 10
    ratio = np.sort((l + 0.05) / (g + 0.05))
    values["edge_median"] = math.log(ratio[last // 2])
    values["edge_p90"] = math.log(ratio[last * 9 // 10])
    order = np.argsort(g, kind="stable")
    values["edge_strongest"] = planes.log_ratio(
        float(l[order[-tenth:]].sum()) / tenth, float(g[order[-tenth:]].sum()) / tenth
    )
    values["focus_spread"] = planes.log_ratio(float(g[order[last * 9 // 10]]), float(g[order[last // 2]]))
    d = np.sort(d)
    values["noise_flat"] = math.log(float(d[last // 10]) + 0.05)
    values["noise_share"] = planes.log_ratio(float(d[last // 10]), float(d[last * 9 // 10]))


def _blockiness(dx: Planes, dy: Planes, values: Values) -> None:
    phases = [planes.by_phase(dx, 2), planes.by_phase(dy, 1)]
    values["blockiness"] = sum(planes.log_ratio(p[7], sum(p[:7]) / 7) for p in phases) / 2
    values["blockiness_any"] = sum(planes.log_ratio(max(p), sorted(p)[3]) for p in phases) / 2


def _blocks(a: Planes, values: Values, prefix: str, bands: tuple[str, ...]) -> None:
    """Size, zeros and size of non-zeros of cosine coefficients on JPEG's grid, and less those of a moved grid."""
    moved = 4 if min(a.shape[1:]) > 8 else 0
    grids = [planes.cosines(a, shift) for shift in (0, moved)]
    for band in bands:
        found = []
        for sizes in grids:
            x = sizes[_BANDS[band]]
            other = x >= COEFFICIENT
            count = np.count_nonzero(other)
            energy = math.log(float(x.sum()) / (x.size * COEFFICIENT) + 0.02)
            zeros = planes.log_ratio(1 - count / x.size, count / x.size, 0.01)
            steps = math.log((float((x * other).sum()) / COEFFICIENT + 1) / (count + 1))
            found.append({"energy": energy, "zeros": zeros, "step": steps})
        for name, value in found[0].items():
            values[f"{prefix}{name}_{band}"] = value
            values[f"{prefix}{name}_{band}_grid"] = value - found[1][name]


def _chroma(chroma: Planes, luma_diagonal: float, values: Values) -> None:
    gradients, diagonals = [], []
    for size in (chroma, half := planes.half(chroma)):
        dx, dy = planes.step(size, 2), planes.step(size, 1)
        diagonals.append(planes.mean(np.abs(planes.step(dx, 1)), 1, 1) / 2)
        gradients.append((planes.mean(np.abs(dx), 0, 1) + planes.mean(np.abs(dy), 1, 0)) / 2)
    values["chroma_gradient"] = planes.log_ratio(gradients[0], gradients[1], 0.5)
    values["chroma_diagonal"] = planes.log_ratio(diagonals[0], diagonals[1], 0.5)
    values["chroma_to_luma"] = planes.log_ratio(diagonals[0], luma_diagonal, 0.5)
    _blocks(half, values, "chroma_", ("mid", "high", "top"))
