"""An unfinished training on disk: enough to go on from, replaced whole or not at all, and nothing that is unpickled.

.OUT.part/           beside the run OUT that it is to become
  state.json         what is trained on what, how far it is, and the names of the files below; replaced last
  step-N.safetensors the model, the optimiser's state, the weights' moving average
  best-N.safetensors the weights of the best epoch so far
  events/            TensorBoard's curves
.OUT.part.lock       held by the process that trains
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.torch
import torch
from accelerate import Accelerator
from torch import Tensor

from photorank.errors import RunError
from photorank.store.durable import sync_folder, write_atomically
from photorank.training.siamese import Progress, Trainer

if TYPE_CHECKING:
    from filelock import BaseFileLock

_STATE = "state.json"
_SHOWN = 3  # options that differ


def folder_of(out: Path) -> Path:
    """Where the training of the run `out` lives until it is done."""
    return out.parent / f".{out.name}.part"


def is_kept(out: Path) -> bool:
    """Whether there is an unfinished training of the run `out` to go on with."""
    return (folder_of(out) / _STATE).is_file()


class Unfinished:
    """The folder in which the training of a run lives until it is done. Only the main process writes."""

    def __init__(self, out: Path, about: dict[str, Any]) -> None:
        """`about` is what must be the same for a training to be gone on with: config, comparisons."""
        self.folder, self._out = folder_of(out), out
        # As JSON gives it back.
        self._about: dict[str, Any] = json.loads(json.dumps(about))
        self._best: str | None = None

    @contextlib.contextmanager
    def alone(self, accelerator: Accelerator) -> Iterator[None]:
        """Let nobody else train this run in the block; RunError, in all processes alike, where somebody does. The
        system frees the lock of a process that ends, however it ends."""
        from filelock import FileLock

        lock = FileLock(self.folder.with_name(f"{self.folder.name}.lock"))
        problem = self._take(lock) if accelerator.is_main_process else None
        try:
            lost = torch.tensor(float(problem is not None), device=accelerator.device)
            if accelerator.reduce(lost) > 0:
                raise problem or RunError(f"{self._out} is not trained: see what the first of these processes said")
            yield
        finally:
            if lock.is_locked:
                if not self.folder.exists():  # nothing is there that it could guard
                    with contextlib.suppress(OSError):  # Windows deletes no open file
                        Path(lock.lock_file).unlink()
                lock.release()

    @property
    def exists(self) -> bool:
        """Whether there is a training to go on with."""
        return is_kept(self._out)

    def refuse(self, resume: bool) -> None:
        """RunError where there is an unfinished training that is not to be gone on with, or is of something else."""
        if not self.exists:
            return
        if not resume:
            raise RunError(
                f"an unfinished training of {self._out} is in {self.folder}: --resume goes on with it; or remove it"
            )
        told = self._read()["about"]
        if changed := [name for name, value in self._about.items() if told.get(name) != value]:
            difference = _difference(told.get(changed[0]), self._about[changed[0]])
            raise RunError(
                f"the unfinished training in {self.folder} has another {changed[0]}{difference}: make the call as it "
                f"was, or name another --out"
            )

    def restore(self, trainer: Trainer) -> None:
        """Put a trainer where the unfinished training was, if there is one; what one left that was killed before its
        first checkpoint goes."""
        if not self.exists:
            if trainer.accelerator.is_main_process:
                self.remove()
            return
        state = self._read()
        try:
            tensors = safetensors.torch.load_file(self.folder / state["tensors"])
            _unflatten(tensors, trainer)
            trainer.progress = Progress(**state["progress"])
        except (OSError, KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise RunError(f"{self.folder} is damaged ({' '.join(str(error).split())[:200]}); remove it") from error
        self._best = state["best"]
        if trainer.accelerator.is_main_process:
            trainer.sums += torch.tensor(trainer.progress.sums, device=trainer.sums.device)

    def save(self, trainer: Trainer) -> None:
        """Replace the checkpoint. `trainer.progress.sums` are those of all processes."""
        name = f"step-{trainer.progress.step}.safetensors"
        self._write_tensors(name, _flatten(trainer))
        state = {
            "about": self._about, "progress": asdict(trainer.progress), "tensors": name, "best": self._best,
        }  # fmt: skip
        try:
            write_atomically(self.folder / _STATE, json.dumps(state).encode())
            for each in self.folder.iterdir():
                if each.is_file() and each.name not in (_STATE, name, self._best):
                    each.unlink()
        except OSError as error:
            raise self._unwritten(error) from error

    def save_best(self, trainer: Trainer) -> None:
        """Keep the weights of an epoch as the best; the next checkpoint names them. Called by every process."""
        self._best = f"best-{trainer.progress.epoch}.safetensors"
        if trainer.accelerator.is_main_process:
            self._write_tensors(self._best, trainer.weights())

    def best(self) -> dict[str, Tensor]:
        """The weights of the best epoch."""
        assert self._best is not None
        return dict(safetensors.torch.load_file(self.folder / self._best))

    def remove(self) -> None:
        """What led to a run that is there now goes, or what leads nowhere."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _take(self, lock: BaseFileLock) -> RunError | None:
        """Acquire the lock; why not."""
        from filelock import Timeout

        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            return RunError(f"another process trains {self._out}: wait until it is done, or name another --out")
        except OSError as error:
            return RunError(f"{self._out} cannot be written: {error.strerror or error}; name another --out")
        return None

    def _read(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.folder / _STATE} cannot be read ({error}); remove {self.folder}") from error
        return state

    def _write_tensors(self, name: str, tensors: dict[str, Tensor]) -> None:
        temporary = self.folder / f".{name}.{secrets.token_hex(4)}.tmp"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            safetensors.torch.save_file(tensors, temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(self.folder / name)
            sync_folder(self.folder)
        except (OSError, safetensors.SafetensorError) as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: Exception) -> RunError:
        reason = getattr(error, "strerror", None) or str(error)
        return RunError(f"the training cannot be kept in {self.folder}: {reason}; make room, and go on with --resume")


def _difference(told: Any, wanted: Any) -> str:
    """The first options that differ, each as the training has it and as it is asked for now."""
    if not isinstance(told, dict) or not isinstance(wanted, dict):
        return ""
    names = [name for name in {**wanted, **told} if told.get(name) != wanted.get(name)]
    shown = [f"{name}={_value(told, name)}, not {_value(wanted, name)}" for name in names[:_SHOWN]]
    return f" ({'; '.join(shown)}{'; ...' if len(names) > _SHOWN else ''})"


def _value(options: dict[str, Any], name: str) -> str:
    return json.dumps(options[name]) if name in options else "absent"


def _flatten(trainer: Trainer) -> dict[str, Tensor]:
    """Every tensor of a training by a name of its own: `model.…`, `average.…`, `optimiser.NUMBER.…`."""
    optimising = trainer.optimising
    named = {f"model.{name}": each for name, each in trainer.model.state_dict().items()}
    named |= {f"model.{name}": each for name, each in optimising.weights.items()}
    named |= {f"average.{name}": each for name, each in optimising.average.items()}
    for number, state in optimising.optimiser.state_dict()["state"].items():
        named |= {f"optimiser.{number}.{name}": each for name, each in state.items() if each is not None}
    return {name: each.detach().cpu().contiguous() for name, each in named.items()}


def _unflatten(tensors: dict[str, Tensor], trainer: Trainer) -> None:
    optimising, state = trainer.optimising, trainer.optimising.optimiser.state_dict()
    trainer.model.load_state_dict({name[6:]: each for name, each in tensors.items() if name.startswith("model.")})
    with torch.no_grad():
        for name, each in optimising.weights.items():
            each.copy_(tensors[f"model.{name}"])
        for name, each in optimising.average.items():
            each.copy_(tensors[f"average.{name}"])
    for name, each in tensors.items():
        if name.startswith("optimiser."):
            _, number, part = name.split(".")
            state["state"].setdefault(int(number), {})[part] = each
    optimising.optimiser.load_state_dict(state)
