"""The run folder: every file a campaign leaves, written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from blendsearch.config import Space, space_of_run
from blendsearch.errors import ConfigError, RunError, first_line
from blendsearch.files import atomic, sweep, sweep_shared
from blendsearch.plain import State
from blendsearch.results.folder_lock import folder_locked, read_holder
from blendsearch.results.reading import checked_mapping, not_a_run, parse, taken_from
from blendsearch.results.records.common import JobRecord
from blendsearch.results.trust import mark_facts
from blendsearch.version import __version__

T = TypeVar("T")
PACKAGES = ("torch", "torchvision", "torch-pruning", "deap", "optuna", "scikit-learn", "numpy", "scipy", "joblib")
SECONDS = "records/seconds.json"
EVENTS = "events.jsonl"
TOLD_FILES = 20
HOW_IT_IS_DONE = ("compute.workers", "compute.trial_seconds", "data.workers", "data.cache", "execution.", "ledger")
"""Keys of a space that may differ when a run is resumed: where and by how many its work is done,
and where its trials are kept, changes no result."""


class RunFolder:
    """One run's folder; records, tensors, checkpoints and the log of events."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def has(self, name: str) -> bool:
        """Tell whether a file is there (files are written whole, so it is complete)."""
        return (self.path / name).exists()

    @property
    def begun(self) -> bool:
        """Whether anything lies in the folder, so that a run can be resumed in it."""
        return self.path.is_dir() and any(self.path.iterdir())

    @property
    def job(self) -> str:
        """The job that made the folder; a search of an earlier version left no note of it."""
        return self.read_record("job.json", JobRecord).job if self.has("job.json") else "search"

    @property
    def space(self) -> Space:
        """The space that the folder was made from, with today's keys; RunError where it is none by now."""
        data = self.read_json("space.json")
        with taken_from(self / "space.json"):
            return space_of_run(data)

    @property
    def identity(self) -> str:
        """Twelve letters that stand for this run, also in a copy of its folder; drawn when first asked for."""
        return self.cached("records/identity.json", str, lambda: uuid.uuid4().hex[:12])

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file."""
        with atomic(self.path / name) as part:
            part.write_text(text, encoding="utf-8")
        return self.path / name

    def write_json(self, name: str, data: Any) -> Path:
        """Write a JSON file."""
        return self.write_text(name, json.dumps(data, indent=1, allow_nan=False) + "\n")

    def read_json(self, name: str) -> State:
        """Read a JSON file that holds a mapping; RunError when it is missing, damaged or something else."""
        return checked_mapping(self / name, parse(self / name, self._read_text(name), Any))

    def write_record(self, name: str, record: Any, kind: Any = None) -> Path:
        """Write a record, or a list or mapping of records of the type `kind`, as JSON."""
        return self.write_json(name, TypeAdapter(kind or type(record)).dump_python(record, mode="json", by_alias=True))

    def read_record(self, name: str, kind: type[T]) -> T:
        """Read what `write_record` wrote; RunError names file and place of what is missing or damaged."""
        found: T = parse(self.path / name, self._read_text(name), kind)
        return found

    def _read_text(self, name: str) -> str:
        try:
            return (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise not_a_run(self.path, name) from None
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / name}: cannot be read ({error})") from None

    def cached(self, name: str, kind: type[T], make: Callable[[], T]) -> T:
        """Return a record of the folder; what a stopped run has not written yet is made now."""
        if not self.has(name):
            self.write_record(name, make(), kind)
        return self.read_record(name, kind)

    @contextlib.contextmanager
    def stopwatch(self, stage: str) -> Iterator[None]:
        """Add a stage's seconds to records/seconds.json, over all the times that it was stopped and resumed.

        Those are left out in which a stage that was there already was read once more: that wrote no new record.
        """
        start, before = time.perf_counter(), self._records()
        read = False
        try:
            yield
            read = stage in self.seconds and self._records() == before
        finally:
            if not read:
                self.add_seconds(stage, time.perf_counter() - start)

    def _records(self) -> dict[str, int]:
        """Return the records that are there, with their sizes in bytes; but for the seconds, which stages add to."""
        found = {}
        for file in (self / "records").rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # what another process was about to rename
                if file.is_file() and file != self / SECONDS:
                    found[str(file)] = file.stat().st_size
        return found

    def add_seconds(self, stage: str, more: float) -> None:
        """Add seconds to those of a stage."""
        seconds = self.seconds
        seconds[stage] = round(seconds.get(stage, 0.0) + more, 3)
        self.write_json(SECONDS, seconds)

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of every stage so far."""
        return self.read_record(SECONDS, dict[str, float]) if self.has(SECONDS) else {}

    def write_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> Path:
        """Write named tensors as safetensors."""
        with atomic(self.path / name) as part:
            save_file({key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}, part)
        return self.path / name

    def read_tensors(self, name: str) -> dict[str, Tensor]:
        """Read a safetensors file."""
        try:
            return load_file(self.path / name)
        except Exception as error:
            raise RunError(f"{self.path / name}: cannot be read ({first_line(error)})") from None

    def event(self, kind: str, **facts: Any) -> None:
        """Append a line to events.jsonl."""
        self.path.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **facts}, allow_nan=False)
        with (self.path / EVENTS).open("ab") as log:
            before = log.tell()
            try:
                log.write(f"{line}\n".encode())
                log.flush()
            except OSError:  # a full disk: what comes later is not to stand behind half a line
                with contextlib.suppress(OSError):
                    os.truncate(log.fileno(), before)
                raise

    @contextlib.contextmanager
    def locked(self, patience: float = 0.0) -> Iterator[None]:
        """Keep other processes out while this one works in the folder; see `folder_locked`."""
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                before = read_holder(self.path)
                stack.enter_context(folder_locked(self.path, patience))
            except OSError as error:  # read-only, full, a file in the way
                raise _unusable(self.path, error) from None
            if patience == 0:  # else others share the folder, and what those of other hosts write looks left behind
                self._sweep(before)
                stack.callback(sweep, self.path)  # of workers that were ended
            yield

    def _sweep(self, holder: State | None) -> None:
        """Clear away what a killed process left that held the folder before us."""
        if holder is not None and holder.get("host") == socket.gethostname():
            with contextlib.suppress(ValueError):
                sweep_shared(int(holder.get("pid", "")))
        for part in sweep(self.path):
            self.event("swept", file=str(part.relative_to(self.path)))

    def checkpoint(self, name: str) -> Checkpoint:
        """Return the store of a training run's last epoch."""
        return Checkpoint(self.path / "checkpoints" / f"{name}.pt")


class Checkpoint:
    """Keeps the state of the last finished epoch in one file, tensors and plain values only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.path)

    def load(self) -> State | None:
        """Return the state, or None when there is none."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise RunError(f"{self.path}: cannot be read ({reason}); delete it to train from the start") from None
        return checked_mapping(self.path, state)

    def save(self, state: State) -> None:
        """Write the state in place of the last one."""
        with atomic(self.path) as part:
            torch.save(state, part)

    def remove(self) -> None:
        """Delete the file once the training's result is kept elsewhere."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class FolderMark:
    """By what a worker knows a run folder, on whatever machine it is: the path, and the first line of its log.

    Another machine may have another folder of that path, or none: what lies there is of no concern to this run.
    """

    path: Path
    first_event: str

    @classmethod
    def of(cls, folder: RunFolder) -> FolderMark:
        """Return the mark of a folder."""
        path = folder.path.absolute()
        return cls(path, _first_event(path))

    @property
    def seen(self) -> bool:
        """Whether this machine sees the folder."""
        return _first_event(self.path) == self.first_event


def checkpoint_at(path: Path, mark: FolderMark | None) -> Checkpoint | None:
    """Return the store of a training's last epoch; None on a machine that does not see the run folder of the mark."""
    return Checkpoint(path) if mark is None or mark.seen else None


def _first_event(path: Path) -> str:
    try:
        with (path / EVENTS).open(encoding="utf-8") as log:
            return log.readline()
    except (OSError, ValueError):
        return ""


def note_space(folder: RunFolder, job: str, space: Space, facts: Mapping[str, Any] | None = None) -> None:
    """Write down which job works in a folder, on which space, and what else decides it (facts: plain JSON)."""
    event = "resumed" if folder.has("space.json") else "started"
    note_job(folder, job, {**(facts or {}), **mark_facts(space)})
    folder.write_text("space.yaml", space.to_yaml())
    folder.write_json("space.json", space.to_dict())
    folder.event(event, seed=space.seed)


def note_job(folder: RunFolder, job: str, facts: Mapping[str, Any] | None = None) -> None:
    """Write down which job works in a folder, what decides it, and where it was first started: paths go from there."""
    begun = folder.has("job.json")
    started_in = folder.read_record("job.json", JobRecord).started_in if begun else str(Path.cwd())
    place = {"started_in": started_in} if started_in else {}  # a folder of an earlier version does not say
    folder.write_json("job.json", {"job": job, **(facts or {}), **place})


def note_skipped(folder: RunFolder, files: Sequence[str]) -> None:
    """Log which images were left out since they could not be read, the first of many by name."""
    if files:
        folder.event("skipped", images=len(files), files=list(files[:TOLD_FILES]))


def versions() -> dict[str, str]:
    """Return package -> version, for those installed."""
    found = {"blendsearch": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def choose_folder(given: Path | None, name: str, resume: bool) -> RunFolder:
    """Return the folder of a campaign: the given one, or the next free (to resume: the latest) runs/NAME.

    Raises RunError when a given folder holds files already and is not to be resumed, or there is none to resume: a
    campaign stopped before it wrote anything is started anew.
    """
    if given is not None:
        try:
            filled = RunFolder(given).begun
        except OSError as error:  # a name that is too long, a folder that is not ours to read
            raise _unusable(given, error) from None
        if filled and not resume:
            raise RunError(f"{given}: already holds files; continue with --resume or choose another --run-dir")
        if resume and not filled:
            raise _nothing_to_resume(given)
        return RunFolder(given)
    runs = Path("runs")
    there = [n for n in range(1, 1000) if (runs / _numbered(name, n)).exists()]
    if not resume:
        # Above the highest number, not in a gap: folders in between may have been deleted, later ones are still newer.
        return RunFolder(runs / _numbered(name, max(there, default=0) + 1))
    own = [n for n in there if not _is_anothers(runs / _numbered(name, n), name)]
    if not own:
        raise _nothing_to_resume(runs / name)
    return RunFolder(runs / _numbered(name, own[-1]))


def join_folder(given: Path | None, name: str, resume: bool) -> RunFolder:
    """Return the folder of a job that several processes are started on alike: that of the first, where there is one.

    To resume there must be one. Whose files lie in it is for the job to check.
    """
    try:
        return choose_folder(given, name, resume=True)
    except RunError:
        if resume:
            raise
    return RunFolder(given) if given is not None else choose_folder(None, name, resume=False)


def _unusable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"{path}: the run folder cannot be made or read ({error.strerror or error}); choose another --run-dir"
    )


def _nothing_to_resume(folder: Path) -> RunError:
    what = "is empty" if folder.exists() else "there is no such run folder"
    return RunError(
        f"{folder}: {what}, so there is nothing to resume (looked in '{Path.cwd()}'); start without --resume"
    )


def _is_anothers(folder: Path, name: str) -> bool:
    """Tell whether a folder is that of another name: "digits-2" may be the second of "digits", or the first of itself.

    Names of jobs that say which job it was, such as "digits-audit", are not those of spaces and take no part in this.
    """
    for file in ("space.json", "board.json"):
        with contextlib.suppress(RunError):
            noted = RunFolder(folder).read_json(file).get("name")
            number = folder.name.removeprefix(f"{noted}-")
            return noted != name and (folder.name == noted or (number != folder.name and number.isdecimal()))
    return False


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def check_same_job(folder: RunFolder, job: str) -> None:
    """Raise RunError when another job than `job` made the folder."""
    if (folder.has("space.json") or folder.has("job.json")) and folder.job != job:
        raise RunError(f"{folder.path}: was made by 'blendsearch {folder.job}'; choose another --run-dir for '{job}'")


def check_same_space(folder: RunFolder, space: State, free: Sequence[str] = ()) -> None:
    """Raise RunError when the folder was made from a space that differs in anything but how it is computed.

    free: keys that may differ too, since what they decide is done anew where it is missing.
    """
    if not folder.has("space.json"):
        if folder.has("records"):
            raise RunError(f"{folder.path}: holds no search campaign to resume; choose another --run-dir")
        return
    differing = sorted(_differences(_comparable(folder.read_json("space.json")), _comparable(space)))
    differing = [key for key in differing if not key.startswith((*HOW_IT_IS_DONE, *free))]
    if differing:
        raise RunError(
            f"{folder.path}: was made with another space; differing: {', '.join(differing[:6])}; "
            "resume with the settings of its space.json or choose another --run-dir"
        )


def _comparable(space: State) -> State:
    """Return a space with today's keys, and all of them; as it is, when it is no space by now."""
    try:
        return space_of_run(space).to_dict()
    except ConfigError:
        return space


def _differences(left: Any, right: Any, path: str = "") -> Iterator[str]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in left.keys() | right.keys():
            yield from _differences(left.get(key), right.get(key), f"{path}.{key}" if path else key)
    elif left != right:
        yield path
