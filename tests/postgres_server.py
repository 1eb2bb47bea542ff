"""A PostgreSQL server of a test's own: in a temporary folder, on loopback, under a user that may run it."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

USERS = ("postgres", "nobody")
"""Who the server runs as where the tests are run by root, as whom it refuses to run."""
PASSWORD = "p@ss/wo:rd%"


def binaries() -> Path | None:
    """Return the folder of initdb and pg_ctl, or None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@dataclass
class Server:
    """A running server; address: as a space has it, with the password in the variable BLENDSEARCH_TEST_PASSWORD."""

    programs: Path
    folder: Path
    port: int
    user: str | None

    @property
    def address(self) -> str:
        return f"postgresql://tester:${{BLENDSEARCH_TEST_PASSWORD}}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", f"{options} -c fsync=off")

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "fast", "-D", "data")

    def restart(self) -> None:
        self.stop()
        self.start()

    def query(self, sql: str) -> list[tuple]:
        """Return the rows that a statement gives."""
        import psycopg

        where = f"host=127.0.0.1 port={self.port} user=tester dbname=postgres"
        with psycopg.connect(where, password=PASSWORD, autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *words: str) -> None:
        options = {}
        if self.user is not None:
            options = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []}
        subprocess.run(
            [self.programs / program, *words], cwd=self.folder, check=True, timeout=60, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options,
        )  # fmt: skip


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """Yield a running server; the test is skipped where there is none to be had."""
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL is not installed here")
    pytest.importorskip("psycopg")
    root = os.geteuid() == 0
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = next((name for name in USERS if name in names), None) if root else None
    if root and user is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no other user here")
    folder = Path(tempfile.mkdtemp(prefix="blendsearch-postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server = Server(programs, folder, free.getsockname()[1], user)
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        try:
            server._run("initdb", "-D", "data", "-U", "tester", "-A", "scram-sha-256", "--pwfile=password", "-N")
            server.start()
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"PostgreSQL cannot be started here: {getattr(error, 'stderr', None) or error}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BLENDSEARCH_TEST_PASSWORD", PASSWORD)
            try:
                yield server
            finally:
                with contextlib.suppress(subprocess.SubprocessError):
                    server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
