"""TensorBoard events, read back by TensorBoard."""

import math
from pathlib import Path

import pytest

from photorank.reports.events import EventLog


def read(folder: Path) -> dict[str, list[tuple[float, int, float]]]:
    """Tag → (wall time, step, value), as TensorBoard reads the folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(each.wall_time, each.step, each.value) for each in told.Scalars(tag)] for tag in told.Tags()["scalars"]
    }


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    with EventLog(tmp_path / "a" / "b") as log:
        log.scalars(1, {"train_loss": 0.5, "stop_loss": 0.75})
        log.scalars(2, {"train_loss": 0.25, "stop_loss": math.nan})
    told = read(tmp_path / "a" / "b")
    assert told["train_loss"] == [(0.0, 1, 0.5), (0.0, 2, 0.25)]
    assert told["stop_loss"][0] == (0.0, 1, 0.75)
    assert math.isnan(told["stop_loss"][1][2])


def test_the_same_scalars_are_the_same_bytes_and_files(tmp_path: Path) -> None:
    files = []
    for name, tags in (("one", ("x", "y")), ("two", ("y", "x"))):
        with EventLog(tmp_path / name, wall_time=7.0) as log:
            log.scalars(3, dict.fromkeys(tags, 1.0))
        (file,) = (tmp_path / name).iterdir()
        files.append((file.name, file.read_bytes()))
    assert files[0] == files[1]
    assert read(tmp_path / "one")["x"] == [(7.0, 3, 1.0)]


def test_a_training_that_goes_on_is_one_curve(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        with EventLog(tmp_path, wall_time=None) as log:
            log.scalars(step, {"loss": step / 2})
    told = read(tmp_path)["loss"]
    assert [(step, value) for _, step, value in told] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert all(clock > 1e9 for clock, _, _ in told)


def test_of_steps_that_were_done_again_the_later_ones_count(tmp_path: Path) -> None:
    for after, steps, value in ((0, range(1, 6), 0.5), (3, range(4, 7), 0.25)):
        with EventLog(tmp_path, wall_time=None, after=after) as log:
            for step in steps:
                log.scalars(step, {"loss": value})
    told = [(step, value) for _, step, value in read(tmp_path)["loss"]]
    assert told == [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.25), (5, 0.25), (6, 0.25)]


def test_what_was_written_is_there_before_the_log_is_closed(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.scalars(1, {"loss": 1.0})
    assert read(tmp_path)["loss"] == [(0.0, 1, 1.0)]
    log.close()
    with pytest.raises(ValueError, match="closed"):
        log.scalars(2, {"loss": 1.0})
