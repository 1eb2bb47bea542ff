"""The ledger's database: its address with variables filled in, shown without a password, and patience with it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from optuna.exceptions import StorageInternalError
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from blendsearch.config.sections.ledger import VARIABLE
from blendsearch.errors import RunError, first_line
from blendsearch.progress import Progress, silent, tell

T = TypeVar("T")
PATIENCE = 300.0
"""Seconds for which a database that worked and does not answer any more is tried again."""
LONGEST_PAUSE = 15.0
LOCKED_SECONDS = 60.0
"""For which SQLite itself waits, each time, for another process that writes to the file."""
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Database:
    """A database that is known by its address; `url` may hold a password, `shown` never does."""

    url: URL
    shown: str

    @classmethod
    def at(cls, address: str) -> Database:
        """Return the database at an address of a space or board; RunError for what cannot be one.

        ${NAME} is the value of an environment variable: as it is where it is the whole address, else whatever signs
        are in it. A PostgreSQL database is spoken to through psycopg.
        """
        url = _parsed(_filled(address), address)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        database = cls(url, url.render_as_string(hide_password=True))
        database._check_driver()
        return database

    @classmethod
    def of_file(cls, path: Path) -> Database:
        """Return the SQLite database in a file."""
        url = URL.create("sqlite", database=str(path))
        return cls(url, url.render_as_string())

    def __repr__(self) -> str:
        return f"Database({self.shown!r})"

    @property
    def is_postgresql(self) -> bool:
        """Whether several hosts may use it at a time."""
        return self.url.get_backend_name() == "postgresql"

    def options(self) -> dict[str, Any]:
        """Return keyword arguments for SQLAlchemy's engines: a lost connection is made anew, not used again."""
        if not self.is_postgresql:
            return {"connect_args": {"timeout": LOCKED_SECONDS}}
        mine = {"connect_timeout": CONNECT_SECONDS, "application_name": f"blendsearch on {socket.gethostname()}"}
        return {"connect_args": {k: v for k, v in mine.items() if k not in self.url.query}, "pool_pre_ping": True}

    def engine(self) -> Engine:
        """Return an engine that keeps no connection open between uses, so that threads and processes may use it."""
        return create_engine(self.url, poolclass=NullPool, **self.options())

    def check(self) -> None:
        """Connect once; RunError where that cannot be done."""
        try:
            with self.engine().connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            raise cannot_open(self.shown, self.reason(error)) from None

    def _check_driver(self) -> None:
        if not self.is_postgresql:
            return
        if self.url.get_driver_name() != "psycopg":
            raise cannot_open(self.shown, f"unknown driver '{self.url.get_driver_name()}', allowed psycopg")
        try:
            import psycopg  # noqa: F401
        except ImportError as error:
            raise RunError(f"ledger: PostgreSQL needs psycopg ({error}); install blendsearch[postgresql]") from None

    def reason(self, error: Exception) -> str:
        """Return the first line of what a driver says, without the password."""
        if isinstance(error, StorageInternalError):  # Optuna tells that a commit failed, and guesses why
            while isinstance(error.__cause__, Exception):
                error = error.__cause__
        told = first_line(error)
        secret = self.url.password
        for word in (str(secret), quote(str(secret), safe="")) if secret else ():
            told = told.replace(word, "***")
        return told if len(told) <= 200 else f"{told[:197]}..."

    def patiently(self, action: Callable[[], T], progress: Progress = silent) -> T:
        """Return what an action on the database returns, trying again for PATIENCE seconds while it does not answer.

        action: may be done twice, where the answer to the first time was lost. Both the silence and its end are told.
        Raises the last error when patience is at an end, any other kind of error at once.
        """
        began, pause, told = time.monotonic(), 0.25, False
        while True:
            try:
                result = action()
            except (SQLAlchemyError, StorageInternalError) as error:
                if not self._may_pass(error) or time.monotonic() - began + pause > PATIENCE:
                    raise
                if not told:
                    told = True
                    reason = self.reason(error)
                    tell(progress, f"ledger: {self.shown} does not answer ({reason}); tried again for {PATIENCE:.0f} s")
                time.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                if told:
                    tell(progress, f"ledger: {self.shown} answers again after {time.monotonic() - began:.0f} s")
                return result

    def _may_pass(self, error: Exception) -> bool:
        """Tell whether an error may pass by itself: a server that is away, a file that another process writes to."""
        cause = error.__cause__ if isinstance(error, StorageInternalError) and error.__cause__ else error
        if not self.is_postgresql:
            return isinstance(cause, OperationalError) and "locked" in str(cause)
        lost = isinstance(cause, DBAPIError) and cause.connection_invalidated
        return lost or isinstance(cause, OperationalError | InterfaceError)


def cannot_open(shown: str, reason: str) -> RunError:
    """Build the error of a ledger that cannot be opened; shown: its address, without a password."""
    return RunError(f"{shown}: cannot open the ledger ({reason})")


def _filled(address: str) -> str:
    """Return an address with its variables filled in."""
    whole = VARIABLE.fullmatch(address) is not None

    def value(name: str) -> str:
        found = os.environ.get(name)
        if not found:
            raise cannot_open(address, f"the environment variable {name} is not set")
        return found if whole else quote(found, safe="")

    return VARIABLE.sub(lambda match: value(match[1]), address)


def _parsed(text: str, address: str) -> URL:
    """Return the URL of a text, which is not quoted where it cannot be read: a password may be anywhere in it."""
    try:
        url = make_url(text)
        kind = url.get_backend_name()
    except (SQLAlchemyError, ValueError, TypeError):
        shown = address if VARIABLE.search(address) else "ledger"
        raise cannot_open(shown, "this is no address of a database") from None
    if kind not in ("postgresql", "sqlite"):
        shown = url.render_as_string(hide_password=True)
        raise cannot_open(shown, f"unknown database '{kind}', allowed postgresql, sqlite")
    return url
