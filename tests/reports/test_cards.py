"""Model cards, read by the hub's own library."""

from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from photorank.metrics import Estimate
from photorank.reports.cards import CardFacts, model_card

SPACES = [
    {"name": "clip", "fingerprint": "0123456789abcdef", "role": "visual", "dim": 512, "dtype": "float16"},
    {"name": "a|b", "fingerprint": "fedcba9876543210", "role": "statistic", "dim": 57, "dtype": "float32"},
]
HEAD, LEFT = Estimate(0.73, 0.68, 0.78, 289, 150), Estimate(0.5, 0.44, 0.56, 289, 150)
FACTS = CardFacts(
    kind="head", version="1.2.3", spaces=SPACES, comparisons_file="triage: the best.csv",
    comparisons={"train": 12075, "val": 483, "test": 0}, series={"train": 4560, "val": 195}, photos=12522,
    config={"features": ["clip", "a|b"], "seed": 3}, epochs=30, best_epoch=18,
    accuracy={"train": {"head": LEFT}, "val": {"head": HEAD, "always left": LEFT}},
    log_loss={"val": Estimate(0.61, 0.58, 0.64, 483, 195)},
    repeated={"train and val, 5 folds by series": {"accuracy": HEAD, "log loss": Estimate(0.6, 0.5, 0.7, 9, 9)}},
    plots=["plots/learning-curves.png"],
)  # fmt: skip


def test_the_hub_reads_the_front_matter() -> None:
    card = ModelCard(model_card(FACTS))
    assert card.data.library_name == "photorank"
    accuracy, loss = card.data.eval_results
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", 0.73)
    assert (accuracy.dataset_name, accuracy.dataset_split) == ("triage: the best.csv", "val")
    assert (loss.metric_type, loss.metric_value) == ("log_loss", 0.61)


def test_the_card_says_data_features_figures_with_intervals_and_limits() -> None:
    text = ModelCard(model_card(FACTS)).text
    for told in (
        "| train | 12,075 | 4,560 |", "| val | 483 | 195 |", "12,522 photos", "`triage: the best.csv`",
        "| `clip` | `0123456789abcdef` | visual | 512 | float16 |", "| `a\\|b` |", "seed: 3", "epoch 18",
        "| head | 73.0 % (68.0–78.0) |", "| always left | 50.0 % (44.0–56.0) |", "0.610 (0.580–0.640)",
        "Split `train`, which it was trained on", "(plots/learning-curves.png)", "photorank rank PHOTOS --model RUN",
        "Of several trainings, train and val, 5 folds by series:", "| accuracy | 73.0 % (68.0–78.0) |",
        "| log loss | 0.600 (0.500–0.700) |", "## Limits", "not for judging people",
    ):  # fmt: skip
        assert told in text
    assert "| test |" not in text


def test_a_run_without_held_out_series_says_so_and_claims_no_results() -> None:
    card = ModelCard(model_card(replace(FACTS, accuracy={"train": {"head": HEAD}}, config={})))
    assert card.data.eval_results is None
    assert "No series were held out: nothing is known" in card.text
    assert "it is the default one" in card.text


@pytest.mark.parametrize("name", ["head", "siamese"])
def test_the_first_of_the_answers_is_the_run_whatever_its_kind(name: str) -> None:
    facts = replace(FACTS, kind=name, accuracy={"val": {name: HEAD, "always left": LEFT}})
    assert ModelCard(model_card(facts)).data.eval_results[0].metric_value == 0.73
