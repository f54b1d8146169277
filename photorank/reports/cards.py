"""The model card of a run: what it is, what it was trained on, how good it is, and what it is not for.

Front matter and headings as the Hugging Face hub has them (Mitchell et al. 2019, "Model Cards for Model Reporting"). It
says nothing of the machine or the day, so that one training always has one card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from photorank.metrics import Estimate
from photorank.reports.figure_tables import estimate_text


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of."""

    kind: str
    """head, ..."""
    version: str
    """Of photorank."""
    spaces: Sequence[Mapping[str, Any]]
    """Of each feature: name, fingerprint, role, dim, dtype."""
    comparisons_file: str
    """Its name, without the folder."""
    comparisons: Mapping[str, int]
    """Split → comparisons; and likewise"""
    series: Mapping[str, int]
    photos: int
    config: Mapping[str, Any]
    """What differs from the defaults."""
    epochs: int
    best_epoch: int
    accuracy: Mapping[str, Mapping[str, Estimate]]
    """Split → the run, which comes first, and the trivial answers → accuracy."""
    log_loss: Mapping[str, Estimate]
    """Split → log loss of the run, in nats."""
    repeated: Mapping[str, Mapping[str, Estimate]]
    """What several trainings (folds, seeds) were reported on → figure → its mean; nothing where there was one."""
    plots: Sequence[str]
    """Paths of pictures, relative to the card."""


_USE = """\
## How to use it

```
photorank rank PHOTOS --model RUN
photorank evaluate RUN --comparisons FILE
```

```python
import photorank

table = photorank.Ranker.load("RUN").rank(["PHOTOS"])
```

`RUN` is this folder. The features are extracted as `run.json` says, and features of another fingerprint are refused.
"""

_LIMITS = """\
## Limits

- It has learnt what these comparisons say, of the kinds of scenes and cameras that are in them and of whoever answered.
  How far that holds for other scenes, cameras and people, `photorank evaluate` says on comparisons of your own.
- Scores compare photos of one series. Between series they mean nothing, and they are no measure of quality or of art.
- It is not for judging people: neither their looks or worth, from photos of them, nor their work, from photos by them.
- It is no ground for deleting a photo that nobody has looked at.
"""


def model_card(facts: CardFacts) -> str:
    """The card as Markdown with YAML front matter."""
    names = ", ".join(str(each["name"]) for each in facts.spaces)
    title = f"photorank {facts.kind} over {names}"
    front = yaml.safe_dump(_front_matter(facts, title), sort_keys=False, allow_unicode=True, width=110)
    parts = [f"---\n{front}---\n\n# {title}\n", _what(facts), _data(facts), _features(facts), _training(facts)]
    return "\n".join([*parts, _figures(facts), _USE, _LIMITS])


def _front_matter(facts: CardFacts, title: str) -> dict[str, Any]:
    results = []
    for split, figures in facts.accuracy.items():
        if split != "train":
            each = next(iter(figures.values()))
            metrics = []
            if each.n:
                metrics.append({"type": "accuracy", "value": round(each.value, 4), "name": "preferred photo of two"})
            if split in facts.log_loss:
                metrics.append({"type": "log_loss", "value": round(facts.log_loss[split].value, 4), "name": "log loss"})
            data = {"name": facts.comparisons_file, "type": "comparisons", "split": split}
            task = {"type": "image-ranking", "name": "which of two photos of a series people prefer"}
            results.append({"task": task, "dataset": data, "metrics": metrics})
    front: dict[str, Any] = {"library_name": "photorank", "tags": ["photorank", "image-ranking", "pairwise-ranking"]}
    if results:
        front |= {"metrics": ["accuracy"], "model-index": [{"name": title, "results": results}]}
    return front


def _what(facts: CardFacts) -> str:
    sees = "features that were computed of the photos, not at the photos"
    if facts.kind == "siamese":
        sees = "the photos' pixels, by a network that was trained for it"
    return (
        "Given photos of one moment (a series), it says which of two people would prefer, and so orders them. It looks "
        f"at {sees}. Made by `photorank` {facts.version}.\n"
    )


def _data(facts: CardFacts) -> str:
    rows = [
        [split, f"{count:,}", f"{facts.series.get(split, 0):,}"] for split, count in facts.comparisons.items() if count
    ]
    return (
        f"## Data\n\nComparisons of two photos of one series in `{facts.comparisons_file}`, over {facts.photos:,} "
        f"photos; no series is in two splits.\n\n{_table(['split', 'comparisons', 'series'], rows)}\n"
    )


def _features(facts: CardFacts) -> str:
    rows = [
        [f"`{each['name']}`", f"`{each['fingerprint']}`", each["role"], f"{each['dim']:,}", each["dtype"]]
        for each in facts.spaces
    ]
    return (
        f"## Features\n\n{_table(['feature', 'fingerprint', 'role', 'dimensions', 'type'], rows)}\n\n"
        "A fingerprint stands for everything that shapes the vectors: model, weights, layer, preprocessing, precision. "
        "It is spelt out in `run.json`.\n"
    )


def _training(facts: CardFacts) -> str:
    said = f"{facts.epochs} epochs; the weights are those of epoch {facts.best_epoch}. `config.yaml` holds the config; "
    if not facts.config:
        return f"## Training\n\n{said}it is the default one.\n"
    changed = yaml.safe_dump(dict(facts.config), sort_keys=False, default_flow_style=None, width=110)
    return f"## Training\n\n{said}what differs from the defaults:\n\n```yaml\n{changed}```\n"


def _figures(facts: CardFacts) -> str:
    parts = ["## Figures\n"]
    for split, figures in facts.accuracy.items():
        seen = ", which it was trained on" if split == "train" else ""
        rows = [[name, estimate_text("accuracy", each)] for name, each in figures.items()]
        if split in facts.log_loss:
            rows.append(
                [f"{facts.kind}: log loss (.693 for knowing nothing)", estimate_text("log loss", facts.log_loss[split])]
            )
        parts.append(f"Split `{split}`{seen}:\n\n{_table(['', 'accuracy (95 % interval over series)'], rows)}\n")
    if len(facts.accuracy) < 2:
        parts.append("No series were held out: nothing is known of photos that it was not trained on.\n")
    for what, means in facts.repeated.items():
        rows = [[name, estimate_text(name, each)] for name, each in means.items()]
        parts.append(f"Of several trainings, {what}:\n\n{_table(['', 'mean (95 % interval over series)'], rows)}\n")
    parts += [f"![{path.split('/')[-1].removesuffix('.png').replace('-', ' ')}]({path})\n" for path in facts.plots]
    return "\n".join(parts)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
