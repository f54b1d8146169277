"""The wheel, away from the checkout: the commands run, and configs go by name."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import make_picture

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", ROOT, "--no-deps", "--no-build-isolation", "-w", folder], check=True)
    (wheel,) = folder.glob("photorank-*.whl")
    with zipfile.ZipFile(wheel) as content:
        tops = {name.split("/")[0] for name in content.namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == {"photorank"}
        content.extractall(folder / "site")
    return folder / "site"


def run(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    # In front of the checkout, which an editable installation puts at the end of the path.
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=site.parent, check=False)


def test_commands_and_named_configs_work_from_the_wheel(site: Path, tmp_path: Path) -> None:
    told = run(site, "-c", "import photorank.config as c; print(c.__file__); print(*c.config_folders())")
    assert all(line.startswith(str(site)) for line in told.stdout.split())
    for number in range(3):
        make_picture(number).save(tmp_path / f"{number}.png")
    done = run(site, "-m", "photorank", "extract", tmp_path, "--store", tmp_path / "S", "--config", "iqa")
    assert done.returncode == 0, done.stderr
    assert "3 rows, 3 of them new" in done.stdout
    # `--config multifeature` by name: it is found and read, and says that this store lacks what it asks for.
    (tmp_path / "c.csv").write_text("series,left,right,p_left\n1,0.png,1.png,1\n")
    files = ("--store", tmp_path / "S", "--comparisons", tmp_path / "c.csv", "--out", tmp_path / "run")
    done = run(site, "-m", "photorank", "fit-head", *files, "--config", "multifeature")
    assert done.returncode == 1
    assert "has no space 'clip'; it has iqa@" in done.stderr
    done = run(site, "-m", "photorank", "fit-head", *files, "--config", "iqa", "--set", "val_fraction=0")
    assert done.returncode == 0, done.stderr
    done = run(
        site,
        "-m",
        "photorank",
        "rank",
        tmp_path,
        "--model",
        tmp_path / "run",
        "--store",
        tmp_path / "S",
        "--series-by",
        "all",
        "--out",
        tmp_path / "out",
    )
    assert done.returncode == 0, done.stderr
    assert "keep" in done.stdout
    assert "<h1>photorank</h1>" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
