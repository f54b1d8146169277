"""Small features with a utility planted in them, and comparisons of it: in memory, and as a store and a file."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from photorank.comparisons import Comparisons
from photorank.store import FeatureStore, FileRow

ROLES = {"clip": "visual", "iqa": "statistic"}


def planted(series: int = 90, seed: int = 0) -> tuple[dict[str, torch.Tensor], Comparisons]:
    """Series of two to five photos under a scene that is far larger than what people see in them."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(2, 6, series)
    of = np.repeat(np.arange(series), sizes)
    utility = generator.normal(size=len(of))
    scene = generator.normal(size=(series, 8))[of]
    seen = (utility + 0.4 * generator.normal(size=len(of)))[:, None]
    clip = scene @ generator.normal(size=(8, 24)) + seen * generator.normal(size=24) * 0.3
    iqa = generator.normal(size=(len(of), 5)) + seen * [1, 0, 0, -1, 0]
    pairs = [(i, j) for s in range(series) for i in np.flatnonzero(of == s) for j in np.flatnonzero(of == s) if i < j]
    left, right = np.array(pairs).T
    p_left = 1 / (1 + np.exp(utility[right] - utility[left]))
    keys = generator.integers(0, 256, (len(of), 32)).astype(np.uint8)
    votes = generator.integers(1, 20, len(left)).astype(np.float32)
    split = np.where(of[left] % 5 == 0, "val", "train").astype(object)
    data = Comparisons(keys, left, right, p_left.astype(np.float32), of[left].astype(np.int64),
                       [str(s) for s in range(series)], split, votes)  # fmt: skip
    features = {"clip": clip.astype(np.float16), "iqa": iqa.astype(np.float32)}
    return {name: torch.from_numpy(values) for name, values in features.items()}, data


def planted_files(folder: Path) -> Path:
    """`S`, a store with the features, and `c.csv`, the comparisons, of which some are in the split val; the folder."""
    features, data = planted()
    store = FeatureStore.create(folder / "S")
    names = [f"{number:04d}.jpg" for number in range(len(data.keys))]
    store.add_files([
        FileRow(os.fsencode(folder / name), 1000, 1, key.tobytes(), None, None)
        for name, key in zip(names, data.keys, strict=True)
    ])  # fmt: skip
    for name, values in features.items():
        spec = {"kind": "imported", "description": name}
        dtype = str(values.numpy().dtype)
        space = store.create_space(name, spec, dim=values.shape[1], dtype=dtype, role=ROLES[name])
        space.append(data.keys, values.numpy())
    table = pd.DataFrame({
        "series": data.series, "left": [names[at] for at in data.left], "right": [names[at] for at in data.right],
        "p_left": data.p_left, "votes": data.votes, "split": data.split,
    })  # fmt: skip
    table.to_csv(folder / "c.csv", index=False)
    return folder
