"""The command line as a person meets it: help, exit codes, the README's words."""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main
from click import Command, Group

import photorank as package
from photorank.cli import app
from photorank.config import ExtractConfig
from photorank.stages.extract import extract
from tests.conftest import Run, make_picture

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> dict[str, Command]:
    """Every command by its whole name."""
    found: dict[str, Command] = {}

    def walk(command: Command, name: str) -> None:
        found[name] = command
        for sub in getattr(command, "commands", {}).values():
            walk(sub, f"{name} {sub.name}")

    walk(typer.main.get_command(app), "photorank")
    return found


def linked() -> str:
    """The README and the pages of the checkout that it links."""
    pages = [ROOT / link for link in re.findall(r"\]\(([^)#:]+\.md)\)", README)]
    return README + "".join(page.read_text(encoding="utf-8") for page in pages)


@pytest.mark.parametrize("name", commands())
def test_every_command_and_option_is_described_in_the_readme(name: str) -> None:
    text = linked()
    command = commands()[name]
    if not isinstance(command, Group) and not hasattr(command, "commands"):
        assert f"### {name}" in text
        section = text.split(f"### {name}")[1].split("\n#")[0]
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in section, f"{name} {option} is not in the README's section on it"
            if parameter.param_type_name == "argument":
                assert (parameter.metavar or "") in section
    for option in [option for parameter in command.params for option in parameter.opts]:
        assert option in text


@pytest.mark.parametrize("name", commands())
def test_every_command_has_help_and_every_parameter_too(name: str) -> None:
    command = commands()[name]
    assert command.help
    assert all(getattr(parameter, "help", None) for parameter in command.params)


def test_links_in_the_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / link for link in re.findall(r"\]\(([^)#:]+\.md)\)", README))]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page} links {link}"


def test_help_answers_in_half_a_second_of_processor_time() -> None:
    resource = pytest.importorskip("resource", reason="processor time of a child is read where there is `resource`")

    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = seconds()
    done = subprocess.run([sys.executable, "-m", "photorank", "--help"], capture_output=True, text=True, check=True)
    assert seconds() - before < 0.5
    for name in ("extract", "fit-head", "evaluate", "rank", "demo", "store", "comparisons"):
        assert name in done.stdout


def test_the_version(photorank: Run) -> None:
    assert photorank("--version").stdout.strip() == f"photorank {package.__version__}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["extract"],
        ["extract", "p"],
        ["extract", "p", "--store", "s", "--batch-size", "0"],
        ["nonsense"],
        ["store", "nonsense"],
        ["comparisons", "nonsense"],
        ["comparisons", "phototriage", "p"],
        ["rank", "p", "--model", "m", "--store", "s", "--no-store"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], photorank: Run) -> None:
    done = photorank(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["extract", "{tmp}", "--store", "{tmp}/S"], "there are no photos there"),
        (["extract", "{tmp}/nowhere", "--store", "{tmp}/S"], "does not exist"),
        (["extract", "{photos}", "--store", "{tmp}/S", "--config", "mine"], "no extract config of that name"),
        (["extract", "{photos}", "--store", "{tmp}/S", "--features", "clp"], "has no feature 'clp'"),
        (["extract", "{photos}", "--store", "{photos}"], "is no feature store and not empty"),
        (["extract", "{photos}", "--store", "{newer}"], "has format 2; this photorank reads format 1"),
        (["store", "info", "{newer}"], "has format 2"),
        (["store", "info", "{tmp}"], "is no feature store"),
        (["fit-head", "--store", "{newer}", "--comparisons", "c.csv", "--out", "{tmp}/r"], "has format 2"),
        (["rank", "{photos}", "--model", "{tmp}"], "is not a run"),
        (["evaluate", "{tmp}", "--comparisons", "c.csv"], "is not a run"),
        (["comparisons", "check", "{tmp}/c.csv"], "there is no comparisons file"),
        (["comparisons", "stars", "{photos}", "--out", "{tmp}/c.csv"], "0 of 6 photos are rated"),
        (["comparisons", "degrade", "{photos}", "--out", "{tmp}/d", "--variants", "blurr"], "did you mean 'blur'?"),
    ],
)  # fmt: skip
def test_a_known_error_is_one_sentence_and_status_1(
    arguments: list[str], said: str, photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    newer, empty = tmp_path / "newer", tmp_path / "empty"
    newer.mkdir()
    empty.mkdir()
    (newer / "photorank.json").write_text('{"format": 2}')
    done = photorank(*(each.format(tmp=empty, photos=photo_folder, newer=newer) for each in arguments))
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("photorank: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["rank", "demo", "fit-head", "evaluate"])
def test_an_out_that_cannot_be_written_is_one_sentence(
    command: str, photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    """`--out` below a file: no user can write there, root neither."""
    (tmp_path / "file").write_text("in the way")
    out, store = tmp_path / "file" / "out", tmp_path / "S"
    for number in range(3):  # large enough for the demo
        make_picture(number, 360, 300).save(photo_folder / f"{number}.jpg")
    (tmp_path / "c.csv").write_text("series,left,right,p_left\n1,series-1/IMG_0.jpg,series-1/IMG_1.jpg,1\n")
    fit = ("fit-head", "--store", store, "--comparisons", tmp_path / "c.csv", "--photos", photo_folder, "--out")
    if command != "demo":
        photorank("extract", photo_folder, "--store", store)
    if command in ("rank", "evaluate"):
        assert photorank(*fit, tmp_path / "run", "--set", "val_fraction=0").returncode == 0
    arguments = {
        "rank": ("rank", photo_folder, "--model", tmp_path / "run", "--store", store, "--out", out),
        "demo": ("demo", photo_folder, "--out", out),
        "fit-head": (*fit, out),
        "evaluate": ("evaluate", tmp_path / "run", "--split", "all", *fit[1:-1], "--out", out),
    }[command]
    done = photorank(*arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(rf"^photorank: .*{re.escape(str(out))}.*(Not a directory|File exists)", done.stderr, re.MULTILINE)


def test_a_config_with_an_unknown_key_names_the_nearest(photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("features: {iqa: {kind: iqa}}\nbatch_sise: 8\n")
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config)
    assert done.returncode == 1
    assert "unknown key 'batch_sise'; did you mean 'batch_size'?" in done.stderr


def test_extract_says_what_it_did_and_that_it_had_nothing_to_do(
    photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    first = photorank("extract", photo_folder, "--store", tmp_path / "S")
    assert first.stdout.startswith("6 photos in ")
    assert "6 rows, 6 of them new" in first.stdout
    assert first.stderr == ""
    again = photorank("extract", photo_folder, "--store", tmp_path / "S")
    assert again.stdout.startswith("nothing to do: 6 of 6 photos are unchanged")
    told = json.loads(photorank("extract", photo_folder, "--store", tmp_path / "S", "--json").stdout)
    assert (told["photos"], told["unchanged"], list(told["rows"].values())) == (6, 6, [6])
    (photo_folder / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    tried, known = (photorank("extract", photo_folder, "--store", tmp_path / "S") for _ in range(2))
    assert tried.stdout.startswith("7 photos in ")
    assert known.stdout.startswith("nothing to do: 6 of 7 photos are unchanged")
    assert "1 of 7 photos failed:" in tried.stdout and "1 of 7 photos failed:" in known.stdout


def test_progress_on_a_terminal_counts_photos_and_goes_to_stderr(photo_folder: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty", reason="a terminal is made where there are pseudo-terminals")
    screen, terminal = pty.openpty()
    command = [sys.executable, "-m", "photorank", "extract", photo_folder, "--store", tmp_path / "S"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=terminal, text=True, check=True)
    os.close(terminal)
    seen = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end was closed
        while part := os.read(screen, 65536):
            seen += part
    os.close(screen)
    assert b"6/6" in seen
    assert b"photos/s" in seen
    assert done.stdout.startswith("6 photos in ")


def test_random_weights_are_said_aloud(photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("features: {look: {kind: cnn, model: resnet18, weights: random}}\n")
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config)
    assert done.stderr.count("look: resnet18 has random weights (seed 0)") == 1


def test_store_info_shows_spaces_rows_bytes_and_specs(photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    photorank("extract", photo_folder, "--store", tmp_path / "S")
    shown = photorank("store", "info", tmp_path / "S").stdout
    for text in (
        "format 1, 6 photos seen at 6 paths, 0 failures",
        "iqa@",
        "statistic",
        "float32",
        "kind: iqa",
        "sharpness",
    ):
        assert text in shown
    told = json.loads(photorank("store", "info", tmp_path / "S", "--json").stdout)
    (space,) = told["spaces"]
    assert (space["rows"], space["segments"], space["spec"]["kind"]) == (6, 1, "iqa")
    size = sum(path.stat().st_size for path in (tmp_path / "S").rglob("*") if path.is_file())
    assert told["bytes"] == size > space["bytes"] > 6 * 57 * 4


def test_store_verify_finds_a_flipped_byte_and_a_missing_file(
    photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    store = tmp_path / "S"
    photorank("extract", photo_folder, "--store", store)
    clean = photorank("store", "verify", store)
    assert (clean.returncode, clean.stdout) == (0, "every committed byte is as it was written\n")
    (chunk,) = store.glob("spaces/*/vectors/*-*/c.0.0")
    data = bytearray(chunk.read_bytes())
    data[100] ^= 1
    chunk.write_bytes(data)
    (table,) = store.glob("files/*.parquet")
    table.unlink()
    damaged = photorank("store", "verify", store, "--json")
    assert damaged.returncode == 1
    assert "is damaged in 2 places" in damaged.stderr
    problems = " ".join(json.loads(damaged.stdout)["problems"])
    assert chunk.parts[-4] in problems
    assert table.stem in problems


def test_the_readmes_lines_of_plain_zarr_and_pyarrow_read_a_space(photo_folder: Path, tmp_path: Path) -> None:
    extract([photo_folder], tmp_path / "S", ExtractConfig())
    (space,) = package.FeatureStore.open(tmp_path / "S").spaces()
    (block,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "zarr.open_array" in block]
    names: dict[str, Any] = {}
    exec(block.replace("my-store/spaces/clip@…", str(space.path)), names)
    keys, rows = space.load()
    np.testing.assert_array_equal(names["vectors"], rows)
    assert names["keys"].to_pylist() == [key.tobytes() for key in keys]


def test_public_names_are_there_and_documented() -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in package.__doc__ or name == "__version__"
    with pytest.raises(AttributeError, match="no attribute 'Rankr'"):
        package.Rankr  # noqa: B018
