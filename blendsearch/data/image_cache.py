"""Decoded images kept in a file beside the runs, so that the next run on the same folder does not decode them again.

One file a part, image size and colour: a set that has changed takes the place of what it was. A file that does not fit,
or is damaged, is never used; the images are decoded and it is made anew. Nothing is written into the user's data.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from blendsearch.config import DataConfig
from blendsearch.data.decoding import ImageFiles, decoding_version
from blendsearch.data.whole_parts import Decoded
from blendsearch.errors import DataError, first_line
from blendsearch.files import PART, atomic
from blendsearch.progress import Progress, tell

BESIDE_RUNS = Path("runs/.cache")
"""Where images are kept if the space names no folder, from where the command is started."""
WORTH_KEEPING = 2.0
"""Seconds of decoding from which images are kept there; in a folder that the space names, always."""
ABANDONED = 24 * 3600
"""Seconds after which what a killed process was writing is deleted."""
FORMAT = 1


@dataclass
class ImageCache:
    """The file for the decoded images of one part, or none.

    files: of the part, all of them. root: the folder they lie in. folder: where the file lies; None keeps nothing.
    least: seconds of decoding from which it is worth it.
    """

    files: ImageFiles
    root: Path
    folder: Path | None
    progress: Progress
    least: float = 0.0
    _seen: str = field(default="", repr=False)

    @classmethod
    def of(cls, files: ImageFiles, root: Path, config: DataConfig, progress: Progress) -> ImageCache:
        """Return the cache that a section of the space asks for; DataError where it would lie in the data's folder."""
        if config.cache is False:
            return cls(files, root, None, progress)
        named = isinstance(config.cache, str)
        folder = Path(config.cache) if isinstance(config.cache, str) else BESIDE_RUNS
        try:
            folder = folder.expanduser()
            inside = folder.resolve().is_relative_to(Path(config.root or root).expanduser().resolve())
        except (OSError, RuntimeError, ValueError) as error:  # no user of that name, a loop of links, a zero byte
            raise DataError(f"data.cache: '{config.cache}' is no folder ({first_line(error)})") from None
        if inside:
            if named:
                raise DataError(
                    f"data.cache: '{config.cache}' lies in data.root, where nothing is written; name a folder outside"
                )
            return cls(files, root, None, progress)
        return cls(files, root, folder, progress, 0.0 if named else WORTH_KEEPING)

    @property
    def path(self) -> Path | None:
        """The file; its name tells the part, and by a digest it is this part's alone."""
        if self.folder is None:
            return None
        where = os.path.abspath(self.root)
        which = hashlib.sha256(repr((where, self.files.size, self.files.mode)).encode()).hexdigest()[:8]
        told = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join(Path(where).parts[-2:]).lstrip("/"))[-60:].lstrip("._-")
        return self.folder / f"{told}-{self.files.size or 'as-is'}-{self.files.mode}-{which}.safetensors"

    def load(self, *, skip: bool) -> Decoded | None:
        """Return the images that are kept, mapped into memory; None where none are, or not those of these files.

        skip: whether files that cannot be read are left out. A file that is damaged is told.
        """
        path = self.path
        if path is None or not os.path.isfile(path):
            return None
        try:
            found = self._read(path)
        except Exception as error:  # whatever a damaged file makes the library raise
            tell(self.progress, f"'{path}' is damaged ({first_line(error)}): the images are decoded again")
            return None
        if found is None or (found.unread and not skip) or self._can_be_read_now(found):
            return None
        self.progress(f"reading {self.root.name}", len(self.files), len(self.files), f"from {path}")
        return found

    @contextmanager
    def filling(self) -> Iterator[list[Decoded]]:
        """Yield a list for what is decoded meanwhile, which is then kept where that took long enough.

        Nothing is kept where a file has changed meanwhile. A disk that is full, or not to be written to, is told.
        """
        before = self._fingerprint() if self.folder is not None else ""
        began = time.perf_counter()
        made: list[Decoded] = []
        yield made
        path, took = self.path, time.perf_counter() - began
        if path is None or not made or took < self.least or before != self._fingerprint():
            return
        try:
            _sweep(path)
            self._write(path, made[0], before)
        except OSError as error:
            what = f"the decoded images cannot be kept in '{path}' ({error.strerror or first_line(error)})"
        else:
            size = made[0].images.nbytes / 2**20
            what = f"{len(made[0].good):,} decoded images are kept for the next run in '{path}' ({size:,.0f} MB)"
        tell(self.progress, f"{what}; data.cache=false keeps none")

    def _read(self, path: Path) -> Decoded | None:
        """Return what a file holds, None where it was made of other files; an exception where it is damaged."""
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("fingerprint") != self._fingerprint():
                return None
            images, good = file.get_tensor("images"), file.get_tensor("good")
        numbers = good.tolist()
        if about.get("digest") != _digest(images, good) or images.dim() != 4 or len(images) != len(numbers):
            raise ValueError("its images are not those that were written")
        unread = sorted(set(range(len(self.files))).difference(numbers))
        return Decoded(images, numbers, [self.files.files[number][0] for number in unread])

    def _write(self, path: Path, made: Decoded, fingerprint: str) -> None:
        from safetensors.torch import save_file

        good = torch.tensor(list(made.good), dtype=torch.long)
        about = {"fingerprint": fingerprint, "digest": _digest(made.images, good)}
        with atomic(path) as part:
            save_file({"images": made.images.contiguous(), "good": good}, part, metadata=about)

    def _can_be_read_now(self, found: Decoded) -> bool:
        """Tell whether a file that could not be read can be now, as of a disk that was away: no time shows that."""
        numbers = {path: number for number, (path, _) in enumerate(self.files.files)} if found.unread else {}
        return any(self.files.mistake(numbers[path]) is None for path in found.unread)

    def _fingerprint(self) -> str:
        """Return a digest of what the images depend on: which files, as they are, and what decodes them how.

        Besides size and time of writing, the time at which the system last changed anything about a file, which nobody
        sets back: of two sets that are unpacked to one place, files may have one size and one time.
        """
        about = (FORMAT, decoding_version(), self.files.size, self.files.mode, os.path.abspath(self.root))
        digest = hashlib.sha256(repr(about).encode())
        start = len(str(self.root))
        for path, _ in self.files.files:
            try:
                found = os.stat(path)
                state = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
            except OSError:
                state = "cannot be looked at"
            digest.update(f"{path[start:]}\0{state}\0".encode(errors="surrogateescape"))
        return digest.hexdigest()


def _digest(images: Tensor, good: Tensor) -> str:
    digest = hashlib.sha256(repr((images.dtype, tuple(images.shape))).encode())
    digest.update(images.contiguous().numpy().data)
    digest.update(good.numpy().tobytes())
    return digest.hexdigest()


def _sweep(path: Path) -> None:
    """Delete what processes that were killed were writing to this file; what one may still be writing stays."""
    for part in path.parent.glob(f".{path.name}.*{PART}"):
        if time.time() - part.stat().st_mtime > ABANDONED:
            part.unlink(missing_ok=True)
