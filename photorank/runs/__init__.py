"""Run folders: what one training wrote, complete enough to be used anywhere.

RUN/
  run.json             kind, format, and the full spec of every space (nothing is `auto` here)
  config.yaml          the config as resolved
  weights.safetensors  the model
  metrics.json         figures with intervals
  predictions.parquet  a row a comparison: split, series, keys, p_left and the margin (score of left minus right)
  log.jsonl            a row an epoch
  README.md, plots/, events/  see photorank.stages.run_folder
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import safetensors
import safetensors.torch

from photorank import __version__
from photorank.config import E2eConfig, HeadConfig, dump_config, parse_config
from photorank.errors import ConfigError, RunError
from photorank.extractors import Feature
from photorank.models.fusion import MultiFeaturePairwiseRanker
from photorank.models.siamese import PairHead
from photorank.runs.e2e import load_siamese
from photorank.store import fingerprint
from photorank.strict_json import dumps
from photorank.training.fusion import History, build_head

FORMAT = 1


@dataclass(frozen=True)
class Run:
    """A head ready to score, and the features that it scores."""

    path: Path
    model: MultiFeaturePairwiseRanker | PairHead
    features: list[Feature]
    """In the order in which the model fuses them; of a Siamese ranker its own backbone's."""
    config: HeadConfig | E2eConfig
    kind: Literal["head", "siamese"] = "head"


@contextmanager
def new_run(out: Path) -> Iterator[Path]:
    """A folder to write a run into, which becomes `out` at the end: a run is there whole or not at all.

    Raises RunError where `out` is there already: a run is never overwritten.
    """
    refuse_existing(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror}; name another --out") from error
    try:
        yield work
        work.chmod(0o755)  # mkdtemp's folders are the user's alone
        if out.exists():  # an empty folder: renaming onto it works on POSIX only
            out.rmdir()
        os.rename(work, out)  # noqa: PTH104
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}; nothing is left of it") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def refuse_existing(out: Path) -> None:
    """RunError where `out` is anything but absent or an empty folder; asked before an hour of work, not after."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise RunError(f"{out} is there already and is kept; name another --out, or remove it")


def save_head(
    folder: Path, model: MultiFeaturePairwiseRanker, features: list[Feature], config: HeadConfig, history: History,
    metrics: dict[str, Any], predictions: pd.DataFrame,
) -> None:  # fmt: skip
    """Write a head's run into `folder`."""
    spaces = [
        {"fingerprint": fingerprint(each.spec), "dim": _dim(model, each.name), **asdict(each)} for each in features
    ]
    about = {
        "format": FORMAT,
        "kind": "head",
        "photorank": __version__,
        "spaces": spaces,
        "best_epoch": history.best_epoch,
    }
    (folder / "run.json").write_text(json.dumps(about, indent=2) + "\n")
    (folder / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (folder / "metrics.json").write_text(dumps(metrics, indent=2) + "\n")
    (folder / "log.jsonl").write_text("".join(dumps(row) + "\n" for row in history.epochs))
    predictions.to_parquet(folder / "predictions.parquet", index=False)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    # Its own `save_file` leaves the file to the user alone.
    (folder / "weights.safetensors").write_bytes(safetensors.torch.save(state))


def load_run(path: Path) -> Run:
    """The head of a run folder; RunError where the folder is no run, damaged, or of a newer format."""
    try:
        about = json.loads((path / "run.json").read_text())
        values = _yaml(path / "config.yaml")
    except FileNotFoundError as error:
        raise RunError(
            f"{path} is not a run: it has no {Path(error.filename).name}; fit-head and e2e write runs"
        ) from error
    except (OSError, ValueError) as error:
        raise RunError(f"the run {path} cannot be read: {error}") from error
    if about.get("format", 0) > FORMAT:
        raise RunError(f"{path} is a run of format {about['format']}; this photorank reads up to {FORMAT}: upgrade it")
    try:
        for each in about["spaces"]:
            if fingerprint(each["spec"]) != each["fingerprint"]:
                raise RunError(f"{path}: the spec of {each['name']} was changed after training; train again")
        return (_load_siamese if about["kind"] == "siamese" else _load_head)(path, about, values)
    except (ConfigError, KeyError, TypeError, ValueError, OSError, RuntimeError, safetensors.SafetensorError) as error:
        raise RunError(f"the run {path} is damaged: {' '.join(str(error).split())[:200]}; train again") from error


def _load_head(path: Path, about: dict[str, Any], values: dict[str, Any]) -> Run:
    config = parse_config(HeadConfig, values, str(path / "config.yaml"))
    features = [
        Feature(*(each[key] for key in ("name", "spec", "role", "dtype", "source"))) for each in about["spaces"]
    ]
    dims = {each["name"]: each["dim"] for each in about["spaces"]}
    model = build_head(dims, {each.name: each.role for each in features}, config)
    model.load_state_dict(safetensors.torch.load_file(path / "weights.safetensors"))
    return Run(path, model.eval(), features, config)


def _load_siamese(path: Path, about: dict[str, Any], values: dict[str, Any]) -> Run:
    config = parse_config(E2eConfig, values, str(path / "config.yaml"))
    head, feature = load_siamese(path, about, config)
    return Run(path, head, [feature], config, "siamese")


def training_photos(path: Path) -> set[str] | None:
    """The keys (hex) of the photos that the run was trained on; None where the run does not say."""
    try:
        told = pd.read_parquet(path / "predictions.parquet", columns=["split", "left", "right"])
    except Exception:  # not there, or pandas' and pyarrow's dozen kinds: it is of no use for anything but this
        return None
    trained = told[told["split"] == "train"]
    return {*trained["left"], *trained["right"]}


def training_log(path: Path) -> tuple[list[dict[str, float]], int] | None:
    """A row an epoch, and the epoch that was kept; None where the run does not say."""
    try:
        lines = (path / "log.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [{name: math.nan if each is None else each for name, each in json.loads(line).items()} for line in lines]
        return rows, int(json.loads((path / "run.json").read_text(encoding="utf-8"))["best_epoch"])
    except (OSError, ValueError, KeyError):  # it is of no use for anything but looking at it
        return None


def _dim(model: MultiFeaturePairwiseRanker, space: str) -> int:
    return len(model.get_buffer(f"mean_{model.spaces.index(space)}"))


def _yaml(path: Path) -> dict[str, Any]:
    import yaml

    values: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return values
