"""The degradation benchmark: 27 ways to make a photo worse, by name.

A blur, a JPEG, an exposure and a crop, each in several strengths. Whoever ranks photos must at least know that the
original is better. What is left of a crop is stretched to the original's size (bicubic), or its size would tell.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from PIL import Image

from photorank.errors import ConfigError
from photorank.stages.frames import Pixels, blur, expose, recompress


def crop(pixels: Pixels, left: float, top: float, right: float, bottom: float) -> Pixels:
    """What is between these shares of the width and the height, stretched to the photo's size."""
    height, width = pixels.shape[:2]
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    return _stretch(pixels[box[1] : box[3], box[0] : box[2]], width, height)


def without_middle(pixels: Pixels, kept: float) -> Pixels:
    """The left and the right, joined: of the width the share `kept` without the strip in the middle; stretched."""
    height, width = pixels.shape[:2]
    side = round(kept * width / 2)
    return _stretch(np.concatenate([pixels[:, :side], pixels[:, width - side :]], axis=1), width, height)


def _stretch(pixels: Pixels, width: int, height: int) -> Pixels:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def _crops() -> dict[str, Callable[[Pixels], Pixels]]:
    found: dict[str, Callable[[Pixels], Pixels]] = {}
    for cut in (20, 30):
        rest = 1 - cut / 100
        found[f"crop-edge-right-{cut}"] = partial(crop, left=0, top=0, right=rest, bottom=1)
        found[f"crop-edge-bottom-{cut}"] = partial(crop, left=0, top=0, right=1, bottom=rest)
    for percent in (70, 60):
        kept = percent / 100
        found[f"crop-corner-top-left-{percent}"] = partial(crop, left=0, top=0, right=kept, bottom=kept)
        found[f"crop-corner-bottom-right-{percent}"] = partial(crop, left=1 - kept, top=1 - kept, right=1, bottom=1)
    for percent in (60, 50):
        low, high = 0.5 - percent / 200, 0.5 + percent / 200
        found[f"crop-aspect-tall-{percent}"] = partial(crop, left=low, top=0, right=high, bottom=1)
        found[f"crop-aspect-wide-{percent}"] = partial(crop, left=0, top=low, right=1, bottom=high)
    return found | {f"crop-middle-{percent}": partial(without_middle, kept=percent / 100) for percent in (70, 60)}


VARIANTS: dict[str, Callable[[Pixels], Pixels]] = {
    **{f"blur-{sigma}": partial(blur, sigma=sigma) for sigma in (1, 2, 4, 8)},
    **{f"jpeg-{quality}": partial(recompress, quality=quality) for quality in (80, 60, 40, 20, 10)},
    **{f"exposure-minus-{stops}": partial(expose, stops=-stops) for stops in (2, 1)},
    **{f"exposure-plus-{stops}": partial(expose, stops=stops) for stops in (1, 2)},
    **_crops(),
}
"""Name → what makes a photo (height, width, 3) worse; the size stays."""


def choose(names: Sequence[str]) -> list[str]:
    """The variants with these names, or whose names begin with one of these and a dash (`crop`, `crop-edge`), in the
    order of `VARIANTS`; all of them where none is named. ConfigError for a name of nothing."""
    for name in names:
        if not any(_is_in(variant, name) for variant in VARIANTS):
            groups = sorted({variant.split("-")[0] for variant in VARIANTS})
            near = difflib.get_close_matches(name, [*groups, *VARIANTS], n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ConfigError(
                f"there is no variant {name!r}; {hint}They are {', '.join(VARIANTS)}, and together {', '.join(groups)}"
            )
    return [variant for variant in VARIANTS if not names or any(_is_in(variant, name) for name in names)]


def _is_in(variant: str, name: str) -> bool:
    return variant == name or variant.startswith(f"{name}-")
