"""Training heads on features held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photorank.comparisons import Comparisons, hold_out
from photorank.config import HeadConfig
from photorank.errors import ComparisonsError, ConfigError
from photorank.extractors.device import best_precision
from photorank.models import prediction
from photorank.models.fusion import MultiFeaturePairwiseRanker
from photorank.training import stacking
from photorank.training.batches import by_series
from photorank.training.calibration import best_temperature
from photorank.training.losses import LISTWISE
from photorank.training.stacking import History as History

Ints = NDArray[np.int64]
_MEMBERS = 16
"""Heads trained at once, at most: their batches are to stay in the processor's cache."""


_PHOTOS = 512
"""Photos that are standardised at once."""
_NO_MEMORY = ("DefaultCPUAllocator", "bad_alloc", "could not create a")
"""What PyTorch, C++ and oneDNN say where memory is not to be had."""


@dataclass(frozen=True)
class Plan:
    """One training: how, and on which comparisons."""

    config: HeadConfig
    rows: Ints
    """Numbers of the comparisons, with the early-stopping slice."""
    spaces: tuple[str, ...]
    """The features that it sees, in this order."""


@dataclass(frozen=True)
class _Chosen:
    """What becomes of the comparisons of a plan (C,)."""

    fit: NDArray[np.bool_]
    """Those that are learnt from: the filters leave them, and the early-stopping slice has not got them."""
    slice: NDArray[np.bool_]
    """The slice that is kept back. No filter thins it out, or a temperature found where people agree would be wrong
    elsewhere."""
    stop: NDArray[np.bool_]
    """Those of the slice that early stopping looks at: what the filters leave, or all if that is nothing; none where
    the loss can tell nothing of them, and then the last epoch is kept. Margins that
    were learnt where people agree are too sure elsewhere until they are calibrated: the first epoch would look best."""
    weight: NDArray[np.float32]
    """1 on average over those that are learnt from."""


@dataclass(frozen=True)
class Trained:
    """A head, at the epoch that was best on the early-stopping slice."""

    model: MultiFeaturePairwiseRanker
    history: History

    @property
    def diverged(self) -> bool:
        """Whether a loss or what was learnt was no number: of no use, whatever epoch was kept."""
        return self.history.diverged or not all(each.isfinite().all() for each in self.model.parameters())


def train_head(
    features: Mapping[str, Tensor], roles: Mapping[str, str], comparisons: Comparisons, config: HeadConfig
) -> Trained:
    """A head trained on the `train` split of `comparisons`; the other splits are never looked at.

    `features` holds a (N, dim) tensor a space, a row for each photo of `comparisons`. Early stopping looks at
    `config.stop_fraction` of the training series.
    """
    (trained,) = train_heads(features, roles, comparisons, [Plan(config, comparisons.rows("train"), tuple(features))])
    return trained


def train_heads(
    features: Mapping[str, Tensor], roles: Mapping[str, str], comparisons: Comparisons, plans: Sequence[Plan],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Trained]:  # fmt: skip
    """A head for each plan, in their order; those of one shape and loss are trained together.

    Each ends where it would end alone, to the bit. `progress` is told how many are done, of how many.
    Raises ComparisonsError where there is nothing to train on or votes are missing, ConfigError for what does not fit
    together, before the first is trained, and where the memory does not hold a head.
    """
    chosen = [_chosen(comparisons, plan) for plan in plans]
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, plan in enumerate(plans):
        alike.setdefault(_shape(plan), []).append(number)
    found: dict[int, Trained] = {}
    parts = [numbers[at : at + _MEMBERS] for numbers in alike.values() for at in range(0, len(numbers), _MEMBERS)]
    for part in parts:
        with one_thread(), torch.random.fork_rng(devices=[]):
            stack = [(plans[each], chosen[each]) for each in part]
            with _in_memory(stack[0][0].config):
                found |= zip(part, _train(features, roles, comparisons, stack), strict=True)
        progress(len(found), len(plans))
    return [found[number] for number in range(len(plans))]


def build_head(dims: Mapping[str, int], roles: Mapping[str, str], config: HeadConfig) -> MultiFeaturePairwiseRanker:
    """An untrained head over spaces of these dimensions and roles."""
    return MultiFeaturePairwiseRanker(
        dims, roles, config.projection_dim, config.mlp_hidden_dims, config.dropout, config.activation, config.head,
        config.l2_normalise,
    )  # fmt: skip


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: the steps are too small for more to gain, and threads that wait for one
    another on a busy machine were measured to make training ten times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _in_memory(config: HeadConfig) -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(each in str(error) for each in _NO_MEMORY):
            raise
        raise ConfigError(
            f"the memory does not hold the training of a head of projection_dim {config.projection_dim} and "
            f"mlp_hidden_dims {list(config.mlp_hidden_dims)}; ask for smaller ones, or for a smaller batch_size"
        ) from error


def _shape(plan: Plan) -> tuple[object, ...]:
    """What members of one stack have in common."""
    config = plan.config
    return (plan.spaces, config.head, config.projection_dim, config.mlp_hidden_dims, config.activation, config.loss,
            config.margin, config.batch_size, config.precision)  # fmt: skip


def _train(
    features: Mapping[str, Tensor], roles: Mapping[str, str], comparisons: Comparisons,
    stack: Sequence[tuple[Plan, _Chosen]],
) -> list[Trained]:  # fmt: skip
    """The heads of one stack, their temperatures found."""
    seen = {space: features[space] for space in stack[0][0].spaces}
    standards: dict[tuple[bytes, bool], tuple[MultiFeaturePairwiseRanker, dict[str, Tensor]]] = {}
    members, slices = [], []
    for plan, chosen in stack:
        config, rows = plan.config, plan.rows
        torch.manual_seed(config.seed)
        model = build_head({space: values.shape[1] for space, values in seen.items()}, roles, config)
        same = rows.tobytes(), config.l2_normalise
        if same not in standards:
            photos = torch.from_numpy(np.unique([comparisons.left[rows], comparisons.right[rows]]))
            model.fit_standardisation({space: values[photos] for space, values in seen.items()})
            standards[same] = model, _standardised(model, seen, config)
        model.load_state_dict(dict(standards[same][0].named_buffers()), strict=False)
        fit, stop = (
            by_series(comparisons, rows[part], chosen.weight[part], config.loss in LISTWISE)
            for part in (chosen.fit, chosen.stop)
        )
        members.append(stacking.Member(model, config, standards[same][1], fit, stop))
        slices.append(rows[chosen.slice])
    stacking.train(members)
    for member, rows in zip(members, slices, strict=True):
        margins = prediction.margins_of(member.model, seen, comparisons, rows)
        member.model.temperature.fill_(best_temperature(margins, comparisons.p_left[rows], comparisons.group[rows]))
    return [Trained(member.model, member.history) for member in members]


def _chosen(comparisons: Comparisons, plan: Plan) -> _Chosen:
    """ConfigError, ComparisonsError where the plan cannot be trained."""
    config, rows = plan.config, plan.rows
    if config.loss in LISTWISE and config.head != "score":
        raise ConfigError(
            f"loss: {config.loss} orders a series by scores, which `head: difference` has not; say head: score"
        )
    if comparisons.votes is None and (config.weights == "votes" or config.min_votes):
        option = "weights: votes" if config.weights == "votes" else "min_votes"
        raise ComparisonsError(
            f"the comparisons have no column 'votes', which {option} needs; add it, or leave that out"
        )
    # Rounded, for a .7 that was stored in four bytes to be .7.
    p_left = comparisons.p_left[rows].astype(np.float64).round(6)
    kept = np.maximum(p_left, 1 - p_left).round(6) >= config.min_agreement
    votes = comparisons.votes[rows] if comparisons.votes is not None else np.ones(len(rows), np.float32)
    if config.min_votes:
        kept &= votes >= config.min_votes
    back = hold_out(comparisons.group[rows], config.stop_fraction, config.seed + 1)
    fit, stop = kept & ~back, kept & back
    weight = votes if config.weights == "votes" else np.ones(len(rows), np.float32)
    if not weight[back].any():  # or early stopping would take the first epoch for the best
        weight = np.where(back, np.float32(1), weight)
    if not weight[fit].sum():
        raise ComparisonsError(
            f"of {len(rows):,} comparisons to train on none is left by min_agreement {config.min_agreement:g}, "
            f"min_votes {config.min_votes} and weights: {config.weights}; ask for less"
        )
    # Of what weighs nothing, and of ties to a loss that passes over them, every epoch is as good.
    tells = (weight > 0) & ((p_left != 0.5) | (config.loss != "margin_ranking"))
    stop = (stop if (stop & tells).any() else back) & tells
    return _Chosen(fit, back, stop, weight / weight[fit].mean())


def _standardised(
    model: MultiFeaturePairwiseRanker, features: Mapping[str, Tensor], config: HeadConfig
) -> dict[str, Tensor]:
    """What `model.fuse` takes of all photos, visual spaces in the precision that they are projected in."""
    precision = best_precision("cpu") if config.precision == "auto" else config.precision
    found = {
        space: torch.empty(values.shape, dtype=getattr(torch, precision) if space in model.visual else torch.float32)
        for space, values in features.items()
    }
    for at in range(0, len(next(iter(features.values()))), _PHOTOS):
        part = slice(at, at + _PHOTOS)
        for space, values in model.standardise({space: values[part] for space, values in features.items()}).items():
            found[space][part] = values
    return found
