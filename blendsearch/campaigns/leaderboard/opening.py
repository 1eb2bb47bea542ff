"""The folder of a board: opened for one process, or for all that are started on the board alike."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from blendsearch.campaigns.leaderboard.sharing import (
    BEGINNING,
    Alone,
    Shared,
    Sharing,
    check_not_shared_otherwise,
)
from blendsearch.config import Board
from blendsearch.errors import RunError
from blendsearch.progress import Progress
from blendsearch.results.records.leaderboard import BoardName
from blendsearch.results.run_folder import EVENTS, RunFolder, check_same_job, choose_folder, join_folder, note_job
from blendsearch.results.trust import mark_facts

JOB = "leaderboard"


@contextlib.contextmanager
def opened_board(
    board: Board, run_dir: Path | None, resume: bool, progress: Progress
) -> Iterator[tuple[RunFolder, Sharing]]:
    """Open the folder of a board, for this process alone or, with a ledger, for all that are started alike."""
    if board.ledger is None:
        folder = choose_folder(run_dir, board.name, resume)
        with folder.locked():
            note_board(folder, board, progress)
            yield folder, Alone(folder)
    else:
        folder = join_folder(run_dir, board.name, resume)
        with contextlib.ExitStack() as stack:
            with folder.locked(patience=BEGINNING):
                note_board(folder, board, progress)
                sharing = stack.enter_context(Shared.at(board, folder, progress))
            yield folder, sharing


def note_board(folder: RunFolder, board: Board, progress: Progress) -> None:
    """Note the board in its folder; RunError when the folder holds another job's files or another board's."""
    check_same_job(folder, JOB)
    # The log may be there alone: what a killed process left behind is cleared away, and told, before anything else.
    known = [entry.name for entry in folder.path.iterdir() if not entry.name.startswith(".") and entry.name != EVENTS]
    if known and not folder.has("job.json"):
        raise RunError(f"{folder.path}: holds files of something else; choose another --run-dir")
    check_not_shared_otherwise(folder, board, progress)
    before = folder.read_record("board.json", BoardName).name if folder.has("board.json") else board.name
    if before != board.name:
        raise RunError(f"{folder.path}: holds the board '{before}', not '{board.name}'; choose another --run-dir")
    event = "resumed" if folder.has("board.json") else "started"
    note_job(folder, JOB, mark_facts(board))
    folder.write_text("board.yaml", board.to_yaml())
    folder.write_json("board.json", board.to_dict())
    folder.event(event, seed=board.seed)
