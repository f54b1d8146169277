"""TensorBoard events of a training: `tensorboard --logdir RUN` draws them.

TensorBoard's own writers name files by host, process and time and stamp every event with a clock; two trainings of one
seed would never have the same bytes. Here the records are TensorBoard's, the clock is whoever asks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventLog:
    """Scalars by step, in TensorBoard's format, in a new file of a folder. Use it as a context, or close it."""

    def __init__(self, folder: Path, wall_time: float | None = 0.0, after: int = 0) -> None:
        """`wall_time`, in seconds, is that of every event; None takes the clock, and no two files are the same.

        Files of a folder are numbered, and read in this order: a training that goes on `after` so many steps writes
        another one, and what the earlier ones say of later steps no longer counts. Raises OSError where the folder
        cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        self._event, self._summary, self._wall_time = Event, Summary, wall_time
        number = len(list(folder.glob("events.out.tfevents.*")))
        self._records = RecordWriter((folder / f"events.out.tfevents.{number:04d}.photorank").open("xb"))
        self._write(file_version="brain.Event:2")
        if after:
            self._write(step=after + 1, session_log=SessionLog(status=SessionLog.START))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Tag → value at a step, in the order of the tags; NaN is drawn as a gap."""
        each = [self._summary.Value(tag=tag, simple_value=value) for tag, value in sorted(values.items())]
        self._write(step=step, summary=self._summary(value=each))
        self._records.flush()

    def close(self) -> None:
        """Nothing can be written after this."""
        self._records.close()

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, **content: Any) -> None:
        clock = time.time() if self._wall_time is None else self._wall_time
        self._records.write(self._event(wall_time=clock, **content).SerializeToString(deterministic=True))
