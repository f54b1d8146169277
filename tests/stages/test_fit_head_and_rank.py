"""fit-head and rank through the command line and the Python door, on series whose best frame is known."""

import csv
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import ImageFilter
from safetensors import safe_open

import photorank as package
from photorank.config import ExtractConfig, HeadConfig
from photorank.errors import ComparisonsError, ConfigError, PhotoError, RunError, StoreError
from photorank.runs import load_run
from photorank.stages.deciding import order
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.stages.rank import COLUMNS, rank
from photorank.stages.ranking_files import write_ranking
from photorank.store import FeatureStore, fingerprint
from tests.conftest import Run, make_picture

FRAMES = {"sharp": 0.0, "soft": 1.5, "softest": 3.0}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 series of three frames, sharp and blurred; comparisons of them; an extracted store; a run."""
    folder = tmp_path_factory.mktemp("work")
    rows = []
    for number in range(24):
        series = folder / "photos" / f"s{number:02d}"
        series.mkdir(parents=True)
        picture = make_picture(number)
        for name, radius in FRAMES.items():
            picture.filter(ImageFilter.GaussianBlur(radius)).save(series / f"{name}.png")
        rows.append((series.name, f"{series.name}/sharp.png", f"{series.name}/soft.png", 0.9))
        rows.append((series.name, f"{series.name}/softest.png", f"{series.name}/soft.png", 0.1))
    table = pd.DataFrame(rows, columns=["series", "left", "right", "p_left"])
    table.to_csv(folder / "comparisons.csv", index=False)
    extract([folder / "photos"], folder / "store", ExtractConfig())
    fit(folder, folder / "run")
    return folder


def fit(work: Path, out: Path, comparisons: Path | None = None, **options: object) -> object:
    return fit_head(
        work / "store",
        comparisons or work / "comparisons.csv",
        HeadConfig.model_validate(options),
        out,
        work / "photos",
    )


def test_the_run_holds_all_that_its_use_needs(work: Path) -> None:
    run = work / "run"
    names = {"run.json", "config.yaml", "weights.safetensors", "metrics.json", "predictions.parquet", "log.jsonl"}
    names |= {"README.md", "events", "plots"}
    assert {path.name for path in run.iterdir()} == names
    about = json.loads((run / "run.json").read_text())
    (space,) = FeatureStore.open(work / "store").spaces()
    assert about["spaces"][0]["spec"] == space.spec
    assert about["spaces"][0]["fingerprint"] == space.fingerprint
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["figures"]["val"]["head"]["value"] == 1.0
    assert set(metrics["figures"]["val"]) == {
        "head",
        "always left",
        "always right",
        "file size alone",
        "sharpness alone",
    }
    predictions = pd.read_parquet(run / "predictions.parquet")
    assert len(predictions) == 48
    held_out = predictions[predictions["split"] == "val"]
    assert held_out["series"].nunique() == round(0.2 * 24)
    assert ((held_out["margin"] > 0) == (held_out["p_left"] > 0.5)).all()


def test_the_same_seed_gives_the_same_weights(work: Path, tmp_path: Path) -> None:
    fit(work, tmp_path / "again")
    assert (tmp_path / "again" / "weights.safetensors").read_bytes() == (
        work / "run" / "weights.safetensors"
    ).read_bytes()


def test_ranking_keeps_the_sharp_frame_of_series_never_seen(work: Path, tmp_path: Path) -> None:
    for number in (70, 71):
        series = tmp_path / "new" / str(number)
        series.mkdir(parents=True)
        for name, radius in FRAMES.items():
            make_picture(number, 200, 150).filter(ImageFilter.GaussianBlur(radius)).save(
                series / f"{name}.jpg", quality=98
            )
    table = package.Ranker.load(work / "run").rank([tmp_path / "new"], tmp_path / "S", series_by="folder")
    assert [Path(path).stem for path in table["path"]] == list(FRAMES) * 2
    assert list(table["rank"]) == [1, 2, 3] * 2
    assert list(table["keep"]) == [True, False, False] * 2
    assert list(table["series"]) == [str(tmp_path / "new" / "70")] * 3 + [str(tmp_path / "new" / "71")] * 3
    np.testing.assert_allclose(table.groupby("series")["p_best"].sum(), 1, rtol=1e-6)


def test_the_command_line_from_photos_to_a_ranking(work: Path, tmp_path: Path, photorank: Run) -> None:
    store, run, out = tmp_path / "S", tmp_path / "run", tmp_path / "ranking"
    assert photorank("extract", work / "photos", "--store", store).returncode == 0
    fitted = photorank(
        "fit-head", "--store", store, "--comparisons", work / "comparisons.csv", "--photos", work / "photos",
        "--config", "iqa", "--set", "epochs=30", "--out", run, "--json",
    )  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr
    assert json.loads(fitted.stdout)["comparisons"] == {"train": 38, "val": 10, "test": 0}
    ranked = photorank(
        "rank", work / "photos" / "s00", work / "photos" / "s01", "--model", run, "--store", store, "--out", out
    )
    assert ranked.returncode == 0, ranked.stderr
    assert ranked.stdout.count("keep") == 2
    with (out / "ranking.csv").open(newline="") as file:
        (first, _, _, second, _, _) = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in (first, second)] == ["sharp.png", "sharp.png"]
    parquet, table = pd.read_parquet(out / "ranking.parquet"), pd.read_csv(out / "ranking.csv")
    assert list(parquet) == list(table) == list(COLUMNS)
    numbers = ["path", "key", "series", "rank", "score", "p_best", "keep"]
    pd.testing.assert_frame_equal(parquet[numbers], table[numbers], check_dtype=False, rtol=1e-4)
    assert ["; ".join(each) for each in parquet["reasons"]] == list(table["reasons"].fillna(""))


def test_rank_reports_bad_photos_and_ranks_the_others(work: Path, tmp_path: Path, photorank: Run) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    make_picture(1).save(folder / "fine.png")
    (folder / "bad.jpg").write_bytes(b"no")
    done = photorank("rank", folder, "--model", work / "run", "--no-store")
    assert done.returncode == 0, done.stderr
    assert "fine.png" in done.stdout
    assert "1 of 2 photos failed:" in done.stdout
    (folder / "fine.png").unlink()
    done = photorank("rank", folder, "--model", work / "run", "--no-store")
    assert done.returncode == 1
    assert "none of the 1 photos can be ranked" in done.stderr


def test_series_by_a_table(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for number in range(4):
        make_picture(number).save(folder / f"{number}.png")
    names = tmp_path / "series.csv"
    names.write_text("path,series\np/0.png,first\np/1.png,second\np/2.png,first\np/3.png,second\n")
    run = load_run(work / "run")
    table = rank([folder], run, tmp_path / "S", series_by=str(names)).table
    assert {name: sorted(Path(p).stem for p in part["path"]) for name, part in table.groupby("series")} == {
        "first": ["0", "2"], "second": ["1", "3"],
    }  # fmt: skip
    names.write_text("path,series\np/0.png,first\n")
    with pytest.raises(ConfigError, match=r"names no series for .*1\.png and 2 more photos"):
        rank([folder], run, tmp_path / "S", series_by=str(names))
    with pytest.raises(ConfigError, match=r"'nowhere\.csv' is neither"):
        rank([folder], run, tmp_path / "S", series_by="nowhere.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="columns path and series"):
        rank([folder], run, tmp_path / "T", series_by=str(tmp_path / "bad.csv"))
    assert not (tmp_path / "T").exists(), "it is said before the work"


def test_a_written_ranking_says_what_a_series_is_also_where_a_photo_failed(work: Path, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    for number in range(3):
        make_picture(number).save(folder / f"{number}.png")
    (folder / "bad.jpg").write_bytes(b"no")
    run = load_run(work / "run")
    first = rank([folder], run, tmp_path / "S", series_by="folder")
    write_ranking(first.table, tmp_path / "out")
    again = rank([folder], run, tmp_path / "S", series_by=str(tmp_path / "out" / "ranking.csv"))
    pd.testing.assert_frame_equal(again.table, first.table)
    assert [Path(each.path).name for each in again.extraction.failures] == ["bad.jpg"]
    make_picture(3).save(folder / "new.png")
    with pytest.raises(ConfigError, match=r"names no series for .*new\.png; add a row for each"):
        rank([folder], run, tmp_path / "S", series_by=str(tmp_path / "out" / "ranking.csv"))


def test_a_head_over_differences_ranks_too(work: Path, tmp_path: Path) -> None:
    fit(work, tmp_path / "run", head="difference")
    run = load_run(tmp_path / "run")
    assert run.model.head == "difference"
    table = rank([work / "photos" / name for name in ("s00", "s01")], run, tmp_path / "S").table
    assert [Path(path).stem for path in table["path"]] == list(FRAMES) * 2
    np.testing.assert_allclose(table.groupby("series")["score"].sum(), 0, atol=1e-5)


def test_probabilities_of_a_series_of_two_are_bradley_and_terrys() -> None:
    table = pd.DataFrame(
        {"path": ["a", "b"], "key": ["", ""], "series": ["s", "s"], "score": [0.3, 1.1], "bracket": [None, None]}
    )
    ranked = order(table)
    assert list(ranked["path"]) == ["b", "a"]
    np.testing.assert_allclose(ranked["p_best"][0], 1 / (1 + np.exp(-0.8)))


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="such names need a Linux file system")
def test_names_that_are_no_text_are_ranked_and_written(work: Path, tmp_path: Path, photorank: Run) -> None:
    folder = tmp_path / "p\udcff"
    folder.mkdir()
    for number, name in enumerate(("\udcff\n", "=1+1")):
        make_picture(number).save(folder / f"{name}.png")
    done = photorank(
        "rank", folder, "--model", work / "run", "--store", tmp_path / "S", "--out", tmp_path / "out", "--json"
    )
    assert done.returncode == 0, done.stderr
    names = {Path(row["path"]).name for row in json.loads(done.stdout)["ranking"]}
    assert names == {"\udcff\n.png", "=1+1.png"}
    for name, reader in (("ranking.csv", pd.read_csv), ("ranking.parquet", pd.read_parquet)):
        read = reader(tmp_path / "out" / name)
        assert {Path(each).name for each in read["path"]} == {"\\udcff\n.png", "=1+1.png"}
    shown = photorank("rank", folder, "--model", work / "run", "--store", tmp_path / "S")
    assert r"\udcff\n.png" in shown.stdout


def test_spaces_are_chosen_by_name_and_ambiguity_is_told(work: Path, tmp_path: Path) -> None:
    store = tmp_path / "S"
    (photo,) = [work / "photos" / "s00"]
    features = {"cnn": {"kind": "cnn", "model": "resnet18", "weights": "random"}, "iqa": {"kind": "iqa"}}
    extract([photo], store, ExtractConfig.model_validate({"features": features, "device": "cpu"}))
    comparisons = tmp_path / "c.csv"
    comparisons.write_text(f"series,left,right,p_left,split\n1,{photo}/sharp.png,{photo}/soft.png,1,train\n")
    for spaces in (["iqa"], ["cnn"], []):
        fit_head(store, comparisons, HeadConfig(features=spaces), tmp_path / f"run-{spaces}")
        run = load_run(tmp_path / f"run-{spaces}")
        assert [feature.name for feature in run.features] == (spaces or ["cnn", "iqa"])
        assert len(rank([photo], run, store).table) == 3
    with pytest.raises(StoreError, match=r"has no space 'clip'; it has cnn@\w+, iqa@\w+"):
        fit_head(store, comparisons, HeadConfig(features=("clip",)), tmp_path / "r")
    features["cnn"]["seed"] = 1
    extract([photo], store, ExtractConfig.model_validate({"features": features, "device": "cpu"}))
    with pytest.raises(StoreError, match=r"'cnn' could be cnn@\w+, cnn@\w+"):
        fit_head(store, comparisons, HeadConfig(features=("cnn",)), tmp_path / "r")
    with pytest.raises(ConfigError, match="several spaces of one name"):
        fit_head(store, comparisons, HeadConfig(), tmp_path / "r")


def test_a_photo_that_is_not_in_the_store_is_named(work: Path, tmp_path: Path, photorank: Run) -> None:
    bad = tmp_path / "c.csv"
    bad.write_text("series,left,right,p_left\ns00,s00/sharp.png,s00/blurred.png,0.5\n")
    done = photorank(
        "fit-head",
        "--store",
        work / "store",
        "--comparisons",
        bad,
        "--photos",
        work / "photos",
        "--out",
        tmp_path / "r",
    )
    assert done.returncode == 1
    assert "s00/blurred.png" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_a_photo_without_a_vector_in_one_space_is_named(work: Path, tmp_path: Path) -> None:
    store = tmp_path / "S"
    extract([work / "photos" / "s00", work / "photos" / "s01"], store, ExtractConfig())
    features = {"cnn": {"kind": "cnn", "model": "resnet18", "weights": "random"}}
    extract([work / "photos" / "s00"], store, ExtractConfig.model_validate({"features": features, "device": "cpu"}))
    comparisons = tmp_path / "c.csv"
    comparisons.write_text("series,left,right,p_left,split\n1,s01/sharp.png,s01/soft.png,1,train\n")
    with pytest.raises(StoreError, match=r"cnn@\w+ has no vector of .*s01.s\w+.png and 1 more photos"):
        fit_head(store, comparisons, HeadConfig(), tmp_path / "r", work / "photos")


def test_only_held_out_comparisons_are_nothing_to_learn_from(work: Path, tmp_path: Path) -> None:
    comparisons = tmp_path / "c.csv"
    comparisons.write_text("series,left,right,p_left,split\n1,s01/sharp.png,s01/soft.png,1,val\n")
    with pytest.raises(ComparisonsError, match="no comparisons in the split 'train'"):
        fit(work, tmp_path / "r", comparisons)


def test_an_existing_run_is_kept(work: Path) -> None:
    before = (work / "run" / "weights.safetensors").read_bytes()
    with pytest.raises(RunError, match="is there already and is kept"):
        fit(work, work / "run")
    assert (work / "run" / "weights.safetensors").read_bytes() == before


def test_a_run_that_ends_in_an_error_leaves_nothing(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device; nothing is left of it"):
        fit(work, tmp_path / "r")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spoilt", ["run.json", "config.yaml", "weights.safetensors"])
def test_a_damaged_run_is_refused_in_a_sentence(spoilt: str, work: Path, tmp_path: Path, photorank: Run) -> None:
    run = tmp_path / "run"
    shutil.copytree(work / "run", run)
    (run / spoilt).write_bytes((run / spoilt).read_bytes()[:-50])
    done = photorank("rank", work / "photos", "--model", run, "--no-store")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(run) in done.stderr
    (run / spoilt).unlink()
    with pytest.raises(RunError):
        load_run(run)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("config.yaml", "dropout: [1,\n  2", "cannot be read: while parsing"),
        ("config.yaml", "- a", "is damaged"),
        ("run.json", "[]", "run.json does not say its format"),
        ("run.json", "null", "run.json does not say its format"),
        ("run.json", '{"format": "2"}', "run.json does not say its format"),
        ("run.json", '{"format": 1, "kind": "head", "spaces": [1]}', "is damaged"),
        ("run.json", '{"format": 1, "kind": "head", "spaces": [[]]}', "is damaged"),
        ("run.json", '{"format": 1, "kind": "head", "spaces": null}', "is damaged"),
    ],
)
def test_a_run_that_holds_something_else_is_one_sentence(
    name: str, text: str, said: str, work: Path, tmp_path: Path
) -> None:
    shutil.copytree(work / "run", tmp_path / "run")
    (tmp_path / "run" / name).write_text(text)
    with pytest.raises(RunError, match=said) as error:
        load_run(tmp_path / "run")
    assert "\n" not in str(error.value)


def test_a_changed_spec_and_a_newer_format_are_refused(work: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(work / "run", run)
    about = json.loads((run / "run.json").read_text())
    about["spaces"][0]["spec"]["decode"] = "fast"
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(RunError, match="the spec of iqa was changed after training"):
        load_run(run)
    (run / "run.json").write_text(json.dumps({**about, "format": 99}))
    with pytest.raises(RunError, match="format 99; this photorank reads up to 1"):
        load_run(run)
    with pytest.raises(RunError, match="is not a run"):
        load_run(tmp_path)


def test_a_run_over_features_that_this_photorank_does_not_compute_is_refused(work: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(work / "run", run)
    about = json.loads((run / "run.json").read_text())
    about["spaces"][0]["spec"]["statistics"]["version"] = 0
    about["spaces"][0]["fingerprint"] = fingerprint(about["spaces"][0]["spec"])
    (run / "run.json").write_text(json.dumps(about))
    with pytest.raises(ConfigError, match="these statistics are of version 0, this photorank computes version"):
        rank([work / "photos" / "s00"], load_run(run), work / "store")


def test_a_folder_without_photos_is_a_sentence(work: Path, tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="there are no photos there"):
        rank([tmp_path], load_run(work / "run"), tmp_path / "S")


def test_weights_are_plain_tensors(work: Path) -> None:
    with safe_open(work / "run" / "weights.safetensors", "pt") as file:
        assert "mlp.0.weight" in set(file.keys())
