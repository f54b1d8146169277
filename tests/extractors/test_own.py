"""Extractors of the user's own, through the command line: the README's example, and all that can go wrong with one."""

import itertools
import json
import os
import py_compile
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from photorank.config import ExtractConfig, load_config
from photorank.errors import ConfigError
from photorank.photos import decode_photo, photo_key
from photorank.runs import load_run
from photorank.stages import loader
from photorank.stages.extract import ExtractReport, extract
from photorank.stages.pipeline import Failure
from photorank.stages.rank import Ranker
from photorank.store import FeatureStore
from tests.conftest import Run, make_picture

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.split("### A feature of your own")[1].split("\n## ")[0]
(CODE,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
(CONFIG,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)


def warmth(path: Path, stripes: int) -> np.ndarray:
    """The README's example, computed some other way."""
    rgb = decode_photo(path.read_bytes()).rgb.astype(np.float64)
    edges = np.cumsum([0, *(len(part) for part in np.array_split(range(len(rgb)), stripes))])
    return np.array([(rgb[a:b, :, 0].mean() - rgb[a:b, :, 2].mean()) for a, b in itertools.pairwise(edges)])


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The README's module and config, saved as it says."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "warmth.py").write_text(CODE)
    (folder / "mine.yaml").write_text(CONFIG)
    return folder / "mine.yaml"


def write(where: Path, code: str, **options: Any) -> Path:
    """A module `bad` and a config that names its class `Bad`, beside the statistics."""
    where.mkdir(exist_ok=True)
    (where / "bad.py").write_text(code)
    feature = {"kind": "own", "extractor": "bad:Bad", **options}
    (where / "bad.yaml").write_text(yaml.safe_dump({"features": {"bad": feature, "iqa": {"kind": "iqa"}}}))
    return where / "bad.yaml"


def call(body: str) -> str:
    """A module whose class does this when it is called."""
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    return f"import numpy as np\nclass Bad:\n    def __call__(self, rgb):\n{lines}\n"


def go(photos: Path, store: Path, config: Path) -> ExtractReport:
    return extract([photos], store, load_config(ExtractConfig, "extract", str(config)))


def spaces(store: Path) -> dict[str, Any]:
    return {space.name: space for space in FeatureStore.open(store).spaces()}


def test_the_readmes_example_runs_word_for_word(mine: Path, photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", mine)
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 rows, 6 of them new" in done.stdout
    (space,) = spaces(tmp_path / "S").values()
    assert (space.name, space.role, space.dim, space.dtype) == ("warmth", "statistic", 4, np.float32)
    for path in photo_folder.rglob("IMG_*"):
        _, rows = space.load([photo_key(path.read_bytes())])
        np.testing.assert_allclose(rows[0], warmth(path, 4), rtol=1e-4, atol=1e-3)
    again = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", mine)
    assert again.stdout.startswith("nothing to do")


def test_what_changes_the_vectors_makes_a_new_space(
    mine: Path, photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    """The options, the version, the module's bytes: also when a stale `__pycache__` lies beside it."""
    module = mine.with_name("warmth.py")

    def extracted() -> int:
        done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", mine, "--json")
        assert done.returncode == 0, done.stderr
        return len(FeatureStore.open(tmp_path / "S").spaces())

    assert extracted() == 1
    mine.write_text(CONFIG.replace("stripes: 4", "stripes: 5"))
    assert extracted() == 2
    mine.write_text(CONFIG.replace("role:", 'version: "2", role:'))
    assert extracted() == 3
    mine.write_text(CONFIG)
    py_compile.compile(str(module), doraise=True)
    seen = module.stat()
    module.write_text(CODE.replace("rgb[..., 2]", "rgb[..., 1]"))
    os.utime(module, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert extracted() == 4
    found = [space for space in FeatureStore.open(tmp_path / "S").spaces() if space.dim == 4]
    path = photo_folder / "series-1" / "IMG_0.jpg"
    rows = {float(space.load([photo_key(path.read_bytes())])[1][0, 0]) for space in found}
    assert len(rows) == 2  # red minus blue twice (two versions), red minus green once


def test_a_run_over_it_ranks_with_the_config_and_runs_no_code_without(
    mine: Path, tmp_path: Path, photorank: Run
) -> None:
    rows = []
    photos = tmp_path / "photos"
    for number in range(8):
        series = photos / f"s{number}"
        series.mkdir(parents=True)
        picture = np.asarray(make_picture(number)).astype(int)
        for name, shift in (("warm", 25), ("cold", -25)):
            shifted = np.clip(picture + np.array([shift, 0, -shift]), 0, 255).astype(np.uint8)
            Image.fromarray(shifted).save(series / f"{name}.png")
        rows.append((series.name, f"{series.name}/warm.png", f"{series.name}/cold.png", 0.9))
    table = pd.DataFrame(rows, columns=["series", "left", "right", "p_left"])
    table.to_csv(photos / "c.csv", index=False)
    run, store = tmp_path / "run", tmp_path / "S"
    photorank("extract", photos, "--store", store, "--config", mine)
    fitted = photorank("fit-head", "--store", store, "--comparisons", photos / "c.csv", "--out", run)
    assert fitted.returncode == 0, fitted.stderr
    by_folder = ("--series-by", "folder")
    ranked = photorank("rank", photos, "--model", run, "--no-store", "--config", mine, "--json", *by_folder)
    assert ranked.returncode == 0, ranked.stderr
    kept = [Path(row["path"]).stem for row in json.loads(ranked.stdout)["ranking"] if row["keep"]]
    assert kept == ["warm"] * 8
    config = load_config(ExtractConfig, "extract", str(mine))
    table = Ranker(load_run(run)).rank([photos], store=tmp_path / "T", config=config, series_by="folder")
    assert {Path(path).stem for path in table[table["keep"]]["path"]} == {"warm"}
    without = photorank("rank", photos, "--model", run, "--no-store")
    assert without.returncode == 1
    assert "is only run when a config of yours names it: --config FILE" in without.stderr
    mine.with_name("warmth.py").write_text(CODE + "\n# edited\n")
    with pytest.raises(ConfigError, match="module's file of warmth:Warmth is not as it was when the run was trained"):
        Ranker(load_run(run)).rank([photos], store=tmp_path / "U", config=config)
    mine.with_name("warmth.py").write_text(CODE)
    mine.write_text(CONFIG.replace("stripes: 4", "stripes: 5"))
    config = load_config(ExtractConfig, "extract", str(mine))
    with pytest.raises(ConfigError, match="the `options` of warmth:Warmth is not as it was"):
        Ranker(load_run(run)).rank([photos], store=tmp_path / "U", config=config)


@pytest.mark.parametrize(
    ("code", "options", "said"),
    [
        ("", {"extractor": "nowhere:Bad"}, "there is no module 'nowhere' in "),
        ("", {"extractor": "no.where:Bad"}, "there is no module 'no.where' in "),
        ("", {"extractor": "bad.Bad"}, "bad: extractor is written module:Class, not 'bad.Bad'"),
        ("", {"extractor": "sys:Bad"}, "there is no module 'sys' in "),
        ("class Other: ...", {}, "has no 'Bad', which the feature bad names"),
        ("1 / 0", {}, "bad.py cannot be imported: ZeroDivisionError: division by zero"),
        ("def Bad(:", {}, "bad.py cannot be imported: SyntaxError: invalid syntax"),
        ("import nowhere", {}, "bad.py cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit('bye')", {}, "bad.py cannot be imported: SystemExit: bye"),
        ("import os; os._exit(3)", {}, "no process can be started that loads photos (it ended before it was ready)"),
        ("class Bad: ...", {"options": {"size": 3}}, "bad:Bad cannot be made with its options: TypeError"),
        ("class Bad: ...", {}, "bad:Bad cannot be called: give it a method __call__(self, rgb)"),
        ("Bad = 3", {}, "bad:Bad cannot be made with its options: TypeError: 'int' object is not callable"),
    ],
)
def test_an_extractor_that_cannot_be_had_is_one_sentence(
    code: str, options: dict[str, Any], said: str, photo_folder: Path, tmp_path: Path
) -> None:
    config = write(tmp_path / "mine", code, **options)
    with pytest.raises(ConfigError) as error:
        go(photo_folder, tmp_path / "S", config)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_module_that_has_the_name_of_another_says_so(photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    """Through the command line, as the others would be."""
    config = write(tmp_path / "mine", "", extractor="json:Bad")
    (tmp_path / "mine" / "json.py").write_text(call("return [1.0]"))
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config)
    assert done.returncode == 1
    assert "json.py cannot be imported as 'json': another module has that name; rename the file" in done.stderr
    assert done.stderr.startswith("photorank: ")
    assert done.stderr.count("\n") == 1, done.stderr


# What it does with one photo → what is said of that photo.
FAILING = {
    "raise ValueError('no\\nhorizon')": "could not be prepared for bad (ValueError: no horizon)",
    "return [1, 2, 3]": "the vector of bad has 3 numbers, those of other photos 2",
    "return [1, float('nan')]": "bad:Bad gave a vector for it that is not finite (nan at 1)",
    "return [1, 1e300]": "the vector of bad is not finite in float32",
    "return np.ones((2, 1))": "bad:Bad gave an array of shape (2, 1) for it, not a vector",
    "return 1.0": "bad:Bad gave an array of shape () for it, not a vector",
    "return []": "bad:Bad gave an array of shape (0,) for it, not a vector",
    "return None": "bad:Bad gave an array of shape () for it, not a vector",
    "return ['a', 'b']": "bad:Bad gave a vector of <U1 for it, not of numbers",
    "rgb[0] = 0": "could not be prepared for bad (ValueError: assignment destination is read-only)",
}


def test_photos_that_it_fails_on_are_listed_and_all_else_is_done(photo_folder: Path, tmp_path: Path) -> None:
    fine = "return [rgb.mean(), rgb.std()]"
    for number in range(len(FAILING)):  # the last by name, so that the others' length is known when they come
        make_picture(1, 200 + number).save(photo_folder / f"wide-{number}.png")
    cases = "\n".join(f"if rgb.shape[1] == {200 + number}:\n    {body}" for number, body in enumerate(FAILING))
    config = write(tmp_path / "mine", call(f"{cases}\n{fine}"))
    done = go(photo_folder, tmp_path / "S", config)
    assert {(failure.path, failure.stage, failure.error) for failure in done.failures} == {
        (str(photo_folder / f"wide-{number}.png"), "bad", said) for number, said in enumerate(FAILING.values())
    }
    rows = {name: len(space) for name, space in spaces(tmp_path / "S").items()}
    assert rows == {"bad": 6, "iqa": 6 + len(FAILING)}
    again = go(photo_folder, tmp_path / "S", config)
    assert (again.failures, again.phases) == (done.failures, None)  # known, and not tried again
    write(tmp_path / "mine", call(fine))
    assert go(photo_folder, tmp_path / "S", config).failures == []


def test_a_length_that_is_not_the_spaces_is_refused_in_a_later_call_too(
    photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    config = write(tmp_path / "mine", call("return [0.0] * (rgb.shape[1] // 80)"))
    photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config)
    make_picture(9, 240).save(photo_folder / "wide.png")
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "wide.png: the vector of bad has 3 numbers, those of other photos 2" in done.stdout


def test_one_that_crashes_or_hangs_costs_that_photo(photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    make_picture(1, 161).save(photo_folder / "crash.png")
    make_picture(1, 162).save(photo_folder / "hang.png")
    body = "import os\nif rgb.shape[1] == 161:\n    os._exit(3)\nwhile rgb.shape[1] == 162:\n    pass\nreturn [1.0]"
    config = write(tmp_path / "mine", call(body))
    config.write_text(config.read_text() + "photo_seconds: 3\n")
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config)
    assert done.returncode == 0, done.stderr
    assert "crash.png: ended the process that loaded it (status 3)" in done.stdout
    assert "hang.png: was given up: it was not loaded within 3 s" in done.stdout
    assert len(spaces(tmp_path / "S")["bad"]) == 6
    write(tmp_path / "mine", call("return [1.0]"))
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config, "--retry-failed", "--json")
    assert json.loads(done.stdout)["failures"] == []


def names_of(failures: list[Failure]) -> dict[str, tuple[str, ...]]:
    return {Path(failure.path).stem: failure.features for failure in failures}


def test_a_photo_that_several_features_refuse_is_one_photo(tmp_path: Path, photorank: Run) -> None:
    """In the count, in the list, on the terminal's line; and all have failed only if none got any vector."""
    photos = tmp_path / "photos"
    photos.mkdir()
    make_picture(1).save(photos / "fine.png")
    make_picture(2, 161).save(photos / "narrow.png")
    body = "from photorank.errors import PhotoError\nif rgb.shape[1] == 161:\n    raise PhotoError('is too narrow')"
    config = write(tmp_path / "mine", call(f"{body}\nreturn [1.0]"))
    features = yaml.safe_load(config.read_text())["features"]
    features["dots"] = {**features["bad"], "version": "2"}
    config.write_text(yaml.safe_dump({"features": features}))
    command = ("extract", photos, "--store", tmp_path / "S", "--config", config)
    counts: list[int] = []
    loaded = load_config(ExtractConfig, "extract", str(config))
    extract([photos], tmp_path / "T", loaded, progress=lambda done, total, failed: counts.append(failed))
    assert counts[-1] == 1
    for _ in range(2):  # the second time as known failures
        done = photorank(*command)
        assert (done.returncode, done.stderr) == (0, "")
        assert "1 of 2 photos failed:" in done.stdout
        lines = [line for line in done.stdout.splitlines() if "narrow.png" in line]
        assert lines == [f"  {photos / 'narrow.png'}: is too narrow (no vector of bad, dots)"]
        told = json.loads(photorank(*command, "--json").stdout)["failures"]
        assert [(each["error"], each["features"]) for each in told] == [
            ("is too narrow", ["bad"]), ("is too narrow", ["dots"]),
        ]  # fmt: skip
    (photos / "fine.png").unlink()
    assert photorank(*command).returncode == 0  # it has its statistics
    refused = photorank(*command, "--features", "bad", "--features", "dots")
    assert refused.returncode == 1
    assert f"  {photos / 'narrow.png'}: is too narrow\n" in refused.stdout
    assert "photorank: all 1 photos failed" in refused.stderr


def test_a_crash_keeps_no_other_call_from_the_photo(photo_folder: Path, tmp_path: Path, photorank: Run) -> None:
    """It counts for what the process died over: not for other features, some of these alone, or an edited module."""
    make_picture(1, 161).save(photo_folder / "crash.png")
    crash = call("import os\nif rgb.shape[1] == 161:\n    os._exit(3)\nreturn [1.0]")
    config = write(tmp_path / "mine", crash)
    first = go(photo_folder, tmp_path / "S", config)
    assert names_of(first.failures) == {"crash": ("bad", "iqa")}
    again = go(photo_folder, tmp_path / "S", config)
    assert (again.failures, again.phases) == (first.failures, None)
    told = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config, "--json").stdout
    assert [each["features"] for each in json.loads(told)["failures"]] == [["bad", "iqa"]]
    features = yaml.safe_load(config.read_text())["features"]
    config.write_text(yaml.safe_dump({"features": {**features, "dots": {**features["bad"], "version": "2"}}}))
    more = go(photo_folder, tmp_path / "S", config)  # the third, of the same code, is tried by itself
    assert names_of(more.failures) == {"crash": ("bad", "iqa", "dots")}
    config.write_text(yaml.safe_dump({"features": {"iqa": features["iqa"]}}))
    alone = go(photo_folder, tmp_path / "S", config)
    assert (alone.failures, list(alone.rows.values())) == ([], [7])
    config.write_text(yaml.safe_dump({"features": features}))
    known = go(photo_folder, tmp_path / "S", config)
    assert (names_of(known.failures), known.phases) == ({"crash": ("bad",)}, None)
    write(tmp_path / "mine", call("return [2.0]"))
    edited = go(photo_folder, tmp_path / "S", config)
    assert (edited.failures, list(edited.rows.values())) == ([], [7, 7])


def test_a_feature_that_failed_is_not_tried_again_for_the_sake_of_another(photo_folder: Path, tmp_path: Path) -> None:
    make_picture(1, 161).save(photo_folder / "crash.png")
    config = write(tmp_path / "mine", call("import os\nif rgb.shape[1] == 161:\n    os._exit(3)\nreturn [1.0]"))
    features = yaml.safe_load(config.read_text())["features"]
    config.write_text(yaml.safe_dump({"features": {"bad": features["bad"]}}))
    first = go(photo_folder, tmp_path / "S", config)
    assert names_of(first.failures) == {"crash": ("bad",)}
    config.write_text(yaml.safe_dump({"features": features}))
    more = go(photo_folder, tmp_path / "S", config)
    assert (more.failures, list(more.rows.values())) == (first.failures, [6, 7])
    assert go(photo_folder, tmp_path / "S", config).failures == first.failures


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a signal")
def test_ctrl_c_ends_a_module_that_is_never_imported(photo_folder: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "mine", f"open({str(tmp_path / 'began')!r}, 'w').close()\nwhile True: pass")
    command = [sys.executable, "-m", "photorank", "extract", photo_folder, "--store", tmp_path / "S"]
    process = subprocess.Popen([*command, "--config", config], stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "began").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "stopped; the vectors computed so far are kept" in process.communicate(timeout=20)[1]
    assert process.returncode == 130


def test_it_may_print_import_from_beside_it_and_be_part_of_a_package(
    photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    config = write(tmp_path / "mine", "", extractor="pack.deep.mod:Bad", folder="lib")
    package = tmp_path / "mine" / "lib" / "pack" / "deep"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("VALUE = 7")
    (tmp_path / "mine" / "lib" / "beside.py").write_text("import sys\nprint('imported')")
    (package / "mod.py").write_text(
        "import beside\nfrom . import VALUE\nprint('hello')\n" + call("print('noise', flush=True)\nreturn [VALUE]")
    )
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", config)
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(spaces(tmp_path / "S")["bad"].load()[1], np.full((6, 1), 7))


def test_another_role_for_a_space_that_is_there_is_refused(
    mine: Path, photo_folder: Path, tmp_path: Path, photorank: Run
) -> None:
    photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", mine)
    mine.write_text(CONFIG.replace("role: statistic", "role: visual"))
    done = photorank("extract", photo_folder, "--store", tmp_path / "S", "--config", mine)
    assert done.returncode == 1
    assert "is a statistic space of this store and the config calls it visual" in done.stderr


def test_an_option_that_is_no_json_is_refused_by_name(mine: Path) -> None:
    mine.write_text(CONFIG.replace("stripes: 4", "stripes: 2026-01-01"))
    with pytest.raises(ConfigError, match=r"features.warmth.options.stripes: .*valid JSON"):
        load_config(ExtractConfig, "extract", str(mine))


def test_no_process_but_the_loading_ones_runs_its_code(
    mine: Path, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "COMMAND", [str(tmp_path / "nowhere")])
    with pytest.raises(ConfigError, match="no process can be started that loads photos"):
        go(photo_folder, tmp_path / "S", mine)
