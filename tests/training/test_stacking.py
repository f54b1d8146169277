"""Heads trained together end where each ends alone, to the bit."""

import dataclasses

import numpy as np
import pytest
import torch

from photorank.comparisons import hold_out
from photorank.config import HeadConfig
from photorank.errors import ComparisonsError
from photorank.metrics import correct
from photorank.models.prediction import margins, margins_of
from photorank.training.calibration import best_temperature
from photorank.training.fusion import Plan, Trained, train_head, train_heads
from photorank.training.stacked_optimisers import Optimiser
from tests.planted import ROLES, planted

DATA = planted()


def config(**options: object) -> HeadConfig:
    small = {"projection_dim": 8, "mlp_hidden_dims": [8], "epochs": 25, "patience": 2, "batch_size": 80}
    return HeadConfig.model_validate({**small, "learning_rate": 0.02, **options})


def plan(seed: int, fold: int, **options: object) -> Plan:
    features, data = DATA
    rows = np.flatnonzero(data.series % 3 != fold)
    return Plan(config(seed=seed, **options), rows, tuple(features))


def together(plans: list[Plan]) -> list[Trained]:
    features, data = DATA
    return train_heads(features, ROLES, data, plans)


def all_margins(trained: Trained) -> np.ndarray:
    features, data = DATA
    return margins(trained.model, features, data.left, data.right)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.4, "weight_decay": 0.3, "weights": "votes"},
        {"optimiser": "sgd", "learning_rate": 0.05, "loss": "fidelity"},
        {"head": "difference", "loss": "hinge", "l2_normalise": True},
        {"loss": "margin_ranking", "min_agreement": 0.6, "min_votes": 3},
        {"loss": "listnet"},
        {"loss": "listmle"},
        {"precision": "float32"},
        {"precision": "bfloat16", "learning_rate": 0.01, "dropout": 0.0},
        {"precision": "bfloat16", "mlp_hidden_dims": [7, 3], "projection_dim": 5},
        {"precision": "float32", "mlp_hidden_dims": [7, 3], "projection_dim": 5},
    ],
    ids=str,
)
def test_a_member_of_a_stack_ends_where_it_ends_alone(options: dict[str, object]) -> None:
    plans = [plan(seed, fold, **options) for seed in (0, 1) for fold in (0, 1, 2)]
    stacked = together(plans)
    assert len({len(each.history.epochs) for each in stacked}) > 1, "members are to stop at different epochs"
    for number in (0, 4, 5):
        (alone,) = together([plans[number]])
        assert alone.history.best_epoch == stacked[number].history.best_epoch
        assert len(alone.history.epochs) == len(stacked[number].history.epochs)
        np.testing.assert_array_equal(all_margins(stacked[number]), all_margins(alone))
        assert all_margins(alone).std() > 0.1


@pytest.mark.parametrize("options", [{}, {"loss": "listmle"}, {"head": "difference"}], ids=str)
def test_the_log_says_how_often_each_member_is_right(options: dict[str, object]) -> None:
    features, data = DATA
    still = {"learning_rate": 1e-9, "dropout": 0.0, "epochs": 1, "stop_fraction": 0.3, "precision": "float32"}
    plans = [plan(seed, fold, **still, **options) for seed, fold in ((0, 0), (1, 1), (2, 1))]
    for each, trained in zip(plans, together(plans), strict=True):
        stopping = hold_out(data.series[each.rows], 0.3, each.config.seed + 1)
        (row,) = trained.history.epochs
        for what, rows in (("train", each.rows[~stopping]), ("stop", each.rows[stopping])):
            right = correct(margins_of(trained.model, features, data, rows), data.p_left[rows])
            assert row[f"{what}_accuracy"] == pytest.approx(np.nanmean(right), abs=1e-6)


@pytest.mark.parametrize("options", [{"min_agreement": 0.8}, {"min_votes": 12}], ids=str)
def test_filters_are_for_what_is_learnt_and_not_for_the_temperature(options: dict[str, object]) -> None:
    """A temperature that was found where people agree is wrong where they do not."""
    features, data = DATA
    each = plan(0, 0, stop_fraction=0.4, precision="float32", **options)
    (trained,) = together([each])
    held = each.rows[hold_out(data.group[each.rows], 0.4, 1)]
    logits = margins_of(trained.model, features, data, held) * float(trained.model.temperature)
    wanted = best_temperature(logits, data.p_left[held], data.group[held])
    assert float(trained.model.temperature) == pytest.approx(wanted, rel=1e-3)
    assert data.votes is not None
    agreed = np.maximum(data.p_left[held], 1 - data.p_left[held]) >= 0.8
    right = correct(logits, data.p_left[held])[agreed if "min_agreement" in options else data.votes[held] >= 12]
    told = trained.history.epochs[trained.history.best_epoch - 1]["stop_accuracy"]
    assert told == pytest.approx(np.nanmean(right), abs=1e-6)


def test_where_the_filters_leave_nothing_to_stop_by_all_of_the_slice_is_looked_at() -> None:
    features, data = planted()
    each = plan(0, 0, min_agreement=0.9)
    held = hold_out(data.group[each.rows], each.config.stop_fraction, 1)
    data.p_left[each.rows] = np.where(held, 0.6, np.where(data.p_left[each.rows] > 0.5, 0.95, 0.05))
    (trained,) = train_heads(features, ROLES, data, [each])
    assert "stop_loss" in trained.history.epochs[0]


def test_filters_that_leave_only_the_early_stopping_judgedleave_nothing_to_train_on() -> None:
    features, data = planted()
    each = plan(0, 0, min_agreement=0.9)
    held = hold_out(data.group[each.rows], each.config.stop_fraction, 1)
    data.p_left[each.rows] = np.where(held, 0.95, 0.6)
    with pytest.raises(ComparisonsError, match=r"none is left by min_agreement 0\.9"):
        train_heads(features, ROLES, data, [each])


def test_options_of_a_row_may_differ_within_a_stack() -> None:
    plans = [plan(0, 0, learning_rate=rate, dropout=dropout) for rate, dropout in ((1e-3, 0.0), (1e-2, 0.3))]
    for each, stacked in zip(plans, together(plans), strict=True):
        np.testing.assert_array_equal(all_margins(stacked), all_margins(together([each])[0]))


def test_optimisers_may_differ_within_a_stack() -> None:
    plans = [plan(0, 0, optimiser=kind, weight_decay=0.1) for kind in ("adamw", "sgd", "adamw")]
    for each, stacked in zip(plans, together(plans), strict=True):
        np.testing.assert_array_equal(all_margins(stacked), all_margins(together([each])[0]))
    adamw, sgd, _ = map(all_margins, together(plans))
    assert np.abs(adamw - sgd).max() > 0.1


def test_a_plan_that_cannot_be_trained_is_told_before_the_first_is() -> None:
    features, data = DATA
    told: list[int] = []
    plans = [plan(0, 0), plan(1, 0, mlp_hidden_dims=[], min_agreement=1.0)]
    with pytest.raises(ComparisonsError, match="none is left by min_agreement 1"):
        train_heads(features, ROLES, data, plans, lambda done, total: told.append(done))
    assert told == []


def test_a_member_that_diverges_ends_and_leaves_the_others_as_they_are() -> None:
    plans = [plan(0, 0), plan(0, 0, optimiser="sgd", learning_rate=1e30)]
    fine, diverged = together(plans)
    assert (fine.diverged, diverged.diverged) == (False, True)
    assert len(diverged.history.epochs) < 3
    np.testing.assert_array_equal(all_margins(fine), all_margins(together(plans[:1])[0]))


def test_plans_of_other_shapes_are_trained_beside_and_come_back_in_order() -> None:
    told: list[tuple[int, int]] = []
    features, data = DATA
    plans = [plan(0, 0), dataclasses.replace(plan(0, 0), spaces=("iqa",)), plan(1, 0), plan(0, 0, mlp_hidden_dims=[])]
    found = train_heads(features, ROLES, data, plans, lambda done, total: told.append((done, total)))
    assert [each.model.spaces for each in found] == [["clip", "iqa"], ["iqa"], ["clip", "iqa"], ["clip", "iqa"]]
    assert [len(each.model.mlp) for each in found] == [4, 4, 4, 1]
    assert told == [(2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_optimisers_are_pytorchs(kind: str) -> None:
    configs = [config(optimiser=kind, learning_rate=rate, weight_decay=0.1) for rate in (0.01, 0.1)]
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(2, 5, generator=generator), torch.randn(6, 2, 5, generator=generator)
    moving = [[True, True], [True, False], [False, True], [True, True], [True, False], [True, True]]
    values, ours = start.clone(), Optimiser(configs, 5)
    for gradient, rows in zip(gradients, moving, strict=True):
        ours.step(values, gradient, rows)
    for row, each in enumerate(configs):
        parameter = torch.nn.Parameter(start[row].clone())
        theirs = (
            torch.optim.SGD([parameter], each.learning_rate, each.momentum, weight_decay=0.1)
            if kind == "sgd"
            else torch.optim.AdamW([parameter], each.learning_rate, weight_decay=0.1)
        )
        for gradient, rows in zip(gradients, moving, strict=True):
            if rows[row]:
                parameter.grad = gradient[row].clone()
                theirs.step()
        torch.testing.assert_close(values[row], parameter.detach(), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("loss", ["bradley_terry", "margin_ranking", "hinge", "fidelity", "listnet", "listmle"])
def test_every_loss_learns_and_is_calibrated(loss: str) -> None:
    features, data = DATA
    trained = train_head(features, ROLES, data, config(loss=loss, epochs=40, patience=10, stop_fraction=0.2))
    rows = data.rows("val")
    found, p = margins_of(trained.model, features, data, rows), data.p_left[rows]
    right = ((found > 0) == (p > 0.5)).mean()
    assert right > 0.75
    cross_entropy = np.logaddexp(0, -found) * p + np.logaddexp(0, found) * (1 - p)
    assert cross_entropy.mean() < 0.62
    assert trained.model.temperature != 1
