"""`edged.db`: what must outlive the daemon and is no file of its own.

SQLite in WAL mode with `synchronous=FULL` (sqlite.org/pragma.html): what a `change` wrote is on the disk when it ends.
The schema grows in steps. Each step leaves in the database how it is undone, so that the release before it, started
again after an update that failed, can take it back without ever having heard of it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edged.errors import ConfigError

# How long a command of the owner's waits for the daemon's transaction, or the daemon for a command's.
_BUSY_S = 5.0
# "edgd": whose file it is (sqlite.org/fileformat.html, 1.3.15), so that nobody else's is given our tables.
_APPLICATION_ID = 0x65646764


@dataclass(frozen=True, slots=True)
class Step:
    """One version of the schema: the statements that make it of the one before, and those that lead back."""

    up: str
    down: str


class Database:
    """The open database. Its methods block: the daemon calls them in threads, one at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of it is on the disk when the block ends, or nothing where it raises."""
        with self._turn:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.commit()
            except BaseException:
                self._connection.rollback()
                raise

    def rows(self, query: str) -> list[sqlite3.Row]:
        """What a query finds."""
        with self._turn:
            return self._connection.execute(query).fetchall()

    def close(self) -> None:
        """Let it go, once nobody has a transaction any more."""
        with self._turn:
            self._connection.close()


@contextmanager
def opened(file: Path, steps: tuple[Step, ...]) -> Iterator[Database]:
    """The database at `file`, made if there is none, with the schema of `steps`.

    Raises `ConfigError` where the file is no database of ours, or two or more releases newer than this one.
    """
    try:
        # Nobody else may read it, from the first byte on; SQLite gives its journal the same mode.
        os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise ConfigError(f"{file} cannot be opened: {error}.") from error
    with closing(connection):
        try:
            _refuse_a_strangers(connection, file)
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
                connection.execute(f"PRAGMA {pragma}")
            database = migrated(connection, file, steps)
        except sqlite3.Error as error:
            raise ConfigError(f"{file} cannot be used: {error}. {_advice(error)}") from error
        with closing(database):
            yield database


def _refuse_a_strangers(connection: sqlite3.Connection, file: Path) -> None:
    (whose,) = connection.execute("PRAGMA application_id").fetchone()
    if whose != _APPLICATION_ID and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise ConfigError(f"{file} is some other program's database. Move it away, and edged makes its own.")


def _advice(error: sqlite3.Error) -> str:
    """A file that is whole must not be moved away because the disk was full when the daemon started."""
    if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "Restore it from a backup, or move it away."
    return "See that its disk has room and can be written to, and that no other program uses it; then start again."


def migrated(connection: sqlite3.Connection, file: Path, steps: tuple[Step, ...]) -> Database:
    """The database behind `connection`, with the schema of `steps`. Raises `ConfigError`, naming `file`."""
    connection.row_factory = sqlite3.Row
    database = Database(connection)
    _migrate(database, file, steps)
    return database


def _migrate(database: Database, file: Path, steps: tuple[Step, ...]) -> None:
    with database.change() as connection:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version == len(steps):
            return  # and nothing was written: a start needs no room on the disk
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute("CREATE TABLE IF NOT EXISTS steps (version INTEGER PRIMARY KEY, down TEXT NOT NULL) STRICT")
        if version == len(steps) + 1:
            (down,) = connection.execute("SELECT down FROM steps WHERE version = ?", (version,)).fetchone()
            _execute(connection, down)
            connection.execute("DELETE FROM steps WHERE version = ?", (version,))
            version -= 1
        if version > len(steps):
            raise ConfigError(
                f"{file} has version {version} of the schema, and this edged knows {len(steps)}. Install the newer "
                "edged again, or restore a backup."
            )
        for number, step in enumerate(steps[version:], start=version + 1):
            _execute(connection, step.up)
            connection.execute("INSERT INTO steps VALUES (?, ?)", (number, step.down))
        connection.execute(f"PRAGMA user_version = {len(steps)}")


def _execute(connection: sqlite3.Connection, script: str) -> None:
    """Every statement of `script`; `executescript` would commit the transaction first."""
    for statement in script.split(";"):
        if statement.strip():
            connection.execute(statement)
