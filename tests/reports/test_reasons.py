"""Reasons: contributions that sum to the margin, and words that say what changed."""

import importlib.util
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

import photorank
from photorank.extractors import Feature
from photorank.extractors.statistics import STATISTICS, VERSION
from photorank.models.fusion import MultiFeaturePairwiseRanker
from photorank.reports.reason_words import FAMILIES, FAMILY_OF, words
from photorank.reports.reasons import TOLERANCE, contributions, reasons
from photorank.stages.frames import Pixels, add_noise, blur, expose, recompress

STATISTIC = Feature("iqa", {"kind": "iqa", "statistics": {"version": VERSION, "names": list(STATISTICS)}}, "statistic",
                    "float32")  # fmt: skip
VISUAL = Feature("clip", {"kind": "clip"}, "visual", "float16")


def head(kind: Literal["score", "difference"], hidden: tuple[int, ...] = (16, 8), seed: int = 0) -> tuple[
    MultiFeaturePairwiseRanker, dict[str, Tensor]
]:  # fmt: skip
    """An untrained head over 20 photos' made features, standardised on them."""
    torch.manual_seed(seed)
    features = {"clip": torch.randn(20, 12), "iqa": 3 * torch.randn(20, len(STATISTICS)) + 1}
    dims = {name: values.shape[1] for name, values in features.items()}
    roles = {"clip": "visual", "iqa": "statistic"}
    model = MultiFeaturePairwiseRanker(dims, roles, 6, hidden, 0.5, "gelu", kind)
    model.fit_standardisation(features)
    return model.eval(), features


@settings(deadline=None, max_examples=15)
@given(st.sampled_from(["score", "difference"]), st.integers(0, 50), st.floats(0.1, 3))
def test_contributions_sum_to_the_margin(kind: Literal["score", "difference"], seed: int, spread: float) -> None:
    model, features = head(kind, seed=seed)
    features["iqa"] = features["iqa"] * spread  # those far out are clamped: the line has kinks
    frames, picks = torch.arange(0, 19), torch.arange(1, 20)
    parts = contributions(model, features, frames, picks)
    assert {space: part.shape for space, part in parts.items()} == {"clip": (19, 12), "iqa": (19, len(STATISTICS))}
    total = sum(part.sum(1) for part in parts.values())
    with torch.no_grad():
        margins = model.margins(features, frames, picks)
    assert ((total - margins).abs() <= TOLERANCE * margins.abs().clamp(min=1)).all()


def test_contributions_to_a_linear_score_are_its_terms() -> None:
    torch.manual_seed(0)
    features = {"iqa": torch.randn(9, 4)}
    model = MultiFeaturePairwiseRanker({"iqa": 4}, {"iqa": "statistic"}, mlp_hidden_dims=()).eval()
    model.fit_standardisation(features)
    frames, picks = torch.tensor([0, 1, 2]), torch.tensor([8, 8, 5])
    change = (features["iqa"][frames] - features["iqa"][picks]) * model.get_buffer("scale_0")
    (weight,) = (value for name, value in model.named_parameters() if name.endswith("weight"))
    found = contributions(model, features, frames, picks)["iqa"]
    torch.testing.assert_close(found, (change * weight).detach())


def test_no_frame_has_no_reason() -> None:
    model, features = head("score")
    none = np.empty(0, np.int64)
    assert reasons(model, [VISUAL, STATISTIC], features, none, none) == []


def test_reasons_are_what_costs_most_and_nothing_that_gains() -> None:
    model, features = head("difference")
    frames, picks = np.arange(0, 19), np.arange(1, 20)
    parts = contributions(model, features, torch.from_numpy(frames), torch.from_numpy(picks))
    told = reasons(model, [VISUAL, STATISTIC], features, frames, picks)
    assert all(len(each) <= 3 for each in told)
    named = np.array([any(text.startswith("clip features: less like") for text in each) for each in told])
    gains = (parts["clip"].sum(1) > 0).numpy()
    assert named.any() and gains.any() and not (named & gains).any()


def test_every_statistic_is_of_one_family() -> None:
    assert set(FAMILY_OF) == set(STATISTICS)
    assert set(FAMILY_OF.values()) == set(FAMILIES)


@pytest.mark.parametrize(
    ("family", "pick", "frame", "said"),
    [
        ("sharpness", {"sharpness": 6.0}, {"sharpness": 6 + 2 * np.log(0.62)},
         "softer than the pick (sharpness −38 %)"),
        ("sharpness", {"detail": 0.0}, {"detail": np.log(0.9)}, "softer than the pick (finest detail −10 %)"),
        ("sharpness", {"sharpness": 6.0}, {"sharpness": 6 + 2 * np.log(1.2)}, "differs in sharpness (sharpness +20 %)"),
        ("exposure", {"clipped_bright": 0.0}, {"clipped_bright": np.sqrt(0.06)}, "highlights clipped (6 % of pixels)"),
        ("exposure", {"clipped_bright": 0.4}, {"clipped_bright": np.sqrt(0.24)},
         "highlights clipped (24 % of pixels, the pick 16 %)"),
        ("exposure", {"clipped_dark": np.sqrt(0.01)}, {"clipped_dark": np.sqrt(0.03)},
         "shadows clipped (3 % of pixels, the pick 1 %)"),
        ("exposure", {"clipped_dark": np.sqrt(0.009)}, {"clipped_dark": np.sqrt(0.03)},
         "shadows clipped (3 % of pixels)"),
        ("exposure", {"clipped_bright": 0.5}, {"clipped_bright": 0.1}, "differs in exposure"),
        ("exposure", {"luma_p50": 0.49}, {"luma_p50": 0.24}, "darker than the pick (median brightness −50 %)"),
        ("exposure", {"luma_p50": 0.24}, {"luma_p50": 0.49}, "brighter than the pick (median brightness +100 %)"),
        ("noise", {"noise": 0.0}, {"noise": np.log(2.2)}, "noisier than the pick (noise +120 %)"),
        ("compression", {}, {}, "differs in compression"),
        ("musiq", {"musiq": 71.23}, {"musiq": 40.0}, "musiq 40, the pick's 71.2"),
        ("clip features", {}, {}, "clip features: less like what was preferred"),
    ],
)  # fmt: skip
def test_words(family: str, pick: dict[str, float], frame: dict[str, float], said: str) -> None:
    names = {*STATISTICS, *pick}
    assert words(family, {name: (pick.get(name, 0.0), frame.get(name, 0.0)) for name in names}) == said


PLANTED = {
    "blur": (lambda pixels: blur(pixels, 2), ("softer than the pick",)),
    "jpeg": (lambda pixels: recompress(pixels, 20), ("more compressed than the pick",)),
    "dark": (lambda pixels: expose(pixels, -2), ("darker than the pick", "shadows clipped")),
    "bright": (lambda pixels: expose(pixels, 2), ("brighter than the pick", "highlights clipped")),
    "noise": (lambda pixels: add_noise(pixels, 12, 1), ("noisier than the pick",)),
}


def scene(name: str) -> Pixels:
    """A photo that scikit-image carries."""
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        pytest.skip("scikit-image, whose photos these are, is not installed")
    with Image.open(Path(found.origin).parent / "data" / name) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("name", ["astronaut.png", "chelsea.png", "coffee.png"])
def test_a_planted_fault_is_named_first(name: str, tmp_path: Path) -> None:
    pixels = scene(name)
    Image.fromarray(pixels).save(tmp_path / "original.png")
    for fault, (make, _) in PLANTED.items():
        Image.fromarray(make(pixels)).save(tmp_path / f"{fault}.png")
    table = photorank.Ranker.load().rank([tmp_path], tmp_path / "S", series_by="folder")
    told = {Path(path).stem: why for path, why in zip(table["path"], table["reasons"], strict=True)}
    assert Path(table["path"][0]).stem == "original" and told.pop("original") == []
    for fault, why in told.items():
        assert why[0].startswith(PLANTED[fault][1]), (fault, why)
