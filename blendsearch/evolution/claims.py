"""Claims: which of several processes, on one host or many, does what; rows with a lease in the ledger's database.

A claim is renewed while its holder lives and runs out soon after it died, so that another takes the work over. Times
are those of the database, hosts' clocks need not agree (of SQLite, which has none of its own, they are the host's).
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    delete,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable
from sqlalchemy.sql import ColumnElement

from blendsearch.errors import RunError
from blendsearch.evolution.database import Database
from blendsearch.plain import State
from blendsearch.progress import Progress, silent, tell

T = TypeVar("T")
LEASE = 60.0
"""Seconds after its last renewal for which a claim holds; it is renewed four times as often."""
LOOKS = 2.0
"""Seconds between looks at what others hold."""
CLAIMS = Table(
    "blendsearch_claims",
    MetaData(),
    Column("scope", String(200), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("owner", String(32), nullable=False),
    Column("host", String(200), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("since", Float(53), nullable=False),
    Column("expires", Float(53), nullable=False),
    Column("result", Text),
)
NOW = {
    "postgresql": "extract(epoch from clock_timestamp())::double precision",
    "sqlite": "((julianday('now') - 2440587.5) * 86400.0)",
}
CREATION = 0x626C656E64  # the number of the lock under which tables are made, any that is always the same


@dataclass(frozen=True)
class Holder:
    """Who holds a claim: host, process, and since when, in seconds of the database; expires: when its lease ends."""

    owner: str
    host: str
    pid: int
    since: float
    expires: float

    def __str__(self) -> str:
        return f"{self.host} pid {self.pid} since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(self.since))}"


class Claims:
    """The claims of one scope, such as a board, as one process and its workers make them.

    Used as a context it renews what this process holds, from a thread of its own, and gives it back at the end. It
    may be sent to worker processes, which claim in the name of the process that made it. Errors of the database are
    tried again, see `Database.patiently`.
    """

    def __init__(self, database: Database, scope: str, progress: Progress = silent, lease: float | None = None) -> None:
        self.database, self.scope, self.progress = database, scope, progress
        self.lease = LEASE if lease is None else lease
        self.owner = uuid.uuid4().hex
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._do(self._make_table)

    def __getstate__(self) -> State:
        return {"database": self.database, "scope": self.scope, "lease": self.lease, "owner": self.owner}

    def __setstate__(self, state: State) -> None:
        self.__dict__.update(state, progress=silent)

    def __enter__(self) -> Claims:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        with contextlib.suppress(SQLAlchemyError):  # it runs out by itself
            self._give_back()
        self._thread.join(timeout=5)

    @cached_property
    def _engine(self) -> Engine:
        return self.database.engine()

    def claim(self, name: str) -> bool:
        """Take a name, unless it is done or another holds it; what one's own process holds may be taken again."""
        return self._do(lambda connection: self._claim(connection, name))

    def holder(self, name: str) -> Holder | None:
        """Return who holds a name, or None where it is free or done."""
        columns = (CLAIMS.c.owner, CLAIMS.c.host, CLAIMS.c.pid, CLAIMS.c.since, CLAIMS.c.expires)
        wanted = select(*columns).where(self._is(name), CLAIMS.c.result.is_(None), CLAIMS.c.expires > self._now)
        row = self._do(lambda connection: connection.execute(wanted).first())
        return None if row is None else Holder(*row)

    def others(self) -> dict[str, Holder]:
        """Return name -> who else holds it."""
        columns = (CLAIMS.c.name, CLAIMS.c.owner, CLAIMS.c.host, CLAIMS.c.pid, CLAIMS.c.since, CLAIMS.c.expires)
        alive = and_(CLAIMS.c.result.is_(None), CLAIMS.c.expires > self._now, CLAIMS.c.owner != self.owner)
        wanted = select(*columns).where(CLAIMS.c.scope == self.scope, alive)
        return {row[0]: Holder(*row[1:]) for row in self._do(lambda connection: connection.execute(wanted).all())}

    def still_held(self, name: str) -> bool:
        """Tell whether this process holds a name, and renew it: False where another took it over meanwhile."""
        mine = and_(self._is(name), CLAIMS.c.owner == self.owner)
        renewal = update(CLAIMS).where(mine).values(expires=self._now + self.lease)
        return self._do(lambda connection: connection.execute(renewal).rowcount) == 1

    def finish(self, name: str, result: str) -> bool:
        """Note what came of a name that this process holds; False, and nothing noted, where another did it."""
        mine = and_(self._is(name), CLAIMS.c.owner == self.owner)
        noted = update(CLAIMS).where(mine, or_(CLAIMS.c.result.is_(None), CLAIMS.c.result == result))
        return self._do(lambda connection: connection.execute(noted.values(result=result)).rowcount) == 1

    def agree(self, name: str, result: str) -> str:
        """Note a result of a name where none is noted yet, and return the one that is noted."""
        wanted = select(CLAIMS.c.result).where(self._is(name))

        def act(connection: Connection) -> str:
            noted = update(CLAIMS).where(self._is(name), CLAIMS.c.result.is_(None)).values(result=result)
            if connection.execute(noted).rowcount == 0:
                with contextlib.suppress(IntegrityError), connection.begin_nested():
                    connection.execute(insert(CLAIMS).values(**self._row(name), result=result))
            return str(connection.execute(wanted).scalar_one())

        return self._do(act)

    def done(self) -> set[str]:
        """Return the names of all that is done."""
        wanted = select(CLAIMS.c.name).where(CLAIMS.c.scope == self.scope, CLAIMS.c.result.is_not(None))
        return set(self._do(lambda connection: connection.execute(wanted).scalars().all()))

    def result(self, name: str) -> str:
        """Return what came of a name that is done."""
        wanted = select(CLAIMS.c.result).where(self._is(name))
        return str(self._do(lambda connection: connection.execute(wanted).scalar_one()))

    def release(self, name: str) -> None:
        """Give a name back."""
        mine = and_(self._is(name), CLAIMS.c.owner == self.owner, CLAIMS.c.result.is_(None))
        self._do(lambda connection: connection.execute(delete(CLAIMS).where(mine)))

    @contextlib.contextmanager
    def alone(self, name: str, what: str) -> Iterator[None]:
        """Do a block while no other process does it, waiting for one that is at it; what: says so in the progress."""
        told = ""
        while not self.claim(name):
            holder = self.holder(name)
            if holder is not None and holder.owner != told:
                told = holder.owner
                tell(self.progress, f"waiting for {holder}, which is {what}")
            time.sleep(LOOKS)
        try:
            yield
        finally:
            self.release(name)

    def hold(self, name: str, what: str) -> None:
        """Take a name for as long as this process lives.

        Raises RunError for one that a living process holds; that of a dead one is waited for until its lease ends.
        """
        first = None
        while not self.claim(name):
            holder = self.holder(name)
            if holder is None:
                continue
            if first is None:
                first = holder
                tell(self.progress, f"{what} is held by {holder}; waiting up to {self.lease:.0f} s whether it lives")
            elif holder.expires != first.expires:
                raise RunError(f"{self.database.shown}: {what} is held by {holder}; wait for it or stop it")
            time.sleep(min(LOOKS, self.lease / 10))

    def _do(self, action: Callable[[Connection], T]) -> T:
        def once() -> T:
            with self._engine.begin() as connection:
                return action(connection)

        try:
            return self.database.patiently(once, self.progress)
        except SQLAlchemyError as error:
            raise RunError(f"ledger: {self.database.shown}: {self.database.reason(error)}") from None

    def _claim(self, connection: Connection, name: str) -> bool:
        free = or_(CLAIMS.c.expires <= self._now, CLAIMS.c.owner == self.owner)
        taken = update(CLAIMS).where(self._is(name), CLAIMS.c.result.is_(None), free).values(**self._row(name))
        if connection.execute(taken).rowcount == 1:
            return True
        try:
            with connection.begin_nested():
                connection.execute(insert(CLAIMS).values(**self._row(name)))
        except IntegrityError:
            return False
        return True

    def _row(self, name: str) -> dict[str, object]:
        return {
            "scope": self.scope,
            "name": name,
            "owner": self.owner,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": self._now,
            "expires": self._now + self.lease,
        }

    def _is(self, name: str) -> ColumnElement[bool]:
        return and_(CLAIMS.c.scope == self.scope, CLAIMS.c.name == name)

    @property
    def _now(self) -> ColumnElement[float]:
        return literal_column(NOW[self.database.url.get_backend_name()], Float(53))

    def _make_table(self, connection: Connection) -> None:
        alone_in_creation(connection)
        connection.execute(CreateTable(CLAIMS, if_not_exists=True))

    def _keep(self) -> None:
        """Renew all that this process holds, until the end; while the database is away others cannot take it either."""
        mine = and_(CLAIMS.c.scope == self.scope, CLAIMS.c.owner == self.owner, CLAIMS.c.result.is_(None))
        renewal = update(CLAIMS).where(mine).values(expires=self._now + self.lease)
        while not self._ended.wait(self.lease / 4):
            with contextlib.suppress(SQLAlchemyError), self._engine.begin() as connection:
                connection.execute(renewal)

    def _give_back(self) -> None:
        mine = and_(CLAIMS.c.scope == self.scope, CLAIMS.c.owner == self.owner, CLAIMS.c.result.is_(None))
        with self._engine.begin() as connection:
            connection.execute(delete(CLAIMS).where(mine))


def alone_in_creation(connection: Connection) -> None:
    """Keep other processes from making tables until the transaction ends; SQLite's files lock themselves."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({CREATION})"))
