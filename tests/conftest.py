"""Photos made for the tests: small, seeded, photo-like."""

import hashlib
import io
import logging
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from photorank.__main__ import main
from photorank.stages import children

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _own_cache(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No test reads or writes the user's caches, or asks a hub for weights; but for those marked `weights`."""
    if request.node.get_closest_marker("weights"):
        return
    cache = str(tmp_path_factory.mktemp("cache"))
    for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME"):
        monkeypatch.setenv(name, f"{cache}/{name}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # One for all: it holds nothing but a list of fonts, which takes a while to make.
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))


def make_picture(seed: int, width: int = 160, height: int = 120) -> Image.Image:
    """Blocks, a gradient and grain: edges, smooth areas and texture, (height, width) RGB."""
    generator = np.random.default_rng(seed)
    blocks = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    smooth = Image.fromarray(generator.integers(0, 256, (3, 4, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = Image.fromarray(generator.integers(96, 160, (height, width, 3), np.uint8)).filter(
        ImageFilter.GaussianBlur(0.7)
    )
    return Image.blend(Image.blend(blocks, smooth, 0.5), grain, 0.2)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Two folders (series) of three photos each, JPEG and PNG."""
    folder = tmp_path / "photos"
    for series in (1, 2):
        (folder / f"series-{series}").mkdir(parents=True)
        for number in range(3):
            suffix = "png" if number == 2 else "jpg"
            make_picture(10 * series + number).save(folder / f"series-{series}" / f"IMG_{number}.{suffix}", quality=92)
    return folder


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def photorank(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command line in this process, which has PyTorch imported already."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", each) for each in ("strict", "backslashreplace"))
        with monkeypatch.context() as patch, redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            warnings.simplefilter("default")
            patch.setenv("COLUMNS", "200")
            patch.setattr(sys, "argv", ["photorank", *map(str, arguments)])
            patch.setattr(logging.root, "handlers", [])
            status = _status_of(main)
        out.flush(), err.flush()
        texts = [each.buffer.getvalue().decode() for each in (out, err)]
        return subprocess.CompletedProcess(sys.argv, status, *texts)

    return run


def _status_of(call: Callable[[], None]) -> int:
    """The exit status of a process whose main function this is."""
    try:
        call()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


@pytest.fixture
def photorank_process() -> Run:
    """Runs the command line in a process of its own, for what only shows there: another environment, a fresh start."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command: Sequence[str] = [sys.executable, "-m", "photorank", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "200", **(env or {})}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


def put_in_hub(cache: Path, repository: str, files: dict[str, Path | str]) -> None:
    """Lay files out as the hub's client does: blobs by hash, links to them in a snapshot that a ref names."""
    folder, revision = cache / f"models--{repository.replace('/', '--')}", "0123456789" * 4
    for part in ("blobs", "refs", f"snapshots/{revision}"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(revision)
    for name, content in files.items():
        blob = hashlib.sha256(content.encode() if isinstance(content, str) else content.read_bytes()).hexdigest()
        if isinstance(content, str):
            (folder / "blobs" / blob).write_text(content)
        else:
            (folder / "blobs" / blob).hardlink_to(content)
        (folder / "snapshots" / revision / name).symlink_to(Path("../../blobs") / blob)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("torch.hub.download_url_to_file", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)
    return tmp_path / "hub"


def refused(*_: object, **__: object) -> Any:
    raise OSError("no network")


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos are loaded here, where a test can put something in the way."""

    def refuse(*_: object) -> None:
        raise OSError("no children today")

    monkeypatch.setattr(children, "Child", refuse)
