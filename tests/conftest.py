"""Photos made for the tests: small, seeded, photo-like."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

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
def photorank() -> Run:
    """Runs the command line in a process of its own."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command: Sequence[str] = [sys.executable, "-m", "photorank", *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "200", **(env or {})}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run
