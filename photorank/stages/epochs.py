"""The epochs of a training: steps, checkpoints, the early-stopping slice, curves; and how it is stopped."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from photorank.errors import ConfigError, RunError
from photorank.reports.events import EventLog
from photorank.stages.pipeline import Progress
from photorank.training.checkpoints import Unfinished
from photorank.training.siamese import Photos, Trainer


class Epochs:
    """Trains from where the trainer stands until its epochs are over or the early-stopping slice says so."""

    def __init__(
        self, trainer: Trainer, photos: Photos, stop_rows: NDArray[np.int64], unfinished: Unfinished,
        progress: Progress | None = None,
    ) -> None:  # fmt: skip
        """`stop_rows`: the comparisons that early stopping looks at; none: the last epoch is kept."""
        self._trainer, self._photos, self._stop_rows, self._unfinished = trainer, photos, stop_rows, unfinished
        self._main = trainer.accelerator.is_main_process
        self._progress = progress if self._main else None
        self._since, self._waited, self._seen, self._counted = 0.0, 0.0, 0, np.zeros(4)

    def run(self) -> None:
        """Train. Raises RunError where SIGTERM stopped it, KeyboardInterrupt where Ctrl-C did, both once all is kept;
        ConfigError where the training diverges."""
        trainer, at = self._trainer, self._trainer.progress
        folder = self._unfinished.folder / "events"
        events = EventLog(folder, wall_time=None, after=at.step) if self._main else None
        with _stopping() as came, contextlib.closing(events) if events else _nothing():
            while at.epoch < trainer.config.epochs and not self._is_enough():
                self._epoch(events, came)
                self._end_epoch()
                self._stop(came)

    def _is_enough(self) -> bool:
        at = self._trainer.progress
        return bool(len(self._stop_rows)) and at.epoch - at.best_epoch >= self._trainer.config.patience

    def _epoch(self, events: EventLog | None, came: Sequence[int]) -> None:
        trainer, at, config = self._trainer, self._trainer.progress, self._trainer.config
        self._begin_window()
        batches = trainer.batches(at.epoch)
        plan = [trainer.parts(at.epoch, number, batches[number]) for number in range(at.batch, len(batches))]
        pixels = (each for _, each in self._photos.batches(part.photos for parts in plan for part in parts))
        for parts, rows in zip(plan, batches[at.batch :], strict=True):
            log = (at.step + 1) % config.log_steps == 0 or at.batch + 1 == len(batches)
            norms = trainer.step(parts, pixels, len(rows), at.epoch + at.batch / len(batches), log)
            at.batch += 1
            self._seen += sum(len(part.photos) for part in parts)
            self._tell(at.epoch + at.batch / len(batches))
            if log:
                self._log(events, norms)
            self._stop(came)
            if at.step % config.checkpoint_steps == 0:
                self._save()

    def _stop(self, came: Sequence[int]) -> None:
        """End where any process is to stop, once all is kept."""
        if not self._agreed(bool(came)):
            return
        self._save()
        if signal.SIGINT in came:
            raise KeyboardInterrupt
        raise RunError(
            f"stopped after step {self._trainer.progress.step}; the training is kept in {self._unfinished.folder}, and "
            f"the same call with --resume goes on from there"
        )

    def _end_epoch(self) -> None:
        trainer, at = self._trainer, self._trainer.progress
        loss, comparisons, decided, right = self._totals()
        self._refuse_diverged(loss)
        row = {
            "epoch": at.epoch + 1.0, "train_loss": loss / comparisons, "train_accuracy": _share(right, decided),
        }  # fmt: skip
        trainer.settle(self._photos)
        if len(self._stop_rows):
            judged = trainer.judge(self._photos, self._stop_rows)
            row |= {"stop_loss": judged["loss"], "stop_accuracy": judged["accuracy"]}
            self._refuse_diverged(judged["loss"])
        at.epochs.append(row)
        at.epoch, at.batch = at.epoch + 1, 0
        if not len(self._stop_rows) or row["stop_loss"] < at.best_loss:
            at.best_epoch, at.best_loss = at.epoch, row.get("stop_loss", row["train_loss"])
            self._unfinished.save_best(trainer)
        trainer.sums.zero_()
        self._save()

    def _refuse_diverged(self, loss: float) -> None:
        """ConfigError, in all processes alike, where the weights or a loss are no numbers: they are never kept."""
        if math.isfinite(loss) and self._trainer.is_finite():
            return
        anew = f"remove {self._unfinished.folder} and start again" if self._unfinished.exists else "start again"
        raise ConfigError(
            f"the training diverged by step {self._trainer.progress.step}: its loss or its weights are no numbers; "
            f"{anew} with a smaller --set learning_rate, or with --set clip_norm=1"
        )

    def _save(self) -> None:
        totals = self._totals()
        self._refuse_diverged(totals[0])
        self._trainer.progress.sums = totals.tolist()
        if self._main:
            self._unfinished.save(self._trainer)

    def _totals(self) -> NDArray[np.float64]:
        """`Progress.sums`, of all processes."""
        sums: torch.Tensor = self._trainer.accelerator.reduce(self._trainer.sums.clone())
        return sums.cpu().double().numpy()

    def _log(self, events: EventLog | None, norms: dict[str, torch.Tensor]) -> None:
        trainer, sums, now = self._trainer, self._totals(), time.perf_counter()
        loss, comparisons, decided, right = sums - self._counted
        seconds, waited = now - self._since, self._photos.waited - self._waited
        if events is not None:
            values = {"train/loss": loss / comparisons, "train/accuracy": _share(right, decided)}
            values |= {f"learning rate/{part}": rate for part, rate in trainer.optimising.rates.items()}
            values |= {f"gradient norm/{part}": float(norm) for part, norm in norms.items()}
            rate = self._seen * trainer.accelerator.num_processes / seconds
            values |= {"speed/photos a second": rate, "speed/share of time waiting for photos": waited / seconds}
            events.scalars(trainer.progress.step, values)
        self._begin_window(sums)

    def _begin_window(self, sums: NDArray[np.float64] | None = None) -> None:
        self._since, self._waited, self._seen = time.perf_counter(), self._photos.waited, 0
        self._counted = self._totals() if sums is None else sums

    def _tell(self, epochs: float) -> None:
        if self._progress is not None:
            photos = self._trainer.photos
            self._progress(round(epochs * photos), self._trainer.config.epochs * photos, 0)

    def _agreed(self, stop: bool) -> bool:
        """Whether any process is to stop: then all do, after the same step."""
        accelerator = self._trainer.accelerator
        if accelerator.num_processes == 1:
            return stop
        return bool(accelerator.reduce(torch.tensor(float(stop), device=accelerator.device)) > 0)


def _share(part: float, whole: float) -> float:
    """NaN where there is nothing to have a share of."""
    return part / whole if whole else math.nan


@contextlib.contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextlib.contextmanager
def _stopping() -> Iterator[Sequence[int]]:
    """The signals that came since the block began, for a training that is to end after a step, not in one: SIGTERM and
    the first Ctrl-C. A second one ends it at once."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only there signals can be taken
        yield came
        return
    # A shell's background job ignores Ctrl-C, and goes on doing so.
    taken = [each for each in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.getsignal(each) for each in taken}

    def take(number: int, _: object) -> None:
        came.append(number)
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    try:
        for each in taken:
            signal.signal(each, take)
        yield came
    finally:
        for each in taken:
            signal.signal(each, before[each])
