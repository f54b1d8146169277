"""Processes that work on photos: results, deaths, hangs and faults."""

import logging
import multiprocessing.context
import os
import signal
import time

import pytest

from photorank.errors import PhotoError
from photorank.stages.workers import each


def work(path: str) -> int:
    if path == "bad":
        raise PhotoError("is bad")
    if path == "dies":
        os._exit(7)
    if path == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if path == "hangs":
        time.sleep(600)
    if path == "disk full":
        raise OSError(28, "No space left on device")
    return len(path)


def test_a_process_that_dies_or_hangs_costs_its_own_path_only() -> None:
    paths = ["a", "bad", "bbb", "dies", "cc", "killed", "dddd", "hangs", "eeeee"]
    found = dict(each(work, paths, 2, seconds=4))
    assert {path: result for path, result in found.items() if isinstance(result, int)} == {
        path: len(path) for path in ("a", "bbb", "cc", "dddd", "eeeee")
    }
    causes = {path: str(result) for path, result in found.items() if isinstance(result, PhotoError)}
    assert causes["bad"] == "is bad"
    assert causes["dies"] == "ended the process that worked on it (status 7)"
    assert "worked on it" in causes["killed"]
    assert causes["hangs"] == "was given up: it was not done within 4 s"


def test_any_other_error_ends_it_all() -> None:
    with pytest.raises(OSError, match="No space left"):
        list(each(work, ["a", "disk full", "hangs"], 2, seconds=60))


def test_where_no_process_can_be_started_the_work_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def start(self: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.context.SpawnProcess, "start", start)
    with caplog.at_level(logging.WARNING):
        found = dict(each(work, ["a", "bad", "bbb", "cc"], 2, seconds=60))
    assert (found["a"], found["bbb"], str(found["bad"])) == (1, 3, "is bad")
    assert 1 <= caplog.text.count("no other can be started ([Errno 11] Resource temporarily unavailable)") <= 2
    with pytest.raises(OSError, match="No space left"):
        list(each(work, ["a", "disk full"], 2, seconds=60))
