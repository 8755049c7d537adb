"""A SQLite file of another program's server: whether it can be used, and a way to put it aside.

The ledger's and the orchestrator's databases are caches: all in them can be written again. A damaged one, or
one of another version of its program, is moved aside and never deleted.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.core.files import storage_errors, sync_folder
from sacpipe.core.locks import lock_holders

_LOCK_TIMEOUT_S = 3.0
_COMPANIONS = ("", "-journal", "-wal", "-shm")
"""Suffixes of the files that belong to a database; SQLite finds them by its name."""


def check_sqlite(path: Path) -> str | None:
    """Check that a database can be read and written, and return its Alembic revision; None if it has none.

    A missing or empty file is a new database. Nothing is changed.

    Raises:
        StoreUnavailableError: another process has locked it.
        StoreError: it is no regular file, damaged, no SQLite database, or permission is missing.
    """
    if not os.path.lexists(path):
        return None
    if not path.is_file():
        raise StoreError(f"{path}: expected a database file, found a folder, a broken link or a device.")
    if not os.access(path, os.R_OK | os.W_OK):
        raise StoreError(f"{path} cannot be written: permission is missing. Make it writable for this user.")
    try:
        # The address form opens a file that exists; the plain one would create a missing one.
        database = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=_LOCK_TIMEOUT_S)
        with contextlib.closing(database):
            database.execute("BEGIN IMMEDIATE")
            found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            revision = _revision(database)
    except sqlite3.DatabaseError as exc:
        if isinstance(exc, sqlite3.OperationalError) and ("locked" in str(exc) or "busy" in str(exc)):
            raise StoreUnavailableError(
                f"{path} is locked by {lock_holders(path)}. Wait until that process ends, or stop it."
            ) from exc
        raise StoreError(f"{path} cannot be used as a database: {exc}.") from exc
    if found != "ok":
        raise StoreError(f"{path} is damaged: {' '.join(found.split())}.")
    return revision


def move_aside(path: Path) -> Path:
    """Rename a database and its companions to the next free `NAME.1`, `NAME.2`, ...; return the new path.

    Raises:
        StorageError: the folder cannot be written.
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.{number}")):
        number += 1
    with storage_errors(aside):
        for suffix in _COMPANIONS:
            companion = Path(f"{path}{suffix}")
            if os.path.lexists(companion):
                companion.rename(f"{aside}{suffix}")
        sync_folder(path.parent)
    return aside


def _revision(database: sqlite3.Connection) -> str | None:
    query = "SELECT name FROM sqlite_master WHERE name = 'alembic_version'"
    if database.execute(query).fetchone() is None:
        return None
    row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    return None if row is None else str(row[0])
