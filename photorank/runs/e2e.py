"""Run folders of the Siamese ranker: the files of `photorank.runs`, with one space that is the run's own backbone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
from torch import Tensor

from photorank import __version__
from photorank.config import dump_config
from photorank.config.e2e import E2eConfig
from photorank.extractors import Feature
from photorank.extractors.e2e import of_run, spec_of
from photorank.models.siamese import SPACE, PairHead, SiameseCNNRanker
from photorank.store import fingerprint
from photorank.strict_json import dumps

_HEAD = "head."


def preprocessing_of(model: SiameseCNNRanker, config: E2eConfig) -> dict[str, Any]:
    """How photos become what the model sees, in the words of a spec."""
    backbone = model.backbone
    fit: dict[str, Any] = {"pad": list(model.fill)} if model.fill is not None else {"resize": config.size}
    # As the libraries write them: single precision has seven digits.
    norm = {name: [round(each, 6) for each in backbone.get_buffer(name).flatten().tolist()] for name in ("mean", "std")}
    return {**fit, "size": config.size, **norm}


def save_siamese(
    folder: Path, model: SiameseCNNRanker, weights: dict[str, Tensor], config: E2eConfig,
    epochs: list[dict[str, float]], best_epoch: int, metrics: dict[str, Any], predictions: pd.DataFrame,
) -> None:  # fmt: skip
    """Write a Siamese ranker's run into `folder`."""
    file = folder / "weights.safetensors"
    file.write_bytes(safetensors.torch.save(weights))  # its own `save_file` leaves it to the user alone
    spec = spec_of(config.cnn_backbone, preprocessing_of(model, config), config.precision, config.decode, file)
    space = {
        "fingerprint": fingerprint(spec), "dim": model.backbone.dim, "name": SPACE, "spec": spec, "role": "visual",
        "dtype": "float32",
    }  # fmt: skip
    about = {
        "format": 1, "kind": "siamese", "photorank": __version__, "spaces": [space], "best_epoch": best_epoch,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (folder / "metrics.json").write_text(dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (folder / "log.jsonl").write_text("".join(dumps(row) + "\n" for row in epochs), encoding="utf-8")
    predictions.to_parquet(folder / "predictions.parquet", index=False)


def load_siamese(path: Path, about: dict[str, Any], config: E2eConfig) -> tuple[PairHead, Feature]:
    """The head of a Siamese ranker's run, in evaluation mode, and the feature that it scores."""
    (space,) = about["spaces"]
    head = PairHead(space["dim"], config.mlp_hidden_dims, config.dropout, config.activation, config.head)
    file = path / "weights.safetensors"
    with safetensors.safe_open(file, framework="pt") as tensors:
        names = [name for name in tensors.keys() if name.startswith(_HEAD)]  # noqa: SIM118
        head.load_state_dict({name.removeprefix(_HEAD): tensors.get_tensor(name) for name in names})
    return head.eval(), of_run(space["name"], space["spec"], path)
