"""How a board's work is shared out: all of it to one process, or over a database to as many as are started on it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from blendsearch.config import Board
from blendsearch.errors import RunError
from blendsearch.evolution.claims import LOOKS, Claims
from blendsearch.evolution.database import Database
from blendsearch.files import content_digest
from blendsearch.plain import State
from blendsearch.progress import Progress, tell
from blendsearch.results.reading import parse
from blendsearch.results.records.leaderboard import CellRecord
from blendsearch.results.run_folder import RunFolder

LONGEST_PAUSE = 15.0
BEGINNING = 60.0
"""Seconds that a process waits while another begins the board in the same folder."""
PRECISION = "records/precision-{}.json"
"""With which precision a board began on a kind of device, where it leaves that to the machine."""
PREPARED = ("baseline.safetensors", "scores/*.safetensors", "allocations/*.json")
"""What the cells of a network go by, below the folder of the network."""


class Sharing(Protocol):
    """Who does what of a board.

    claims: by which cells are claimed; None where all are this process's own.
    """

    @property
    def claims(self) -> Claims | None: ...

    def alone(self, name: str, what: str) -> contextlib.AbstractContextManager[None]:
        """Return a context in which no other process does the same in this folder; what: in words, for who waits."""

    def precision(self, kind: str, found: str) -> str:
        """Return the precision with which the board began on a kind of device: the one that was `found` first."""

    def check_prepared(self, folder: RunFolder, name: str) -> None:
        """Raise RunError where a network came out differently in another folder of the same board."""

    def fetch(self, files: dict[str, str]) -> None:
        """Write what other processes found into the folder; files: key of a cell -> its file."""

    def finish(self, key: str, file: str, record: CellRecord) -> bool:
        """Keep a cell's record; False where another process, which had taken the cell over, was faster."""

    def wait(self) -> None:
        """Wait a little for cells that other processes are at."""

    @property
    def last_here(self) -> bool:
        """Whether no other process is at work in the folder."""


class Alone:
    """All of a board is this process's own."""

    claims: Claims | None = None
    last_here = True

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def alone(self, name: str, what: str) -> contextlib.AbstractContextManager[None]:
        """Return a context of nothing."""
        return contextlib.nullcontext()

    def precision(self, kind: str, found: str) -> str:
        """Return the one that is noted in the folder."""
        return _note_precision(self.folder, kind, _noted_precision(self.folder, kind) or found)

    def check_prepared(self, folder: RunFolder, name: str) -> None:
        """Raise nothing."""

    def fetch(self, files: dict[str, str]) -> None:
        """Write nothing."""

    def finish(self, key: str, file: str, record: CellRecord) -> bool:
        """Write the record."""
        self.folder.write_record(file, record)
        return True

    def wait(self) -> None:
        """Wait for nothing: what is not done yet is done next."""


class Shared:
    """Cells are claimed in a database, in which their records are put, too: folders may be shared or each its own."""

    def __init__(self, claims: Claims, folder: RunFolder) -> None:
        self.claims: Claims = claims
        self.folder = folder
        self.pause = LOOKS
        self.here = f"folder {folder.identity}/"

    @classmethod
    @contextlib.contextmanager
    def at(cls, board: Board, folder: RunFolder, progress: Progress) -> Iterator[Shared]:
        """Yield how a board is shared over its ledger; while it lasts the others know that this process is there."""
        assert board.ledger is not None
        database = Database.at(board.ledger)
        with Claims(database, _scope(board.name), progress) as claims:
            sharing = cls(claims, folder)
            claims.claim(sharing._presence)
            others = [holder for name, holder in claims.others().items() if "/process " in name]
            there = f", which {len(others)} other processes do, too" if others else ""
            tell(progress, f"sharing the cells of '{board.name}' over {database.shown}{there}")
            yield sharing

    @property
    def last_here(self) -> bool:
        """Whether no other process is at work in the folder; asked at the end, since this one then counts no more."""
        self.claims.release(self._presence)
        return not any(name.startswith(f"{self.here}process ") for name in self.claims.others())

    @property
    def _presence(self) -> str:
        return f"{self.here}process {self.claims.owner}"

    def alone(self, name: str, what: str) -> contextlib.AbstractContextManager[None]:
        """Return a context in which no other process does the same in this folder."""
        return self.claims.alone(f"{self.here}{name}", what)

    def precision(self, kind: str, found: str) -> str:
        """Return the one that is noted in the database, where the folder's is put first."""
        mine = _noted_precision(self.folder, kind) or found
        return _note_precision(self.folder, kind, self.claims.agree(f"precision {kind}", mine))

    def check_prepared(self, folder: RunFolder, name: str) -> None:
        """Raise RunError where another process got other weights or scores, in a folder of its own."""
        for pattern in PREPARED:
            for file in sorted(folder.path.glob(pattern)):
                inside = file.relative_to(folder.path).as_posix()
                mine = content_digest(file)
                noted = self.claims.agree(f"network {folder.path.name}/{inside}", mine)
                if noted != mine:
                    raise RunError(
                        f"networks: '{name}': {inside} came out differently in another run folder of this board, on "
                        "other hardware or with other versions, so the cells would not stand on equal terms; let all "
                        "processes share one run folder"
                    )

    def fetch(self, files: dict[str, str]) -> None:
        """Write what other processes found into the folder, and put into the database what lies there alone."""
        done = self.claims.done()
        for key, file in files.items():
            name = _cell(key)
            if name in done and not self.folder.has(file):
                found = parse(Path(f"{self.claims.database.shown}: {name}"), self.claims.result(name), CellRecord)
                self.folder.write_record(file, found)
                self.pause = LOOKS
            elif name not in done and self.folder.has(file):
                self.claims.agree(name, _text(self.folder.read_record(file, CellRecord)))

    def finish(self, key: str, file: str, record: CellRecord) -> bool:
        """Put a record into the database, then into the folder; False where another process's is there already."""
        first = self.claims.finish(_cell(key), _text(record))
        if first:
            self.folder.write_record(file, record)
        self.pause = LOOKS
        return first

    def wait(self) -> None:
        """Wait for cells that other processes are at, longer each time that nothing has come."""
        time.sleep(self.pause)
        self.pause = min(1.5 * self.pause, LONGEST_PAUSE)


def _noted_precision(folder: RunFolder, kind: str) -> str | None:
    """Return the precision that a folder says its board began with; earlier versions noted it of each network alone."""
    if folder.has(PRECISION.format(kind)):
        return folder.read_record(PRECISION.format(kind), str)
    for file in sorted(folder.path.glob("networks/*/network.json")):
        compute = folder.read_json(str(file.relative_to(folder.path))).get("compute", {})
        if compute.get("device") == kind:
            return str(compute["precision"])
    return None


def _note_precision(folder: RunFolder, kind: str, precision: str) -> str:
    folder.write_record(PRECISION.format(kind), precision)
    return precision


def claim_cell(claims: Claims | None, key: str) -> bool:
    """Take a cell, unless it is done or another process is at it; without claims all are one's own."""
    return claims is None or claims.claim(_cell(key))


def check_ledger(board: Board) -> None:
    """Raise RunError where the database that a board names cannot be reached."""
    if board.ledger is not None:
        Database.at(board.ledger).check()


def check_not_shared_otherwise(folder: RunFolder, board: Board, progress: Progress) -> None:
    """Raise RunError where living processes share the folder's board over another ledger, or on other settings."""
    if not folder.has("board.json"):
        return
    before = folder.read_json("board.json")
    if before.get("ledger") is None or _settled(before) == _settled(board.to_dict()):
        return
    try:
        database = Database.at(before["ledger"])
        database.check()
    except RunError as error:
        tell(progress, f"{error}; whether other processes share this board over it is not known")
        return
    here = f"folder {folder.identity}/process "
    others = Claims(database, _scope(board.name), progress).others()
    for name, holder in others.items():
        if name.startswith(here):
            raise RunError(
                f"{folder.path}: {holder} shares the cells of this board over {database.shown} on other settings; wait "
                "for it or start with the same"
            )


def _settled(board: State) -> State:
    """Return a board without what each host may have its own way: how many processes work there."""
    networks = [
        {**network, "data": {key: value for key, value in network["data"].items() if key != "workers"}}
        for network in board["networks"]
    ]
    compute = {key: value for key, value in board["compute"].items() if key != "workers"}
    return {**board, "networks": networks, "compute": compute}


def _scope(board: str) -> str:
    return f"board {board}"


def _cell(key: str) -> str:
    return f"cell {key}"


def _text(record: CellRecord) -> str:
    return json.dumps(record.model_dump(mode="json", by_alias=True), allow_nan=False)
