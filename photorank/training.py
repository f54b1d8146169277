"""Training a head on features held in memory."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from photorank.comparisons import Comparisons, hold_out
from photorank.config import HeadConfig
from photorank.models.fusion import MultiFeaturePairwiseRanker

log = logging.getLogger(__name__)


@dataclass
class History:
    """What happened in training: a row an epoch, and the epoch that was kept."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0


def train_head(
    features: Mapping[str, Tensor], roles: Mapping[str, str], comparisons: Comparisons, config: HeadConfig
) -> tuple[MultiFeaturePairwiseRanker, History]:
    """A head trained on the `train` split of `comparisons`, at the epoch that was best on the early-stopping slice.

    `features` holds a (N, dim) tensor a space, a row for each photo of `comparisons`. The slice is
    `config.stop_fraction` of the training series; the other splits are never looked at.
    """
    torch.manual_seed(config.seed)
    with _one_thread():
        return _train(features, roles, comparisons, config)


def _train(
    features: Mapping[str, Tensor], roles: Mapping[str, str], comparisons: Comparisons, config: HeadConfig
) -> tuple[MultiFeaturePairwiseRanker, History]:
    generator = np.random.default_rng(config.seed)
    train = comparisons.rows("train")
    stopping = hold_out(comparisons.series[train], config.stop_fraction, config.seed + 1)
    fit_rows, stop_rows = train[~stopping], train[stopping]
    model = build_head({space: values.shape[1] for space, values in features.items()}, roles, config)
    photos = torch.from_numpy(np.unique([comparisons.left[fit_rows], comparisons.right[fit_rows]]))
    model.fit_standardisation({space: values[photos] for space, values in features.items()})
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    history, best, kept = History(), float("inf"), copy.deepcopy(model.state_dict())
    for epoch in range(1, config.epochs + 1):
        losses = [
            _step(model, optimiser, features, comparisons, rows)
            for rows in _batches(comparisons, fit_rows, config, generator)
        ]
        row = {"epoch": float(epoch), "train_loss": float(np.mean(losses))}
        watched = row["train_loss"]
        if len(stop_rows):
            watched = row["stop_loss"] = float(evaluate_loss(model, features, comparisons, stop_rows))
        history.epochs.append(row)
        # Without a slice there is nothing to choose by: the last epoch is kept.
        if watched < best or not len(stop_rows):
            best, kept, history.best_epoch = watched, copy.deepcopy(model.state_dict()), epoch
        elif epoch - history.best_epoch >= config.patience:
            break
    model.load_state_dict(kept)
    return model.eval(), history


@contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch on one thread: the steps are too small for more to gain, and threads that wait for one another on a busy
    machine were measured to make training ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def build_head(dims: Mapping[str, int], roles: Mapping[str, str], config: HeadConfig) -> MultiFeaturePairwiseRanker:
    """An untrained head over spaces of these dimensions and roles."""
    return MultiFeaturePairwiseRanker(
        dims, roles, config.projection_dim, config.mlp_hidden_dims, config.dropout, config.activation, config.head,
        config.l2_normalise,
    )  # fmt: skip


@torch.inference_mode()
def evaluate_loss(
    model: MultiFeaturePairwiseRanker, features: Mapping[str, Tensor], comparisons: Comparisons, rows: NDArray[np.int64]
) -> Tensor:
    """Mean cross entropy (nats) against the soft labels of some comparisons."""
    model.eval()
    return _loss(model, features, comparisons, rows)


def _step(
    model: MultiFeaturePairwiseRanker, optimiser: torch.optim.Optimizer, features: Mapping[str, Tensor],
    comparisons: Comparisons, rows: NDArray[np.int64],
) -> float:  # fmt: skip
    model.train()
    optimiser.zero_grad(set_to_none=True)
    loss = _loss(model, features, comparisons, rows)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return float(loss.detach())


def _loss(
    model: MultiFeaturePairwiseRanker, features: Mapping[str, Tensor], comparisons: Comparisons, rows: NDArray[np.int64]
) -> Tensor:
    # Each photo goes through the network once, however many comparisons it is in.
    photos, at = np.unique(np.concatenate([comparisons.left[rows], comparisons.right[rows]]), return_inverse=True)
    index = torch.from_numpy(photos)
    left, right = torch.from_numpy(at).reshape(2, -1)
    margins = model.margins({space: values[index] for space, values in features.items()}, left, right)
    wanted = torch.from_numpy(comparisons.p_left[rows])
    return functional.binary_cross_entropy_with_logits(margins, wanted)


def _batches(
    comparisons: Comparisons, rows: NDArray[np.int64], config: HeadConfig, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Rows in batches of whole series, in random order, each of at least `batch_size` but for the last."""
    order = generator.permutation(len(comparisons.series_names))
    ranked = rows[np.argsort(order[comparisons.series[rows]], kind="stable")]
    ends = np.flatnonzero(np.diff(comparisons.series[ranked])) + 1
    start = 0
    for end in [*ends.tolist(), len(ranked)]:
        if end - start >= config.batch_size or end == len(ranked):
            yield ranked[start:end]
            start = end
