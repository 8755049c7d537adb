"""A database of another program is used, refused by its cause, or moved aside with all that belongs to it."""

import os
import sqlite3
from pathlib import Path

import pytest

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.core.sqlite_file import check_sqlite, move_aside


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of some pages, in a folder whose name has characters of an address."""
    folder = tmp_path / "a%20b ?#"
    folder.mkdir()
    with sqlite3.connect(folder / "some.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('abc')")
        database.execute("CREATE TABLE numbers (n TEXT)")
        database.executemany("INSERT INTO numbers VALUES (?)", [("x" * 500,)] * 200)
    database.close()
    return folder / "some.db"


def test_a_whole_database_gives_its_revision_and_stays_as_it_is(path: Path) -> None:
    before = path.read_bytes()
    assert check_sqlite(path) == "abc"
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir()] == ["some.db"]


def test_a_new_database_has_no_revision_and_is_not_made(path: Path) -> None:
    assert check_sqlite(path.with_name("missing.db")) is None
    assert not path.with_name("missing.db").exists()
    path.write_bytes(b"")
    assert check_sqlite(path) is None


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: _write(path, b"not a database " * 1000),
        lambda path: _write(path, path.read_bytes()[:-4096]),
        lambda path: _write(path, path.read_bytes()[:50]),
        lambda path: _write(path, path.read_bytes()[:8192] + b"\xff" * 4096 + path.read_bytes()[12288:]),
        lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), path.symlink_to("nowhere")),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=[
        "another format",
        "truncated",
        "a part of the header",
        "an overwritten page",
        "folder",
        "link",
        "pipe",
    ],
)
def test_a_damaged_database_is_named_and_can_be_moved(path: Path, damage) -> None:
    damage(path)
    with pytest.raises(StoreError, match="some.db") as caught:
        check_sqlite(path)
    assert not caught.value.retryable
    assert move_aside(path).name == "some.db.1"
    assert check_sqlite(path) is None


@pytest.mark.slow
def test_a_locked_database_may_be_free_later(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match="locked by another process"):
        check_sqlite(path)
    other.close()
    assert check_sqlite(path) == "abc"


def test_nothing_that_was_moved_aside_is_overwritten_and_a_journal_goes_along(path: Path) -> None:
    Path(f"{path}-wal").write_bytes(b"wal")
    first = move_aside(path)
    path.write_bytes(b"second")
    second = move_aside(path)
    assert (first.name, second.name) == ("some.db.1", "some.db.2")
    assert Path(f"{first}-wal").read_bytes() == b"wal"
    assert second.read_bytes() == b"second"
    assert not path.exists()
