"""Pickled work whose large tensors lie in a file that all workers of a machine map, so that its pages exist once.

Mappings are private: what a worker writes into such a tensor is its own, page by page, and no one else's.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import pickle
import tempfile
import weakref
from pathlib import Path
from typing import IO, Any

import cloudpickle
import torch
from joblib.externals.loky.backend import resource_tracker
from torch.storage import TypedStorage, UntypedStorage

from blendsearch.errors import WorkerError
from blendsearch.evolution.engines.tracker import start_tracker

SMALLEST = 2**14
"""Bytes from which a tensor's memory lies in the file."""
ALIGNED = 64


class TensorFile:
    """A file with the memory of tensors, which goes with this object, or else with this process however that ends."""

    def __init__(self) -> None:
        start_tracker()
        handle, name = tempfile.mkstemp(prefix="blendsearch-state-")
        os.close(handle)
        self.path = Path(name)
        resource_tracker.register(name, "file")
        self.remove = weakref.finalize(self, _remove, name, os.getpid())


def _remove(name: str, owner: int) -> None:
    if os.getpid() != owner:  # a process that was forked off, such as one that loads images
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name)
    resource_tracker.unregister(name, "file")


def dump_beside(value: Any, file: TensorFile) -> bytes:
    """Return a value pickled without its large tensors' memory, which is written into the file.

    WorkerError where the file cannot be written.
    """
    content = io.BytesIO()
    try:
        with file.path.open("wb") as tensors:
            _Pickler(content, tensors, file.path).dump(value)
    except OSError as error:
        raise WorkerError(
            f"compute.workers: workers cannot be given their state, {file.path}: {error.strerror}; make room there, "
            "or set TMPDIR to a folder that has"
        ) from None
    return content.getvalue()


def load_beside(content: bytes) -> Any:
    """Return the value of `dump_beside`, its tensors mapped; the file may be removed afterwards."""
    return _Unpickler(io.BytesIO(content)).load()


class _Pickler(cloudpickle.Pickler):
    """Writes the memory of each large tensor once, whatever number of tensors view it."""

    def __init__(self, content: IO[bytes], tensors: IO[bytes], path: Path) -> None:
        super().__init__(content)
        self.tensors, self.path = tensors, str(path)
        self.places: dict[int, tuple[int, UntypedStorage]] = {}  # the storages are held, so that addresses stay theirs

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, TypedStorage | UntypedStorage):
            return None
        storage = value._untyped_storage if isinstance(value, TypedStorage) else value
        if storage.device.type != "cpu" or storage.nbytes() < SMALLEST:
            return None
        address = storage.data_ptr()
        if address not in self.places:
            self.tensors.write(bytes(-self.tensors.tell() % ALIGNED))
            self.places[address] = (self.tensors.tell(), storage)
            self.tensors.write(torch.empty(0, dtype=torch.uint8).set_(storage).numpy().data)
        offset, _ = self.places[address]
        return self.path, offset, storage.nbytes(), value.dtype if isinstance(value, TypedStorage) else None


class _Unpickler(pickle.Unpickler):
    """Maps the file when it comes to the first tensor of it."""

    def __init__(self, content: IO[bytes]) -> None:
        super().__init__(content)
        self.maps: dict[str, mmap.mmap] = {}
        self.storages: dict[int, UntypedStorage] = {}

    def persistent_load(self, given: Any) -> TypedStorage | UntypedStorage:
        path, offset, size, dtype = given
        if path not in self.maps:
            with open(path, "rb") as file:
                self.maps[path] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if offset not in self.storages:
            bytes_ = torch.frombuffer(self.maps[path], dtype=torch.uint8, count=size, offset=offset)
            self.storages[offset] = bytes_.untyped_storage()
        storage = self.storages[offset]
        return storage if dtype is None else TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)
