"""Photos and pairlists of PhotoTriage's layout, made: series of one scene, whose frames are blurred and badly exposed.

How much worse a frame is is its utility, and the preferences are those of Bradley and Terry for these utilities.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from photorank.stages.frames import blur, expose

SERIES = {"train": 60, "val": 20}
SIZES = ((2, 3, 4, 5), (0.6, 0.25, 0.1, 0.05))
"""Photos of a series, and how often."""
WIDTH, HEIGHT = 192, 144


def make_phototriage(root: Path) -> Path:
    """Write `root`, always the same: `train_pairlist.txt`, `val_pairlist.txt` and `train_val_imgs/`. Gives it back."""
    images = root / "train_val_imgs"
    images.mkdir(parents=True, exist_ok=True)
    drawn, number = np.random.default_rng(0), 0
    for split, count in SERIES.items():
        rows = []
        for _ in range(count):
            number += 1
            size = int(drawn.choice(SIZES[0], p=SIZES[1]))
            sigmas, stops = drawn.uniform(0, 3, size), drawn.uniform(-1.5, 1.5, size)
            utility = -1.2 * sigmas - 1.5 * np.abs(stops)
            picture = scene(drawn)
            for at in range(size):
                left, top = drawn.integers(0, 9, 2)
                frame = picture[top : top + HEIGHT, left : left + WIDTH]
                worse = expose(blur(frame, float(sigmas[at])), stops[at])
                Image.fromarray(worse).save(images / f"{number:06d}-{at + 1:02d}.JPG", quality=92)
            rank = np.argsort(np.argsort(-utility)) + 1
            for a, b in combinations(range(size), 2):
                p = float(np.clip(1 / (1 + np.exp(utility[b] - utility[a])), 0.01, 0.99))
                rows.append(f"{number} {a + 1} {b + 1} {p:.3f} {rank[a]} {rank[b]}")
        (root / f"{split}_pairlist.txt").write_text("\n".join(rows) + "\n")
    return root


def scene(drawn: np.random.Generator) -> np.ndarray:
    """(HEIGHT + 8, WIDTH + 8, 3) uint8: blocks, a gradient and grain."""
    size = (WIDTH + 8, HEIGHT + 8)
    blocks = Image.fromarray(drawn.integers(40, 216, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.NEAREST)
    smooth = Image.fromarray(drawn.integers(40, 216, (3, 4, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    grain = Image.fromarray(drawn.integers(64, 192, (*size[::-1], 3), np.uint8)).filter(ImageFilter.GaussianBlur(0.7))
    return np.asarray(Image.blend(Image.blend(blocks, smooth, 0.4), grain, 0.3))
