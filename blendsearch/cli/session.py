"""What every command does around its work: read its files, show progress, tell mistakes, say how to go on."""

from __future__ import annotations

import contextlib
import errno
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from blendsearch.cli.display import no_progress, output_console, shown_loading
from blendsearch.cli.signals import Ended, ended_like_an_interrupt
from blendsearch.errors import BlendsearchError, blame, first_line, own_place, printable
from blendsearch.progress import Progress
from blendsearch.progress.shown import showing

if TYPE_CHECKING:
    from blendsearch.config import Board, Space

R = TypeVar("R")
WRONG_INPUT = 2
UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
"""What a full or read-only file system answers."""
NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)
"""What it answers to a text that can be no path here."""
INTERRUPTED = 130


class Session:
    """Where a command prints: a console for results, progress while it works; silent with --quiet."""

    def __init__(self, quiet: bool) -> None:
        self.console = output_console(quiet)
        self.shows_progress = not quiet
        self.waiting = contextlib.ExitStack()

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Show that libraries are loaded, until progress is shown or the block ends."""
        with self.waiting:
            if self.shows_progress:
                self.waiting.enter_context(shown_loading(self.console))
            yield

    @property
    def on_terminal(self) -> bool:
        """Whether what is printed is read by a person, and not by a file or another program."""
        return self.console.is_terminal

    def progress(self) -> contextlib.AbstractContextManager[Progress]:
        """Return the progress callback as a context."""
        self.waiting.close()
        return showing(self.console) if self.shows_progress else no_progress()

    def print(self, *things: object) -> None:
        """Print results; texts are never cut."""
        self.waiting.close()
        for thing in things:
            self.console.print(thing, soft_wrap=isinstance(thing, str))


class RunSession(Session):
    """The session of a command that works in a run folder."""

    def __init__(self, run_dir: Path | None, resume: bool, quiet: bool) -> None:
        super().__init__(quiet)
        self.run_dir, self.resume = run_dir, resume

    def run(self, job: Callable[..., R], *given: object, **options: object) -> R:
        """Do a job in the run folder, with progress shown; return what it returns."""
        with self.progress() as progress:
            return job(*given, **options, run_dir=self.run_dir, resume=self.resume, progress=progress)


@contextlib.contextmanager
def run_session(
    command: str,
    file: Path,
    overrides: list[str] | None,
    run_dir: Path | None,
    resume: bool,
    quiet: bool,
    options: Sequence[str] = (),
) -> Iterator[RunSession]:
    """Open the session of a command that works in a run folder; stopped by Ctrl-C it says how to go on.

    options: what else the command line has between the file and the overrides.
    """
    line = ["blendsearch", command, str(file), *options, *(overrides or [])]
    before = _run_folders(run_dir)
    with plain_errors(lambda: how_to_go_on(line, run_dir, begun=resume or _run_folders(run_dir) != before)):
        session = RunSession(run_dir, resume, quiet)
        with session.loading():
            yield session


@contextlib.contextmanager
def plain_errors(after_interrupt: Callable[[], str] = lambda: "stopped") -> Iterator[None]:
    """Turn wrong input into its message and exit code 2, Ctrl-C into a line and 130; the rest is our bug.

    What the user's own code raises, such as a network in an odd batch, is told with its line in that code. SIGTERM and
    SIGHUP end as cleanly, with 128 and their number, as shells have it.
    """
    try:
        with ended_like_an_interrupt():
            yield
    except BlendsearchError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(WRONG_INPUT) from None
    except OSError as error:
        if error.errno not in UNWRITABLE + NO_PATH and own_place(error) is None:
            raise
        print(_told(error), file=sys.stderr)
        raise typer.Exit(WRONG_INPUT) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, Exception) and _out_of_memory(error):
            told = f"memory ran out ({first_line(error)[:200]}); take fewer workers or smaller batches"
        elif own_place(error) is not None:
            told = f"own code raised {blame(error)}"
        else:
            raise
        print(printable(told), file=sys.stderr)
        raise typer.Exit(WRONG_INPUT) from None
    except KeyboardInterrupt as interrupt:
        _end_workers()
        print(after_interrupt(), file=sys.stderr)
        code = 128 + interrupt.number if isinstance(interrupt, Ended) else INTERRUPTED
        raise typer.Exit(code) from None


def _out_of_memory(error: Exception) -> bool:
    """Return whether memory ran out; torch, which knows more than one way to say it, is not loaded for that."""
    loaded = sys.modules.get("blendsearch.compute")
    return isinstance(error, MemoryError) if loaded is None else loaded.is_out_of_memory(error)


def _end_workers() -> None:
    """End worker processes where there are any: what they are at is of no use, and what they share is to be left."""
    engine = sys.modules.get("blendsearch.evolution.engines.local")
    if engine is not None:
        engine.end_workers()


def _told(error: OSError) -> str:
    if error.errno in NO_PATH:
        return printable(f"{error.filename}: no path of this system ({error.strerror})")
    if error.errno not in UNWRITABLE:
        return printable(f"own code raised {blame(error)}")
    return printable(
        f"{error.filename or 'the run folder'}: cannot be written ({error.strerror}); what is there is whole: make "
        "room and continue with --resume"
    )


def how_to_go_on(line: Sequence[str], run_dir: Path | None, *, begun: bool) -> str:
    """Return what an interrupted command says: the line that continues it or, where nothing is there, starts it."""
    folder = ["--run-dir", str(run_dir)] if run_dir else []
    if begun:
        return f"stopped; continue with: {shlex.join([*line, *folder, '--resume'])}"
    return f"stopped before anything was written; start again with: {shlex.join([*line, *folder])}"


def _run_folders(run_dir: Path | None) -> list[str]:
    """Return what lies where the run's folder is made: in the folder itself where one is given, else in runs/."""
    place = run_dir or Path("runs")
    with contextlib.suppress(OSError):  # told where the folder is opened
        return sorted(one.name for one in place.iterdir() if one.name != ".cache") if place.is_dir() else []
    return []


def trusted(trust_code: bool) -> list[str]:
    """Return the option of a command line that says so."""
    return ["--trust-code"] if trust_code else []


def read_space(file: Path, overrides: list[str] | None, trust_code: bool, *, resumed: bool = False) -> Space:
    """Read a space file with its overrides; every mistake at once. One in somebody's run folder is not trusted."""
    from blendsearch.results.trust import check_file
    from blendsearch.validation.space import load_checked

    settings = load_checked(file, overrides or [], resumed=resumed)
    check_file(file, settings, lambda: load_checked(file, resumed=True), trust_code)
    return settings


def read_board(file: Path, overrides: list[str] | None, trust_code: bool) -> Board:
    """Read a board file with its overrides as `read_space` does a space file."""
    from blendsearch.results.trust import check_file
    from blendsearch.validation.board import load_checked_board

    settings = load_checked_board(file, overrides or [])
    check_file(file, settings, lambda: load_checked_board(file), trust_code)
    return settings


def files_and_overrides(given: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Tell files from key=value among arguments; a file may have "=" in its name."""
    files = [word for word in given if "=" not in word or Path(word).is_file()]
    return [Path(word) for word in files], [word for word in given if word not in files]
