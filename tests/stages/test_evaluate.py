"""evaluate through the command line and the Python door, on features in which the preferred photo is planted."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import brier_score_loss, log_loss

from photorank.config import ExtractConfig, HeadConfig
from photorank.errors import ComparisonsError, RunError, StoreError
from photorank.stages.baselines import baselines
from photorank.stages.evaluate import evaluate
from photorank.stages.extract import extract
from photorank.stages.fit_head import fit_head
from photorank.store import FeatureStore, FileRow
from tests.conftest import Run, make_picture

SERIES = 90
PICTURES = ("reliability", "by-agreement", "coverage", "learning-curves", "mistakes")
SPEC = {"kind": "iqa", "statistics": {"names": ["sharpness", "other"], "version": 1}}


def add_photos(store: FeatureStore, features: pd.DataFrame, folder: Path) -> None:
    keys = [np.frombuffer(f"{number:032d}".encode(), np.uint8) for number in features.index]
    store.add_files([
        FileRow(os.fsencode(folder / name), int(size), 1, key.tobytes(), None, None)
        for name, size, key in zip(features["name"], features["size"], keys, strict=True)
    ])  # fmt: skip
    space = store.create_space("iqa", SPEC, dim=2, dtype="float32", role="statistic")
    space.append(np.stack(keys), features[["sharpness", "other"]].to_numpy(np.float32))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 series of three photos, preferred by a quality that a feature reads with noise; a run on all features, and one
    that was trained on labels of nothing; comparisons with a split, and the same without."""
    folder = tmp_path_factory.mktemp("work")
    generator = np.random.default_rng(0)
    quality = generator.normal(size=3 * SERIES)
    features = pd.DataFrame({
        "name": [f"{photo // 3:02d}/{photo % 3}.jpg" for photo in range(3 * SERIES)],
        "size": generator.integers(1000, 2000, 3 * SERIES),
        "sharpness": quality + generator.normal(0, 0.7, 3 * SERIES), "other": generator.normal(size=3 * SERIES),
    })  # fmt: skip
    rows = []
    for photo in range(0, 3 * SERIES, 3):
        for one, other in ((0, 1), (2, 0), (1, 2)):
            p = 1 / (1 + np.exp(-2 * (quality[photo + one] - quality[photo + other])))
            split = ("train", "val", "test")[photo // 3 % 3]
            rows.append((f"s{photo // 3}", features["name"][photo + one], features["name"][photo + other], p, split))
    table = pd.DataFrame(rows, columns=["series", "left", "right", "p_left", "split"])
    table["variant"] = [("blur-2", "jpeg-40", None)[number % 3] for number in range(len(table))]
    table.to_csv(folder / "c.csv", index=False)
    table.drop(columns=["split", "variant"]).to_csv(folder / "unsplit.csv", index=False)
    table.assign(p_left=generator.random(len(table))).to_csv(folder / "noise.csv", index=False)
    add_photos(FeatureStore.create(folder / "S"), features, folder)
    fit_head(folder / "S", folder / "c.csv", HeadConfig(), folder / "run")
    fit_head(folder / "S", folder / "noise.csv", HeadConfig(epochs=3, seed=1), folder / "noise")
    return folder


def test_the_figures_are_those_of_other_libraries_on_the_predictions(work: Path) -> None:
    report = evaluate(work / "run", work / "c.csv", work / "S")
    assert (report.split, report.comparisons, report.series, report.photos) == ("test", 90, 30, 90)
    assert report.warnings == []
    told = report.predictions
    p, predicted = told["p_left"].astype(float), told["predicted"]
    found = {name: row["run"].value for name, row in report.tables["figures"].items()}
    assert found["accuracy"] == pytest.approx(((p > 0.5) == (predicted > 0.5)).mean())
    both, weights = np.repeat([1, 0], len(p)), np.concatenate([p, 1 - p])
    assert found["log loss"] == pytest.approx(log_loss(both, np.tile(predicted, 2), sample_weight=weights))
    noise = (p * (1 - p)).mean()  # of single people around their share, which scikit-learn's score has and ours not
    soft = brier_score_loss(both, np.tile(predicted, 2), sample_weight=weights)
    assert found["Brier score"] == pytest.approx(soft - noise)
    clear = np.maximum(p, 1 - p) > 0.7
    assert found["accuracy, clear"] == pytest.approx(((p > 0.5) == (predicted > 0.5))[clear].mean())
    assert found["top-1 of series"] > 0.5
    trivial = report.tables["beside trivial answers"]
    assert set(trivial) == {"the run", "always left", "always right", "file size alone", "sharpness alone"}
    assert trivial["the run"]["accuracy"].low > trivial["file size alone"]["accuracy"].high
    fitted = json.loads((work / "run" / "metrics.json").read_text())["figures"]["test"]["head"]
    assert report.tables["figures"]["accuracy"]["run"].value == pytest.approx(fitted["value"])
    assert set(report.tables["by degradation"]) == {"blur", "blur-2", "jpeg", "jpeg-40", "none"}


def test_two_runs_are_compared_in_pairs(work: Path) -> None:
    same = evaluate(work / "run", work / "c.csv", work / "S", against=work / "run").tables["figures"]
    for row in ("accuracy", "log loss"):
        each = same[row]["difference"]
        assert (each.value, each.low, each.high) == (0, 0, 0)
    report = evaluate(work / "run", work / "c.csv", work / "S", against=work / "noise")
    assert report.tables["figures"]["accuracy"]["difference"].low > 0
    assert report.tables["figures"]["log loss"]["difference"].high < 0
    assert {"predicted", "against"} <= set(report.predictions)


def test_what_was_trained_on_is_warned_of_and_can_be_left_out(work: Path, tmp_path: Path) -> None:
    seen = evaluate(work / "run", work / "c.csv", work / "S", split="train")
    assert "TRAINED ON 90 of these 90 photos, in 30 of 30 series" in seen.warnings[0]
    mixed = evaluate(work / "run", work / "unsplit.csv", work / "S", split="all", against=work / "noise")
    assert ["TRAINED ON 90 of these 270 photos, in 30 of 90 series" in each for each in mixed.warnings] == [True, True]
    unseen = evaluate(work / "run", work / "unsplit.csv", work / "S")
    assert (unseen.split, unseen.series, unseen.warnings) == ("unseen", 60, [])
    shutil.copytree(work / "run", tmp_path / "run")
    (tmp_path / "run" / "predictions.parquet").write_bytes(b"no")
    silent = evaluate(tmp_path / "run", work / "c.csv", work / "S", split="val")
    assert "does not say which photos it was trained on" in silent.warnings[0]


def test_a_run_of_a_split_drawn_by_fit_head_is_evaluated_on_what_it_held_out(work: Path, tmp_path: Path) -> None:
    fit_head(work / "S", work / "unsplit.csv", HeadConfig(epochs=2), tmp_path / "run")
    report = evaluate(tmp_path / "run", work / "unsplit.csv", work / "S")
    told = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    held_out = told[told["split"] == "val"]
    assert list(report.predictions["left"]) == list(held_out["left"])
    assert report.series == held_out["series"].nunique() == 18


def test_the_command_line_writes_a_folder_that_others_read(work: Path, tmp_path: Path, photorank: Run) -> None:
    arguments = ("evaluate", work / "run", "--comparisons", work / "c.csv", "--store", work / "S")
    done = photorank(*arguments, "--against", work / "noise", "--out", tmp_path / "E")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for text in ("(test): 90 comparisons, 30 series", "top-1 of series", "sharpness alone", "blur-2", "3 photos"):
        assert text in done.stdout
    assert {str(path.relative_to(tmp_path / "E")) for path in (tmp_path / "E").rglob("*.*")} == {
        "metrics.json", "predictions.parquet", "report.md", "tables.csv", *(f"plots/{name}.png" for name in PICTURES),
    }  # fmt: skip
    told = json.loads(photorank(*arguments, "--against", work / "noise", "--json").stdout)
    assert told == json.loads((tmp_path / "E" / "metrics.json").read_text())
    long = pd.read_csv(tmp_path / "E" / "tables.csv", keep_default_na=False)
    accuracy = long[(long["table"] == "figures") & (long["row"] == "accuracy") & (long["column"] == "run")]
    assert float(accuracy["value"].iloc[0]) == pytest.approx(told["tables"]["figures"]["accuracy"]["run"]["value"])
    predictions = pd.read_parquet(tmp_path / "E" / "predictions.parquet")
    assert list(predictions) == ["series", "split", "left", "right", "p_left", "predicted", "against", "variant"]
    report = (tmp_path / "E" / "report.md").read_text(encoding="utf-8")
    assert report.count("\n## ") == len(told["tables"]) == 7
    for name in PICTURES:
        assert f"(plots/{name}.png)" in report
        with Image.open(tmp_path / "E" / "plots" / f"{name}.png") as picture:
            assert picture.width >= 720
    again = photorank(*arguments, "--out", tmp_path / "E")
    assert (again.returncode, again.stdout) == (1, "")
    assert "is there already and is kept" in again.stderr


def test_the_folder_of_a_run_without_a_log_and_without_mistakes(work: Path, tmp_path: Path) -> None:
    shutil.copytree(work / "run", tmp_path / "run")
    (tmp_path / "run" / "log.jsonl").unlink()
    right = evaluate(tmp_path / "run", work / "c.csv", work / "S").predictions
    right = right[(right["p_left"] > 0.5) == (right["predicted"] > 0.5)]
    right.drop(columns=["predicted", "variant"]).to_csv(tmp_path / "right.csv", index=False)
    evaluate(tmp_path / "run", tmp_path / "right.csv", work / "S", out=tmp_path / "E")
    made = {path.stem for path in (tmp_path / "E" / "plots").iterdir()}
    assert made == {"reliability", "by-agreement", "coverage"}
    assert "mistakes" not in (tmp_path / "E" / "report.md").read_text(encoding="utf-8")


def test_figures_that_cannot_be_said_are_null(work: Path, tmp_path: Path, photorank: Run) -> None:
    file = tmp_path / "one.csv"
    file.write_text("series,left,right,p_left,split\na,01/0.jpg,01/1.jpg,0.5,val\n")
    done = photorank("evaluate", work / "run", "--comparisons", file, "--photos", work, "--store", work / "S", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout, parse_constant=pytest.fail)["tables"]["figures"]
    assert told["accuracy"]["run"] == {"value": None, "low": None, "high": None, "n": 0, "groups": 0}
    assert told["log loss"]["run"]["low"] is None
    shown = photorank("evaluate", work / "run", "--comparisons", file, "--photos", work, "--store", work / "S")
    assert "one series has none" in shown.stdout


@pytest.mark.parametrize(
    ("rows", "split", "said"),
    [
        ("a,01/0.jpg,01/9.jpg,1,val\nb,04/0.jpg,04/8.jpg,1,val\n", None, r"01/9\.jpg \(and 1 more photos like it\)"),
        ("a,01/0.jpg,01/1.jpg,1,train\n", None, "has only the split 'train'"),
        ("a,01/0.jpg,01/1.jpg,1,train\n", "test", r"no comparisons in the split 'test' \(only train\)"),
        ("a,00/0.jpg,00/1.jpg,1,val\n", "unseen", "every series has a photo that the run was trained on"),
        ("a,01/0.jpg,01/1.jpg,1,train\nb,04/0.jpg,./04/0.jpg,1,val\n", None, "row 2: left and right are two names"),
    ],
)
def test_comparisons_that_cannot_be_evaluated_say_why(
    rows: str, split: str | None, said: str, work: Path, tmp_path: Path
) -> None:
    file = tmp_path / "c.csv"
    file.write_text("series,left,right,p_left,split\n" + rows)
    with pytest.raises(ComparisonsError, match=said):
        evaluate(work / "run", file, work / "S", split, work)


def test_a_split_of_a_file_without_splits_is_refused(work: Path) -> None:
    with pytest.raises(ComparisonsError, match=r"the split 'val' \(no column 'split'\); --split unseen"):
        evaluate(work / "run", work / "unsplit.csv", work / "S", "val")


def test_photos_of_other_splits_need_not_be_in_the_store(work: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_text("series,left,right,p_left,split\na,x.jpg,y.jpg,1,train\nb,01/0.jpg,01/1.jpg,1,val\n")
    assert evaluate(work / "run", file, work / "S", photos=work).comparisons == 1


def test_a_store_with_other_features_is_refused_and_photos_without_any_are_named(work: Path, tmp_path: Path) -> None:
    other = FeatureStore.create(tmp_path / "S")
    seen_elsewhere(other, work)
    with pytest.raises(RunError, match=r"trained on iqa@\w+ \(statistic\), which .* has no space 'iqa'"):
        evaluate(work / "run", work / "c.csv", tmp_path / "S")
    other.create_space("iqa", {**SPEC, "decode": "fast"}, dim=2, dtype="float32", role="statistic")
    with pytest.raises(RunError, match=r"does not hold \(it has iqa@\w+ \(statistic\), of another spec\); extract"):
        evaluate(work / "run", work / "c.csv", tmp_path / "S")
    space = other.create_space("iqa", SPEC, dim=2, dtype="float32", role="statistic")
    space.append(np.frombuffer(f"{6:032d}".encode(), np.uint8)[None], np.zeros((1, 2), np.float32))
    with pytest.raises(StoreError, match=r"has no vector of .*02.\d\.jpg and 88 more photos; extract them as"):
        evaluate(work / "run", work / "c.csv", tmp_path / "S")


def test_photos_that_were_never_there_have_no_file_size(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "S")
    keys = np.arange(96, dtype=np.uint8).reshape(3, 32)
    sizes = (7, 9, 0)
    store.add_files([
        FileRow(b"/%d.jpg" % size, size, 1, key.tobytes(), None, None) for key, size in zip(keys, sizes, strict=True)
    ])  # fmt: skip
    assert baselines(store, keys[:2])["file size"].tolist() == [7, 9]
    assert baselines(store, keys) == {}


def seen_elsewhere(store: FeatureStore, work: Path) -> None:
    """The photos of `work` seen by another store, without features."""
    table = FeatureStore.open(work / "S").files()
    rows = zip(table["path"].to_pylist(), table["key"].to_pylist(), strict=True)
    store.add_files([FileRow(path, 1, 1, key, None, None) for path, key in rows])


def test_from_degraded_photos_to_a_table_of_degradations(tmp_path: Path, photorank: Run) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(10):
        make_picture(number).save(tmp_path / "photos" / f"{number}.png")
    made = ("comparisons", "degrade", tmp_path / "photos", "--out", tmp_path / "d", "--variants", "blur")
    assert photorank(*made, "--workers", "1").returncode == 0
    extract([tmp_path / "d"], tmp_path / "S", ExtractConfig(workers=1))
    fit_head(tmp_path / "S", tmp_path / "d" / "comparisons.csv", HeadConfig(val_fraction=0.5), tmp_path / "run")
    report = evaluate(tmp_path / "run", tmp_path / "d" / "comparisons.csv", tmp_path / "S")
    assert (report.split, report.series, report.comparisons) == ("unseen", 5, 20)
    blurred = report.tables["by degradation"]
    assert list(blurred) == ["blur", "blur-1", "blur-2", "blur-4", "blur-8"]
    assert blurred["blur"]["accuracy"].value == report.tables["figures"]["accuracy"]["run"].value > 0.9
    assert report.tables["figures"]["top-1 of series"]["run"].n == 5


def test_a_split_of_another_name_is_wrong_usage(work: Path, photorank: Run) -> None:
    done = photorank("evaluate", work / "run", "--comparisons", work / "c.csv", "--split", "tests")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
