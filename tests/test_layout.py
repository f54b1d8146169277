"""The package's layout: imports go one way, and the command line starts light."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import photorank

PACKAGE = Path(photorank.__file__).parent
# cli → stages → training → {models, extractors, store, comparisons, metrics, reports} → {photos, config, errors}.
# `runs` (what a training wrote) stands beside training.
LEVEL = {
    "__main__": 5, "cli": 4, "cli_comparisons": 4, "cli_evaluate": 4, "cli_fit_head": 4, "cli_options": 4,
    "cli_rank": 4, "cli_store": 4, "cli_sweep": 4, "cli_weights": 4, "__init__": 3,
    "stages": 3,
    "runs": 2, "training": 2, "models": 1, "extractors": 1, "store": 1, "comparisons": 1, "metrics": 1, "terminal": 1,
    "figures": 1, "figure_tables": 1, "prediction": 1, "losses": 1, "batches": 1, "calibration": 1,
    "stacking": 2, "optimisers": 1, "sweep_tables": 1,
    "reports": 1, "photos": 0, "ratings": 0, "raw": 0, "decoding": 0, "metadata": 0, "heif": 0, "preprocessing": 0,
    "config": 0, "config_errors": -1, "config_features": -1, "config_head": -1, "errors": -1,
}  # fmt: skip
ALLOWED_BESIDE = {
    ("__init__", "stages"),
    ("cli", "cli_comparisons"),
    ("cli", "cli_evaluate"),
    ("cli", "cli_fit_head"),
    ("cli", "cli_options"),
    ("cli", "cli_rank"),
    ("cli_fit_head", "cli_options"),
    ("config_head", "config_features"),
    ("config_head", "errors"),
    ("cli_rank", "cli_options"),
    ("cli", "cli_sweep"),
    ("cli_sweep", "cli_options"),
    ("training", "stacking"),
    ("stacking", "optimisers"),
    ("prediction", "comparisons"),
    ("batches", "comparisons"),
    ("calibration", "metrics"),
    ("sweep_tables", "figure_tables"),
    ("sweep_tables", "metrics"),
    ("cli", "cli_store"),
    ("cli", "cli_weights"),
    ("runs", "training"),
    ("photos", "decoding"),
    ("photos", "metadata"),
    ("photos", "raw"),
    ("ratings", "metadata"),
    ("ratings", "photos"),
    ("raw", "decoding"),
    ("raw", "heif"),
    ("raw", "metadata"),
    ("decoding", "heif"),
    ("metadata", "heif"),
    ("figures", "comparisons"),
    ("figures", "metrics"),
    ("figure_tables", "figures"),
    ("figure_tables", "metrics"),
    ("reports", "metrics"),
    ("reports", "terminal"),
}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "configs" not in path.parts)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, typing_only: bool) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; those under `if TYPE_CHECKING` only when asked for."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not typing_only:
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            if node.module == "photorank":
                yield from (f"photorank.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    here = part_of(path)
    for name in imported(path, typing_only=False):
        parts = name.split(".")
        if parts[0] == "pipelines":
            pytest.fail(f"{path} imports {name}: nothing imports pipelines")
        if parts[0] != "photorank" or len(parts) < 2 or not is_module(parts[1]):
            continue
        there = parts[1]
        down = LEVEL[here] > LEVEL[there]
        assert down or here == there or (here, there) in ALLOWED_BESIDE, f"{path.name} ({here}) imports {name}"


def is_module(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists() or (PACKAGE / name / "__init__.py").exists()


def test_every_part_has_its_level() -> None:
    assert {part_of(path) for path in modules()} <= set(LEVEL)


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("photorank.cli", {"torch", "open_clip", "pyiqa", "zarr", "pandas", "pyarrow", "PIL", "numpy"}),
        ("photorank.store", {"torch", "zarr", "pandas", "PIL"}),
        ("photorank.stages.fit_head", {"open_clip", "pyiqa", "torchvision", "PIL", "simplejpeg"}),
        ("photorank.stages.evaluate", {"open_clip", "pyiqa", "torchvision", "PIL", "simplejpeg"}),
        ("photorank.stages.stars", {"torch", "open_clip", "pyiqa", "PIL", "zarr"}),
        ("photorank.stages.check", {"torch", "open_clip", "pyiqa", "zarr", "PIL"}),
        ("photorank.stages.degrade", {"torch", "open_clip", "pyiqa", "zarr"}),
        ("photorank.stages.extract", {"torch", "open_clip", "pyiqa", "torchvision", "pandas", "zarr"}),
    ],
)
def test_importing_stays_light(module: str, never: set[str]) -> None:
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not never & set(out.split())


def test_modules_stay_small() -> None:
    long = {str(path): n for path in modules() if (n := len(path.read_text(encoding="utf-8").splitlines())) > 300}
    assert not long
