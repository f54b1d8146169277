"""fit-head: stored features and comparisons in, a run folder with a trained head out."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from photorank import metrics
from photorank.comparisons import Comparisons, read_comparisons, resolve
from photorank.config import HeadConfig
from photorank.errors import ComparisonsError, ConfigError, StoreError
from photorank.extractors import Feature
from photorank.models import prediction
from photorank.reports.figures import main_figures
from photorank.runs import new_run, refuse_existing, save_head
from photorank.stages import crossing
from photorank.stages.baselines import baselines
from photorank.stages.run_folder import write_extras
from photorank.stages.training_report import TrainingReport, counts, split_figures
from photorank.store import FeatureStore, Space
from photorank.training.fusion import train_heads


@dataclass(frozen=True, kw_only=True)
class HeadReport(TrainingReport):
    """What one training of a head gave."""

    spaces: list[str]
    """`name@fingerprint`."""
    repeated: dict[str, dict[str, metrics.Estimate]]
    """What several trainings were reported on → figure → mean over them, with its interval over series."""
    warnings: list[str]


def fit_head(
    store: Path, comparisons: Path, config: HeadConfig, out: Path, photos: Path | None = None, folds: int = 0,
    seeds: int = 1,
) -> HeadReport:  # fmt: skip
    """Train a head on the `train` split and report it on the others; writes the run `out`.

    With `seeds` it is trained again from the next seeds, and with `folds` in so many parts of train and val, by series:
    all together, to report each figure as a mean with an interval. The run is that of `config.seed` on `train`.

    Raises ComparisonsError, StoreError and ConfigError for what does not fit together, ConfigError where a training
    diverges, RunError where `out` exists or cannot be written.
    """
    started = time.monotonic()
    refuse_existing(out)
    opened = FeatureStore.open(store)
    spaces = choose_spaces(opened, config.features)
    data = load_comparisons(opened, comparisons, photos, config)
    tensors = load_features(opened, spaces, data.keys)
    names = tuple(tensors)
    parts = {"val": crossing.split_parts(data)}
    if folds:
        parts[f"train and val, {folds} folds by series"] = crossing.fold_parts(data, folds)
    held_out = {what: sum(len(each.held_out) for each in part) for what, part in parts.items()}
    plans = {what: crossing.plans(config, names, part, seeds if held_out[what] else 1) for what, part in parts.items()}
    roles = {space.name: space.role for space in spaces}
    found = train_heads(tensors, roles, data, list(chain(*plans.values())))
    if any(each.diverged for each in found):
        raise ConfigError("the training diverged (its loss is no number); ask for a smaller learning_rate")
    trained = iter(found)
    heads = {what: list(islice(trained, len(each))) for what, each in plans.items()}
    model, history = heads["val"][0].model, heads["val"][0].history
    margins = prediction.margins(model, tensors, data.left, data.right)
    figures, log_loss = split_figures("head", margins, data, baselines(opened, data.keys))
    repeated = {
        (what if seeds == 1 else f"{what}, mean of {seeds} seeds"): crossing.pooled_figures(
            data, *crossing.held_out_margins(heads[what], tensors, names, data, part), main_figures
        )
        for what, part in parts.items()
        if (folds and what != "val") or (seeds > 1 and held_out[what])
    }
    report = HeadReport(
        run=str(out),
        spaces=[f"{space.name}@{space.fingerprint}" for space in spaces],
        comparisons=counts(data),
        photos=len(data.keys),
        epochs=len(history.epochs),
        best_epoch=history.best_epoch,
        figures=figures,
        log_loss=log_loss,
        repeated=repeated,
        warnings=_nothing_held_out(data, folds, seeds),
        seconds=time.monotonic() - started,
    )
    with new_run(out) as folder:
        features = [feature_of(space) for space in spaces]
        summary = {key: value for key, value in asdict(report).items() if key not in ("run", "seconds", "warnings")}
        save_head(folder, model, features, config, history, summary, predictions_of(data, margins))
        write_extras(folder, comparisons, config)
    return report


def _nothing_held_out(data: Comparisons, folds: int, seeds: int) -> list[str]:
    """What is to be known where there is no split to report."""
    found, remedy = [], "say with --folds how many to make, or give some series the split 'val'"
    if not folds and len(data.rows("train")) == len(data.split):
        found.append(f"nothing was held out, so how good the head is on other photos is not known; {remedy}")
    if seeds > 1 and not len(data.rows("val")):
        on_val = " on train alone" if folds else ""
        found.append(f"trained{on_val} from one seed instead of {seeds}: there is no split 'val' to report means on")
    return found


def choose_spaces(store: FeatureStore, wanted: Sequence[str]) -> list[Space]:
    """The spaces named, or all of the store but the likeness (which says nothing of a photo's worth); StoreError where
    one is missing or a name is ambiguous."""
    spaces = (
        [store.space(ref) for ref in wanted]
        if wanted
        else [space for space in store.spaces() if len(space) and space.spec.get("kind") != "likeness"]
    )
    if not spaces:
        raise StoreError(f"{store.path} holds no features yet; run `photorank extract` first")
    identities = [(space.name, space.fingerprint) for space in spaces]
    if again := [name for number, (name, _) in enumerate(identities) if identities[number] in identities[:number]]:
        raise ConfigError(f"features has {again[0]} twice; say it once")
    names = [space.name for space in spaces]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        which = ", ".join(f"{space.name}@{space.fingerprint}" for space in spaces if space.name in twice)
        raise ConfigError(f"the store has several spaces of one name ({which}); say with --set features=[...] which")
    return spaces


def load_comparisons(store: FeatureStore, path: Path, photos: Path | None, config: HeadConfig) -> Comparisons:
    """The comparisons with their photos resolved to keys; there must be some to train on."""
    known = keys_by_path(store)
    data = resolve(path, read_comparisons(path), photos, known.get, config.val_fraction, config.seed)
    if not len(data.rows("train")):
        raise ComparisonsError(f"{path} has no comparisons in the split 'train'; there is nothing to learn from")
    return data


def keys_by_path(store: FeatureStore) -> dict[bytes, bytes]:
    """Path → key, of all that the store has seen."""
    table = store.files()
    return dict(zip(table["path"].to_pylist(), table["key"].to_pylist(), strict=True))


def load_features(
    store: FeatureStore, spaces: Sequence[Space], keys: NDArray[np.uint8],
    remedy: str = "extract them, or leave the space out",
) -> dict[str, Tensor]:  # fmt: skip
    """A (N, dim) tensor a space, a row a key; StoreError that names a photo without a vector, and the remedy."""
    for space in spaces:
        absent = np.flatnonzero(space.missing(keys))
        if len(absent):
            more = f" and {len(absent) - 1} more photos" if len(absent) > 1 else ""
            raise StoreError(
                f"{space.name}@{space.fingerprint} has no vector of {_name(store, keys[absent[0]].tobytes())}{more}; "
                f"{remedy}"
            )
    return {space.name: torch.from_numpy(space.load(keys, verify=True)[1]) for space in spaces}


def feature_of(space: Space) -> Feature:
    """The feature that a space of a store holds, so that it can be computed again for other photos."""
    role = cast(Literal["visual", "statistic"], space.role)
    dtype = cast(Literal["float16", "float32"], space.dtype.name)
    return Feature(space.name, dict(space.spec), role, dtype, space.provenance.get("weights"))


def _name(store: FeatureStore, key: bytes) -> str:
    paths = [path for path, other in keys_by_path(store).items() if other == key]
    return os.fsdecode(paths[0]) if paths else f"the key {key.hex()}"


def predictions_of(data: Comparisons, margins: NDArray[np.float64]) -> pd.DataFrame:
    """The table `predictions.parquet` of a run, of all of its comparisons."""
    hexes = np.array([key.tobytes().hex() for key in data.keys])
    columns: dict[str, Any] = {
        "split": data.split,
        "series": np.array(data.series_names, dtype=object)[data.series],
        "left": hexes[data.left],
        "right": hexes[data.right],
        "p_left": data.p_left,
        "margin": margins.astype(np.float32),
    }
    return pd.DataFrame(columns)
