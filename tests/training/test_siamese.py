"""What a training on pixels is made of: batches of whole series, rates, frozen layers, averages, steps."""

import copy
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from photorank.comparisons import Comparisons
from photorank.config import E2eConfig
from photorank.models.siamese import SiameseCNNRanker
from photorank.training.siamese import Trainer
from photorank.training.siamese_batches import cut, epoch_batches, parts_of
from photorank.training.siamese_optimiser import Optimising, freeze, rate_factor, train_mode


def comparisons(sizes: list[int], seed: int = 0) -> Comparisons:
    """All pairs of series of these sizes, in a random order of rows."""
    rows, start = [], 0
    for series, size in enumerate(sizes):
        rows += [(start + i, start + j, series) for i in range(size) for j in range(i + 1, size)]
        start += size
    generator = np.random.default_rng(seed)
    left, right, series_of = generator.permutation(np.array(rows)).T
    keys = generator.integers(0, 256, (start, 32), np.uint8)
    p_left = generator.random(len(rows)).astype(np.float32)
    names = [str(each) for each in range(len(sizes))]
    return Comparisons(keys, left, right, p_left, series_of, names, np.full(len(rows), "train", dtype=object))


SIZES = st.lists(st.integers(2, 6), min_size=1, max_size=12)


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(2, 20), st.integers(0, 3))
def test_batches_hold_whole_series_and_every_comparison_once(sizes: list[int], most: int, epoch: int) -> None:
    data = comparisons(sizes)
    rows = np.arange(len(data))
    batches = epoch_batches(data, rows, most, seed=1, epoch=epoch)
    assert sorted(np.concatenate(batches).tolist()) == rows.tolist()
    held = [set(data.series[batch].tolist()) for batch in batches]
    assert sum(map(len, held)) == len(sizes), "a series is in two batches"
    for series in held:
        assert sum(sizes[each] for each in series) <= most or len(series) == 1


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(1, 4), st.booleans())
def test_parts_share_out_a_batch_whatever_their_number(sizes: list[int], count: int, flip: bool) -> None:
    data = comparisons(sizes)

    def seen(count: int) -> dict[frozenset[int], tuple[int, float, bool]]:
        found = {}
        for part in parts_of(data, np.arange(len(data)), count, flip, 0, 0, 0):
            assert len(set(part.photos.tolist())) == len(part.photos)
            if not part.filler:
                for left, right, p_left in zip(part.left, part.right, part.p_left, strict=True):
                    ends = int(part.photos[left]), int(part.photos[right])
                    assert part.mirrored[left] == part.mirrored[right], "one photo of two is mirrored"
                    assert (part.place[left] == part.place[right]).all(), "two photos are seen in two places"
                    found[frozenset(ends)] = ends[0], float(p_left), bool(part.mirrored[left])
        return found

    shared = seen(count)
    assert shared == seen(1)
    assert len(shared) == len(data)
    for left, right, p_left in zip(data.left.tolist(), data.right.tolist(), data.p_left.tolist(), strict=True):
        first, p_first, mirrored = shared[frozenset((left, right))]
        assert p_first == pytest.approx(p_left if first == left else 1 - p_left, abs=1e-6)
        assert flip or not mirrored


def test_series_that_share_photos_are_mirrored_and_seen_alike() -> None:
    data = comparisons([12])
    chain = replace(data, series=np.arange(len(data)), series_names=[str(each) for each in range(len(data))])
    seen = [parts_of(chain, np.arange(len(chain)), 3, True, 0, epoch, 0) for epoch in range(8)]
    for parts in seen:
        both = [each for part in parts for each in zip(part.mirrored.tolist(), map(tuple, part.place), strict=True)]
        assert len(set(both)) == 1
    assert {bool(parts[0].mirrored[0]) for parts in seen} == {True, False}


def test_orders_and_mirrors_are_drawn_about_half_of_the_time_and_anew_in_each_epoch() -> None:
    data = comparisons([3] * 200)
    rows = np.arange(len(data))
    first, second = (parts_of(data, rows, 1, True, 0, epoch, 0)[0] for epoch in (0, 1))
    assert 0.4 < first.mirrored.mean() < 0.6
    assert 0.4 < (first.photos[first.left] == data.left).mean() < 0.6
    assert (first.mirrored != second.mirrored).any()
    assert (first.left != second.left).any()


@given(st.integers(1, 9), st.integers(0, 8), st.integers(0, 2**16))
def test_windows_are_squares_of_the_photos_from_one_edge_to_the_other(window: int, margin: int, seed: int) -> None:
    size, generator = window + margin, np.random.default_rng(seed)
    photos = torch.from_numpy(generator.integers(0, 256, (3, size, size, 3), np.uint8)).permute(0, 3, 1, 2)
    place = np.array([[0, 0], [1, 1], generator.random(2)], np.float32)
    first, last, other = cut(photos, place, window)
    assert torch.equal(first, photos[0, :, :window, :window])
    assert torch.equal(last, photos[1, :, margin:, margin:])
    assert any(
        torch.equal(other, photos[2, :, top : top + window, left : left + window])
        for top in range(margin + 1)
        for left in range(margin + 1)
    )


def test_rates_warm_up_and_fall_as_the_schedule_says() -> None:
    constant = E2eConfig(schedule="constant", warmup_steps=4)
    assert [rate_factor(step, 0.0, constant) for step in (0, 1, 3, 9)] == [0.25, 0.5, 1, 1]
    cosine = E2eConfig(schedule="cosine", epochs=10)
    assert rate_factor(0, 0.0, cosine) == 1
    assert rate_factor(50, 5.0, cosine) == pytest.approx(0.5)
    assert rate_factor(99, 9.9, cosine) == pytest.approx(0.5 * (1 + math.cos(0.99 * math.pi)))
    step = E2eConfig(schedule="step", step_epochs=3, step_factor=0.5)
    assert [rate_factor(0, epochs, step) for epochs in (0.0, 2.9, 3.0, 6.5)] == [1, 1, 0.5, 0.25]


@pytest.mark.parametrize(
    ("what", "trains"),
    [("none", {"features", "classifier", "head"}), ("conv", {"classifier", "head"}), ("all", {"head"})],
)
def test_freezing_leaves_the_right_layers(what: str, trains: set[str]) -> None:
    with torch.device("meta"):
        model = SiameseCNNRanker("vgg16")
    freeze(model, E2eConfig(cnn_backbone="vgg16", freeze=what))
    parts = {
        name.split(".")[0 if name.startswith("head") else 2]
        for name, each in model.named_parameters()
        if each.requires_grad
    }
    assert parts == trains


def test_decay_is_apart_for_norms_and_biases() -> None:
    model = SiameseCNNRanker("test_resnet", (4,))
    optimising = Optimising(model, E2eConfig(weight_decay=0.1, norm_weight_decay=0.01))
    for group in optimising.optimiser.param_groups:
        assert {each.ndim > 1 for each in group["params"]} == {group["weight_decay"] == 0.1}
    held = sum(each.numel() for group in optimising.optimiser.param_groups for each in group["params"])
    assert held == sum(each.numel() for each in model.parameters())


def test_frozen_batch_norms_keep_their_means() -> None:
    model = SiameseCNNRanker("test_resnet")
    pixels, ends = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), (torch.tensor([0]), torch.tensor([1]))
    before = copy.deepcopy(model.state_dict())
    for config, moves in ((E2eConfig(freeze_batch_norm=True), False), (E2eConfig(), True)):
        train_mode(model, config)
        model(pixels, *ends)
        means = [name for name in before if name.endswith("running_mean")]
        assert any(not torch.equal(before[name], model.state_dict()[name]) for name in means) == moves


def test_the_moving_average_is_what_is_judged() -> None:
    torch.manual_seed(0)
    model = SiameseCNNRanker("test_resnet", (4,))
    optimising = Optimising(model, E2eConfig(optimiser="sgd", momentum=0.0, learning_rate=0.1, ema_decay=0.75))
    weight = model.head.mlp[0].weight
    values = [weight.detach().clone()]
    wanted = values[0].clone()
    for _ in range(3):
        weight.grad = torch.ones_like(weight)
        optimising.step(1.0)
        values.append(weight.detach().clone())
        wanted = 0.75 * wanted + 0.25 * values[-1]
    torch.testing.assert_close(values[3], values[0] - 3 * 0.1 * 10)
    with optimising.judging():
        torch.testing.assert_close(weight.detach(), wanted)
    torch.testing.assert_close(weight.detach(), values[3], rtol=0, atol=0)


@pytest.mark.parametrize("frozen", [False, True])
def test_the_moving_average_has_batch_norm_statistics_of_its_own(frozen: bool) -> None:
    data = comparisons([4, 2, 3, 5, 3])
    pixels = torch.randint(0, 256, (17, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    trainer, _ = trained(
        data, pixels, batch_photos=9, learning_rate=0.05, ema_decay=0.9, flip=False, freeze_batch_norm=frozen
    )
    live = copy.deepcopy(trainer.model.state_dict())
    expected = copy.deepcopy(trainer.model)
    expected.load_state_dict({**live, **trainer.weights()})
    if not frozen:
        batches = [np.concatenate([part.photos for part in trainer.parts(0, 0, rows)]) for rows in trainer.batches(0)]
        torch.optim.swa_utils.update_bn([pixels[torch.from_numpy(each)] for each in batches], expected.backbone)
    trainer.settle(Memory(pixels))
    for name, each in expected.state_dict().items():
        torch.testing.assert_close(trainer.weights()[name], each, msg=name)
    with torch.no_grad():
        wanted = expected.eval().backbone(pixels)
    torch.testing.assert_close(trainer.embed(Memory(pixels), np.arange(17)), wanted, rtol=1e-4, atol=1e-5)
    for name, each in trainer.model.state_dict().items():
        torch.testing.assert_close(each, live[name], rtol=0, atol=0, msg=name)
    assert {each.momentum for each in trainer.model.modules() if isinstance(each, nn.BatchNorm2d)} == {0.1}


def test_gradients_are_clipped_together() -> None:
    model = SiameseCNNRanker("test_resnet", ())
    optimising = Optimising(
        model, E2eConfig(optimiser="sgd", momentum=0.0, learning_rate=1.0, head_factor=1.0, clip_norm=0.5)
    )
    layer = model.head.mlp[0]
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.ones_like(layer.weight)
    assert float(optimising.norms()["head"]) == pytest.approx(math.sqrt(layer.weight.numel()))
    optimising.step(1.0)
    moved = (before - layer.weight.detach()).norm()
    assert float(moved) == pytest.approx(0.5, rel=1e-4)


def test_half_precision_moves_weights_by_less_than_it_can_hold() -> None:
    torch.manual_seed(0)
    model = SiameseCNNRanker("test_resnet", ())
    config = E2eConfig(precision="bfloat16", optimiser="sgd", momentum=0.0, learning_rate=1e-5)
    optimising = Optimising(model, config)
    weight = model.backbone.network.conv1[0].weight
    assert weight.dtype == torch.bfloat16
    name = "backbone.network.conv1.0.weight"
    before = optimising.weights[name].detach().clone()
    for _ in range(10):
        weight.grad = torch.ones_like(weight)
        optimising.step(1.0)
    moved = before - optimising.weights[name].detach()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-4), rtol=1e-2, atol=1e-6)
    assert torch.equal(weight.detach(), optimising.weights[name].detach().bfloat16())


class Memory:
    """Photos that are there."""

    waited = 0.0

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels

    def batches(self, order: Iterable[NDArray[np.int64]]) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
        for numbers in order:
            yield numbers, self.pixels[torch.from_numpy(numbers)]


def trained(data: Comparisons, pixels: Tensor, **options: Any) -> tuple[Trainer, list[float]]:
    """A trainer after two epochs, and the sum of losses of each."""
    torch.manual_seed(0)
    config = E2eConfig.model_validate(
        {"cnn_backbone": "test_resnet", "freeze_batch_norm": True, "optimiser": "sgd", **options}
    )
    trainer = Trainer(
        SiameseCNNRanker("test_resnet", (8,)), data, np.arange(len(data)), config, Accelerator(cpu=True)
    )  # fmt: skip
    photos, losses = Memory(pixels), []
    for epoch in range(2):
        trainer.sums.zero_()
        for batch, rows in enumerate(trainer.batches(epoch)):
            parts = trainer.parts(epoch, batch, rows)
            trainer.step(parts, (each for _, each in photos.batches(p.photos for p in parts)), len(rows), float(epoch))
        losses.append(float(trainer.sums[0]))
        assert trainer.sums[1] == len(data)
    return trainer, losses


def test_a_batch_in_parts_is_the_same_step() -> None:
    data = comparisons([4, 2, 3, 5, 3])
    pixels = torch.randint(0, 256, (17, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    whole, losses = trained(data, pixels, batch_photos=9, learning_rate=1e-3)
    parts, others = trained(data, pixels, batch_photos=9, learning_rate=1e-3, accumulate=3)
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    for name, each in whole.model.state_dict().items():
        torch.testing.assert_close(each, parts.model.state_dict()[name], rtol=1e-4, atol=1e-5, msg=name)


def test_a_filler_is_left_out_where_there_is_something_else_and_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    data = comparisons([4, 2])
    pixels = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    trainer, _ = trained(data, pixels, batch_photos=9, accumulate=4, freeze_batch_norm=False, momentum=0)
    seen = [each for name, each in trainer.model.state_dict().items() if name.endswith("num_batches_tracked")]
    assert {int(each) for each in seen} == {4}, "two series in each of two epochs"
    monkeypatch.setattr(Accelerator, "process_index", 3)
    monkeypatch.setattr(Accelerator, "num_processes", 4)
    (filler,) = trainer.parts(0, 0, np.arange(len(data)))
    assert filler.filler
    before = copy.deepcopy(trainer.model.state_dict())
    trainer.step([filler], iter([pixels[filler.photos]]), len(data), 0.0)
    assert all(torch.equal(each, before[name]) for name, each in trainer.model.state_dict().items())


def test_no_more_features_are_on_the_device_than_those_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    data = comparisons([4, 3, 4])
    pixels = torch.randint(0, 256, (11, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    trainer, _ = trained(data, pixels, batch_photos=4)
    whole = trainer.embed(Memory(pixels), np.arange(11))
    taken: list[int] = []

    def gather(features: Tensor) -> Tensor:
        taken.append(len(features))
        return torch.stack([features, features + 1]).flatten(0, 1)

    monkeypatch.setattr(trainer.accelerator, "gather", gather)
    monkeypatch.setattr(Accelerator, "num_processes", 2)  # the other one has the features of its photos
    found = trainer.embed(Memory(pixels), np.arange(11))
    assert taken == [2, 2, 2]
    torch.testing.assert_close(found[0::2], whole[0::2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[1::2], whole[0:10:2] + 1, rtol=1e-4, atol=1e-5)


def test_features_and_margins_are_those_of_the_model() -> None:
    data = comparisons([4, 3])
    pixels = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1))
    trainer, _ = trained(data, pixels, batch_photos=4)
    numbers = np.array([6, 0, 3])
    with torch.no_grad():
        wanted = trainer.model.eval().backbone(pixels)
    torch.testing.assert_close(trainer.embed(Memory(pixels), numbers), wanted[numbers], rtol=1e-4, atol=1e-5)
    judged = trainer.judge(Memory(pixels), np.arange(len(data)))
    with torch.no_grad():
        left, right = torch.from_numpy(data.left), torch.from_numpy(data.right)
        forth, back = (trainer.model(pixels, *ends) for ends in ((left, right), (right, left)))
        margin = ((forth[:, 0] - forth[:, 1]) - (back[:, 0] - back[:, 1])) / 2
        loss = nn.functional.binary_cross_entropy_with_logits(margin, torch.from_numpy(data.p_left))
    assert judged["loss"] == pytest.approx(float(loss), rel=1e-4)
    assert judged["accuracy"] == pytest.approx(float(((margin > 0).numpy() == (data.p_left > 0.5)).mean()))
