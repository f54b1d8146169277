"""The Siamese ranker: against networks written out here, and the laws that it is to keep."""

import copy
import socket
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
import torchvision
from torch import Tensor, nn

from photorank.config import E2eConfig
from photorank.errors import ConfigError
from photorank.models.siamese import PairHead, SiameseCNNRanker, to_precision
from photorank.training.siamese_optimiser import Optimising

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


class Bottleneck(nn.Module):
    """He, Zhang, Ren, Sun 2015, figure 5, with the stride in the 3×3 convolution."""

    def __init__(self, wide: int, narrow: int, stride: int) -> None:
        super().__init__()
        self.reduce, self.reduce_norm = nn.Conv2d(wide, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
        self.middle = nn.Conv2d(narrow, narrow, 3, stride, padding=1, bias=False)
        self.middle_norm = nn.BatchNorm2d(narrow)
        self.expand, self.expand_norm = nn.Conv2d(narrow, 4 * narrow, 1, bias=False), nn.BatchNorm2d(4 * narrow)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or wide != 4 * narrow:
            self.short = nn.Sequential(nn.Conv2d(wide, 4 * narrow, 1, stride, bias=False), nn.BatchNorm2d(4 * narrow))

    def forward(self, maps: Tensor) -> Tensor:
        inner = torch.relu(self.reduce_norm(self.reduce(maps)))
        inner = torch.relu(self.middle_norm(self.middle(inner)))
        return torch.relu(self.expand_norm(self.expand(inner)) + self.short(maps))


class ReferenceSiamese(nn.Module):
    """ResNet50 twice, the difference of its features, one fully connected layer to two logits."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)
        blocks, wide = [], 64
        for narrow, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for number in range(count):
                blocks.append(Bottleneck(wide, narrow, stride if number == 0 else 1))
                wide = 4 * narrow
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(2048, 2)

    def features(self, pixels: Tensor) -> Tensor:
        maps = functional.max_pool2d(torch.relu(self.stem_norm(self.stem(pixels))), 3, 2, padding=1)
        return self.blocks(maps).mean((2, 3))

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.fc(self.features(left) - self.features(right))

    def groups(self, rate: float) -> list[tuple[float, list[Tensor]]]:
        backbone = [each for name, each in self.named_parameters() if not name.startswith("fc")]
        return [(rate, backbone), (10 * rate, list(self.fc.parameters()))]


def photos(count: int, size: int, seed: int = 0) -> Tensor:
    """(count, 3, size, size) uint8 noise."""
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.manual_seed(seed))


def normalised(pixels: Tensor) -> Tensor:
    return (pixels / 255 - MEAN) / STD


def loss_of(logits: Tensor, p_left: Tensor) -> Tensor:
    """Cross entropy, written out."""
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    return -(p_left * log_p[:, 0] + (1 - p_left) * log_p[:, 1]).sum()


def assert_close(found: Tensor | None, wanted: Tensor | None, name: str) -> None:
    assert found is not None and wanted is not None, name
    error = (found.detach() - wanted.detach()).abs().max()
    assert float(error) < 1e-5 * float(wanted.detach().abs().max()), name


@pytest.fixture(scope="module")
def pair_of_resnets() -> tuple[SiameseCNNRanker, ReferenceSiamese]:
    """Ours and the reference with the same weights, which have seen a batch so that their batch norms fit."""
    torch.manual_seed(0)
    reference, ours = ReferenceSiamese(), SiameseCNNRanker("resnet50", (), use_paper_preprocessing=False)
    with torch.no_grad():
        for _ in range(4):
            reference.train().features(normalised(photos(4, 64, seed=9)))
    # The order of the layers is that of the network; only shortcuts are declared elsewhere.
    names = [name for name in ours.backbone.network.state_dict() if "downsample" not in name]
    values = [
        each for name, each in reference.state_dict().items() if "short" not in name and not name.startswith("fc")
    ]
    short = [name for name in ours.backbone.network.state_dict() if "downsample" in name]
    shorts = [each for name, each in reference.state_dict().items() if "short" in name]
    state = dict(zip(names + short, values + shorts, strict=True))
    ours.backbone.network.load_state_dict(state)
    ours.head.mlp[0].load_state_dict(reference.fc.state_dict())
    return ours.eval(), reference.eval()


def test_resnet50_has_the_logits_and_gradients_of_the_written_out_network(
    pair_of_resnets: tuple[SiameseCNNRanker, ReferenceSiamese],
) -> None:
    ours, reference = pair_of_resnets
    pixels, p_left = photos(4, 64), torch.tensor([0.9, 0.2])
    left, right = torch.tensor([0, 2]), torch.tensor([1, 3])
    wanted = reference(normalised(pixels[left]), normalised(pixels[right]))
    found = ours(pixels, left, right)
    assert_close(found, wanted, "logits")
    loss_of(wanted, p_left).backward()
    functional.cross_entropy(found, torch.stack([p_left, 1 - p_left], 1), reduction="sum").backward()
    assert_close(ours.head.mlp[0].weight.grad, reference.fc.weight.grad, "fc")
    network = ours.backbone.network
    assert_close(network.conv1.weight.grad, reference.stem.weight.grad, "stem")
    ours_blocks = [
        block for layer in (network.layer1, network.layer2, network.layer3, network.layer4) for block in layer
    ]
    for number, (mine, theirs) in enumerate(zip(ours_blocks, reference.blocks, strict=True)):
        for a, b in (("conv1", "reduce"), ("conv2", "middle"), ("conv3", "expand"), ("bn3", "expand_norm")):
            assert_close(getattr(mine, a).weight.grad, getattr(theirs, b).weight.grad, f"block {number} {a}")


def test_the_learning_rates_are_those_of_the_reference(
    pair_of_resnets: tuple[SiameseCNNRanker, ReferenceSiamese],
) -> None:
    ours, reference = pair_of_resnets
    optimising = Optimising(ours, E2eConfig(learning_rate=1e-5, head_factor=10))
    optimising.step(1.0)
    counts: dict[float, int] = {}
    for group in optimising.optimiser.param_groups:
        rate = round(group["lr"], 9)
        counts[rate] = counts.get(rate, 0) + sum(each.numel() for each in group["params"])
    assert counts == {rate: sum(each.numel() for each in group) for rate, group in reference.groups(1e-5)}


@pytest.mark.slow
def test_vgg16_is_torchvisions_modules_and_the_papers_head() -> None:
    torch.manual_seed(0)
    ours = SiameseCNNRanker("vgg16", (128, 128), dropout=0.0, activation="tanh").eval()
    with torch.device("meta"):  # no second random start for 138 million weights
        vgg = torchvision.models.vgg16(dropout=0.0).eval()
    state = {name: each.clone() for name, each in ours.backbone.network.state_dict().items()}
    vgg.load_state_dict(state, strict=False, assign=True)

    def features(pixels: Tensor) -> Tensor:
        maps = torch.flatten(vgg.avgpool(vgg.features(normalised(pixels))), 1)
        for layer in (vgg.classifier[0], vgg.classifier[1], vgg.classifier[3], vgg.classifier[4]):
            maps = layer(maps)
        return maps  # fc7 after its ReLU, 4096

    pixels, p_left = photos(2, 96), torch.tensor([0.8])
    first, second, last = (copy.deepcopy(ours.head.mlp[at]) for at in (0, 3, 6))
    both = features(pixels)
    difference = both[:1] - both[1:]
    assert difference.shape == (1, 4096)
    wanted = last(torch.tanh(second(torch.tanh(first(difference)))))
    found = ours(pixels, torch.tensor([0]), torch.tensor([1]))
    assert_close(found, wanted, "logits")
    loss_of(wanted, p_left).backward()
    functional.cross_entropy(found, torch.stack([p_left, 1 - p_left], 1), reduction="sum").backward()
    network = ours.backbone.network
    for mine, theirs in ((network.features[0], vgg.features[0]), (network.features[28], vgg.features[28])):
        assert_close(mine.weight.grad, theirs.weight.grad, "convolution")
    assert_close(network.classifier[3].weight.grad, vgg.classifier[3].weight.grad, "fc7")
    assert_close(ours.head.mlp[0].weight.grad, first.weight.grad, "head")


def test_without_an_activation_the_layers_of_the_head_are_one_linear_one() -> None:
    torch.manual_seed(0)
    head = PairHead(6, (4,), 0.0, "none", "difference").eval()
    first, last = head.mlp[0], head.mlp[3]
    values = torch.randn(4, 6)
    wanted = ((values[:2] - values[2:]) @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(head.logits(values, torch.tensor([0, 1]), torch.tensor([2, 3])), wanted)


@pytest.mark.parametrize("head", ["difference", "score"])
def test_a_series_at_once_has_the_gradients_of_its_pairs_one_by_one(head: str) -> None:
    torch.manual_seed(0)
    model = SiameseCNNRanker("test_resnet", (8,), activation="gelu", head=head)
    pixels = photos(5, 64)
    model.train()(pixels, torch.tensor([0]), torch.tensor([1]))
    model.eval()  # batch norms are frozen
    left, right = torch.triu_indices(5, 5, 1)
    p_left = torch.linspace(0.05, 0.95, len(left))

    def gradients(loss: Tensor) -> dict[str, Tensor]:
        model.zero_grad()
        loss.backward()
        return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}

    at_once = gradients(loss_of(model(pixels, left, right), p_left))
    total = torch.zeros(())
    for i, j, p in zip(left.tolist(), right.tolist(), p_left, strict=True):
        total = total + loss_of(model(pixels[[i, j]], torch.tensor([0]), torch.tensor([1])), p[None])
    one_by_one = gradients(total)
    assert at_once.keys() == one_by_one.keys()
    largest = max(float(each.abs().max()) for each in one_by_one.values())
    for name, wanted in one_by_one.items():
        assert float((at_once[name] - wanted).abs().max()) < 1e-5 * largest, name


@pytest.mark.parametrize("head", ["difference", "score"])
@pytest.mark.parametrize("hidden", [(), (16, 8)])
def test_margins_are_antisymmetric(head: str, hidden: tuple[int, ...]) -> None:
    model = PairHead(12, hidden, 0.0, "tanh", head).eval()
    features = {"e2e": torch.from_numpy(np.random.default_rng(0).normal(size=(6, 12)).astype(np.float32))}
    left, right = torch.triu_indices(6, 6, 1)
    margins = model.margins(features, left, right)
    torch.testing.assert_close(margins, -model.margins(features, right, left), rtol=0, atol=0)
    if head == "score":
        scores = model(features)
        torch.testing.assert_close(margins, scores[left] - scores[right])
    else:
        forth, back = (
            torch.log_softmax(model.logits(features["e2e"], *ends), 1) for ends in ((left, right), (right, left))
        )
        torch.testing.assert_close(margins, (forth[:, 0] - forth[:, 1] + back[:, 1] - back[:, 0]) / 2)


def test_half_precision_leaves_batch_norms_alone_and_the_head_close() -> None:
    torch.manual_seed(0)
    model = SiameseCNNRanker("test_resnet", (8,))
    pixels, left, right = photos(4, 64), torch.tensor([0, 1]), torch.tensor([2, 3])
    model.train()(pixels, left, right)
    exact = model.eval()(pixels, left, right)
    norms = [each for each in model.modules() if isinstance(each, nn.BatchNorm2d)]
    before = [copy.deepcopy(each.state_dict()) for each in norms]
    to_precision(model.backbone.network, torch.bfloat16)
    for norm, state in zip(norms, before, strict=True):
        assert all(torch.equal(each, state[name]) for name, each in norm.state_dict().items()), "was rounded"
    assert {each.weight.dtype for each in norms} == {each.running_var.dtype for each in norms} == {torch.float32}
    assert model.backbone.network.conv1[0].weight.dtype == torch.bfloat16
    found = model(pixels, left, right)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("hf-hub:timm/resnet18.a1_in1k", r"is it 'resnet18\.a1_in1k'\?"),
        ("hf-hub:nobody/nothing", r"see timm\.list_models\(\)$"),
        ("local-dir:/tmp", r"see timm\.list_models\(\)$"),
        ("test_resnet.nowhere", "Invalid pretrained tag"),
    ],
)
def test_a_backbone_is_not_looked_for_on_a_hub(name: str, more: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", Mock(side_effect=AssertionError("the network was asked")))
    with pytest.raises(ConfigError, match=f"neither vgg16, resnet50 nor a model of timm.*{more}"):
        SiameseCNNRanker(name)


def test_an_unknown_backbone_is_named() -> None:
    with pytest.raises(ConfigError, match="'vgg17' is neither vgg16, resnet50 nor a model of timm"):
        SiameseCNNRanker("vgg17")
