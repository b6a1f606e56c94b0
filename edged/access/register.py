"""Users, sessions, keys and what the owner has chosen, in the database. Every method blocks: call it in a thread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sqlite3 import Row

from edged.access.people import SCOPES, Key, Quota, Session, User
from edged.access.quota import Used
from edged.database import Database, Step

# Its name in the state directory.
DATABASE = "edged.db"

STEPS = (
    Step(
        up="""
        CREATE TABLE users (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, created_s REAL NOT NULL
        ) STRICT;
        CREATE TABLE sessions (
            id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users ON DELETE CASCADE, digest BLOB NOT NULL,
            label TEXT NOT NULL, created_s REAL NOT NULL, renewed_s REAL NOT NULL, expires_s REAL NOT NULL
        ) STRICT;
        CREATE TABLE keys (
            id TEXT PRIMARY KEY, name TEXT NOT NULL, digest BLOB NOT NULL, scopes TEXT NOT NULL,
            created_s REAL NOT NULL, expires_s REAL, requests_per_minute INTEGER, requests_per_day INTEGER,
            tokens_per_day INTEGER, ceiling TEXT NOT NULL
        ) STRICT;
        CREATE TABLE used (
            key_id TEXT PRIMARY KEY REFERENCES keys ON DELETE CASCADE, day INTEGER NOT NULL, requests INTEGER NOT NULL,
            tokens INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE chosen (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT
        """,
        down="DROP TABLE chosen; DROP TABLE used; DROP TABLE keys; DROP TABLE sessions; DROP TABLE users",
    ),
)


@dataclass(frozen=True, slots=True)
class Registered:
    """All that the register holds."""

    users: dict[str, User]
    sessions: dict[str, Session]
    keys: dict[str, Key]
    used: dict[str, Used]
    chosen: dict[str, bool]


class Register:
    """The tables, as values."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> Registered:
        """Everything."""
        rows = self._database.rows
        return Registered(
            {row["id"]: User(*row) for row in rows("SELECT id, name, role, created_s FROM users ORDER BY created_s")},
            {row["id"]: _session(row) for row in rows("SELECT * FROM sessions ORDER BY created_s")},
            {row["id"]: _key(row) for row in rows("SELECT * FROM keys ORDER BY created_s")},
            {row["key_id"]: Used(row["day"], row["requests"], row["tokens"]) for row in rows("SELECT * FROM used")},
            {row["name"]: bool(row["value"]) for row in rows("SELECT * FROM chosen")},
        )

    def put_user(self, user: User, session: Session | None = None) -> None:
        """Add or replace a user, and a first session in the same transaction."""
        with self._database.change() as connection:
            connection.execute(
                "INSERT INTO users VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET name = excluded.name, role = excluded.role",
                (user.id, user.name, user.role, user.created_s),
            )
            if session is not None:
                connection.execute(_PUT_SESSION, _values(session))

    def put_session(self, session: Session) -> None:
        """Add or replace a session."""
        with self._database.change() as connection:
            connection.execute(_PUT_SESSION, _values(session))

    def put_key(self, key: Key) -> None:
        """Add a key."""
        quota = key.quota
        limits = (quota.requests_per_minute, quota.requests_per_day, quota.tokens_per_day)
        values = (key.id, key.name, key.digest, " ".join(sorted(key.scopes)), key.created_s, key.expires_s, *limits)
        with self._database.change() as connection:
            connection.execute("INSERT INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*values, key.ceiling))

    def put_used(self, used: Mapping[str, Used]) -> None:
        """What keys have used; of those that are gone nothing is kept."""
        with self._database.change() as connection:
            for id, of_key in used.items():
                connection.execute(
                    "INSERT INTO used SELECT id, ?, ?, ? FROM keys WHERE id = ? "
                    "ON CONFLICT (key_id) DO UPDATE "
                    "SET day = excluded.day, requests = excluded.requests, tokens = excluded.tokens",
                    (of_key.day, of_key.requests, of_key.tokens, id),
                )

    def choose(self, name: str, value: bool) -> None:
        """Keep what the owner has chosen."""
        with self._database.change() as connection:
            connection.execute("INSERT OR REPLACE INTO chosen VALUES (?, ?)", (name, int(value)))

    def remove_user(self, id: str) -> None:
        """Forget a user, with all sessions."""
        self._remove("DELETE FROM users WHERE id = ?", id)

    def remove_sessions(self, *ids: str) -> None:
        """Forget sessions, all of them or none."""
        self._remove("DELETE FROM sessions WHERE id = ?", *ids)

    def remove_key(self, id: str) -> None:
        """Forget a key."""
        self._remove("DELETE FROM keys WHERE id = ?", id)

    def _remove(self, statement: str, *ids: str) -> None:
        with self._database.change() as connection:
            connection.executemany(statement, [(id,) for id in ids])


_PUT_SESSION = "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)"


def _values(session: Session) -> tuple[str, str, bytes, str, float, float, float]:
    renewed_s, expires_s = session.renewed_s, session.expires_s
    return (session.id, session.user_id, session.digest, session.label, session.created_s, renewed_s, expires_s)


def _session(row: Row) -> Session:
    # When a browser was last here is known while the daemon runs: written down each time it would wear out a card.
    return Session(
        row["id"], row["user_id"], row["digest"], row["label"], row["created_s"], row["renewed_s"], row["renewed_s"],
        row["expires_s"],
    )  # fmt: skip


def _key(row: Row) -> Key:
    # A scope that a later release has invented, and this one does not know, opens nothing.
    scopes = frozenset(scope for scope in SCOPES if scope in row["scopes"].split())
    quota = Quota(row["requests_per_minute"], row["requests_per_day"], row["tokens_per_day"])
    name, ceiling = row["name"], row["ceiling"]
    return Key(row["id"], name, row["digest"], scopes, row["created_s"], row["expires_s"], quota, ceiling)
