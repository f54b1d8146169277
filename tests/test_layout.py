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
# `runs` (what a training wrote) stands above training.
LEVEL = {
    "__main__": 6,
    "cli": 5,
    "__init__": 4, "stages": 4,
    "runs": 3,
    "training": 2,
    "comparisons": 1, "extractors": 1, "metrics": 1, "models": 1, "reports": 1, "store": 1,
    "config": 0, "photos": 0,
    "cells": -1, "errors": -1, "strict_json": -1,
}  # fmt: skip
ALLOWED_BESIDE = {
    ("__init__", "stages"),
    ("extractors", "models"),
    ("models", "comparisons"),
    ("reports", "comparisons"),
    ("reports", "extractors"),
    ("reports", "metrics"),
    ("reports", "models"),
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
        ("photorank.cli", {"torch", "open_clip", "pyiqa", "zarr", "pandas", "pyarrow", "PIL", "numpy", "matplotlib"}),
        ("photorank.store", {"torch", "zarr", "pandas", "PIL"}),
        ("photorank.stages.fit_head", {"open_clip", "pyiqa", "torchvision", "PIL", "simplejpeg", "matplotlib"}),
        ("photorank.stages.evaluate", {"open_clip", "pyiqa", "torchvision", "PIL", "simplejpeg", "matplotlib"}),
        ("photorank.stages.stars", {"torch", "open_clip", "pyiqa", "PIL", "zarr"}),
        ("photorank.stages.check", {"torch", "open_clip", "pyiqa", "zarr", "PIL"}),
        ("photorank.stages.degrade", {"torch", "open_clip", "pyiqa", "zarr"}),
        ("photorank.stages.report", {"torch", "open_clip", "pyiqa", "zarr", "PIL", "simplejpeg"}),
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
