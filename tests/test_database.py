"""What a change wrote stays, what it did not finish never was, and an older edged takes a newer one's step back."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edged.database import Database, Step, opened
from edged.errors import ConfigError

ONE = Step("CREATE TABLE pairs (a INTEGER, b INTEGER) STRICT", "DROP TABLE pairs")
TWO = Step(
    "ALTER TABLE pairs ADD COLUMN c INTEGER; CREATE TABLE more (d TEXT)", "DROP TABLE more; ALTER TABLE pairs DROP c"
)
THREE = Step("CREATE TABLE third (e TEXT)", "DROP TABLE third")

WRITER = """
import itertools, sys
from pathlib import Path
from edged.database import opened
from tests.test_database import ONE
with opened(Path(sys.argv[1]), (ONE,)) as database:
    for number in itertools.count():
        with database.change() as connection:
            connection.execute("INSERT INTO pairs VALUES (?, NULL)", (number,))
            connection.execute("UPDATE pairs SET b = ? WHERE a = ?", (number, number))
        print(number, flush=True)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "edged.db"


def tables(database: Database) -> set[str]:
    return {row["name"] for row in database.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def add(database: Database, number: int) -> None:
    with database.change() as connection:
        connection.execute("INSERT INTO pairs (a, b) VALUES (?, ?)", (number, number))


def add_and_fail(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO pairs VALUES (1, 1)")
    connection.execute("nonsense")


def numbers(database: Database) -> list[int]:
    return [row["a"] for row in database.rows("SELECT a FROM pairs ORDER BY a")]


def test_what_was_told_to_be_written_survives_a_kill_and_nothing_is_there_by_half(file: Path) -> None:
    told = -1
    for lines in (1, 40, 7):
        with subprocess.Popen([sys.executable, "-c", WRITER, file], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(lines):
                told = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            told = max([told, *(int(line) for line in writer.stdout.read().splitlines(keepends=True) if "\n" in line)])
        with opened(file, (ONE,)) as database:
            assert set(range(told + 1)) <= set(numbers(database))
            assert database.rows("SELECT * FROM pairs WHERE b IS NOT a") == []
            assert [tuple(row) for row in database.rows("PRAGMA integrity_check")] == [("ok",)]
            with database.change() as connection:
                connection.execute("DELETE FROM pairs")


def test_a_change_waits_for_the_disk(file: Path) -> None:
    with opened(file, (ONE,)) as database:
        assert [tuple(database.rows(f"PRAGMA {name}")[0]) for name in ("journal_mode", "synchronous")] == [
            ("wal",),
            (2,),  # FULL
        ]


def test_a_change_that_raises_never_was_and_the_next_one_works(file: Path) -> None:
    with opened(file, (ONE,)) as database:
        with pytest.raises(sqlite3.OperationalError), database.change() as connection:
            add_and_fail(connection)
        add(database, 2)
        assert numbers(database) == [2]


def test_a_commit_that_fails_is_taken_back_and_the_next_change_works(file: Path) -> None:
    parent = Step(
        "CREATE TABLE p (id INTEGER PRIMARY KEY) STRICT;"
        "CREATE TABLE c (p INTEGER REFERENCES p DEFERRABLE INITIALLY DEFERRED) STRICT",
        "DROP TABLE c; DROP TABLE p",
    )
    with opened(file, (parent,)) as database:
        with pytest.raises(sqlite3.IntegrityError), database.change() as connection:
            connection.execute("INSERT INTO c VALUES (1)")  # found out at the commit
        with database.change() as connection:
            connection.execute("INSERT INTO p VALUES (1)")
        assert [len(database.rows(f"SELECT * FROM {name}")) for name in "pc"] == [1, 0]


def test_each_step_is_made_once(file: Path) -> None:
    for steps in ((ONE,), (ONE,), (ONE, TWO), (ONE, TWO)):
        with opened(file, steps) as database:
            add(database, 1)
    with opened(file, (ONE, TWO)) as database:
        assert tables(database) == {"steps", "pairs", "more"}
        assert numbers(database) == [1, 1, 1, 1]


def test_the_release_before_takes_a_step_back_that_it_never_heard_of_and_the_newer_one_comes_again(file: Path) -> None:
    with opened(file, (ONE, TWO)) as database:
        add(database, 1)
    with opened(file, (ONE,)) as database:
        assert tables(database) == {"steps", "pairs"}
        assert [dict(row) for row in database.rows("SELECT * FROM pairs")] == [{"a": 1, "b": 1}]
    with opened(file, (ONE, TWO)) as database:
        assert tables(database) == {"steps", "pairs", "more"}
        assert numbers(database) == [1]


def test_two_releases_newer_is_refused_and_left_as_it_is(file: Path) -> None:
    with opened(file, (ONE, TWO, THREE)) as database:
        add(database, 1)
    with pytest.raises(ConfigError, match=r"version 3 .* knows 1"), opened(file, (ONE,)):
        pass
    with opened(file, (ONE, TWO, THREE)) as database:
        assert numbers(database) == [1]


def test_a_step_that_fails_leaves_the_version_before(file: Path) -> None:
    with opened(file, (ONE,)) as database:
        add(database, 1)
    broken = Step("CREATE TABLE half (a TEXT); SELECT nonsense", "DROP TABLE half")
    with pytest.raises(ConfigError, match="nonsense"), opened(file, (ONE, broken)):
        pass
    with opened(file, (ONE,)) as database:
        assert tables(database) == {"steps", "pairs"}


def test_what_is_no_database_is_refused_and_kept(file: Path) -> None:
    file.write_text("a letter to somebody\n" * 100)
    with pytest.raises(ConfigError, match="move it away"), opened(file, (ONE,)):
        pass
    assert file.read_text() == "a letter to somebody\n" * 100


@pytest.mark.parametrize("version", [0, 1, 2])
def test_another_programs_database_is_refused_and_not_touched(file: Path, version: int) -> None:
    stranger = sqlite3.connect(file)
    stranger.executescript(f"CREATE TABLE bookmarks (url TEXT); PRAGMA user_version = {version}")
    stranger.close()
    before = file.read_bytes()
    with pytest.raises(ConfigError, match="some other program's"), opened(file, (ONE,)):
        pass
    assert file.read_bytes() == before


def test_nobody_else_may_read_it_or_what_lies_beside_it(file: Path) -> None:
    with opened(file, (ONE,)) as database:
        add(database, 1)
        found = {path.name: path.stat().st_mode & 0o777 for path in file.parent.iterdir()}
    assert found == dict.fromkeys(["edged.db", "edged.db-wal", "edged.db-shm"], 0o600)


def test_a_start_without_a_new_step_writes_nothing(file: Path, tmp_path: Path) -> None:
    with opened(file, (ONE,)):
        pass
    before = file.read_bytes()
    with opened(file, (ONE,)):
        wal = tmp_path / "edged.db-wal"
        assert not wal.exists() or wal.stat().st_size == 0
    assert file.read_bytes() == before


def test_a_file_that_another_has_locked_is_not_told_to_be_moved_away(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edged.database._BUSY_S", 0.01)
    with opened(file, (ONE,)) as database, database.change():
        with pytest.raises(ConfigError, match="no other program uses it") as refused, opened(file, (ONE, TWO)):
            pass
        assert "move it away" not in str(refused.value)


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"), opened(tmp_path / "nowhere" / "edged.db", (ONE,)):
        pass


def test_a_copy_of_the_files_at_any_moment_opens(file: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    copied.mkdir()
    with opened(file, (ONE,)) as database:
        add(database, 1)
        for path in (file, file.with_name("edged.db-wal")):
            shutil.copy(path, copied)
    with opened(copied / "edged.db", (ONE,)) as database:
        assert numbers(database) == [1]
