"""What is wrong with MLflow's database: locked and by whom, not writable, or of another schema."""

import os
import re
from importlib.metadata import version
from pathlib import Path

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.core.locks import lock_holders
from sacpipe.project.sqlite_address import sqlite_file
from sacpipe.tracking.mlflow.address import hide_password

REBUILD = (
    "`sacpipe ledger rebuild` moves the project's own ledger aside and writes it again from DVC's outputs."
)
_SCHEMA = re.compile(r"found version (\w+), but expected (\w+)")
_LOCKED = ("database is locked", "database table is locked")
_READ_ONLY = ("readonly database", "unable to open database")


def explain_database(text: str, uri: str) -> StoreError | None:
    """Return the error of a database that is locked, not writable or of another schema; None for others.

    Args:
        text: What MLflow or SQLAlchemy said, on one line.
        uri: Address of the database.
    """
    path = sqlite_file(uri)
    if found := _SCHEMA.search(text):
        return other_schema(str(path or hide_password(uri)), expected=found[2], found=found[1])
    if "read-only transaction" in text:  # PostgreSQL
        return StoreError(
            f"{hide_password(uri)} allows this account no writing: {text[:200]}. Connect to the primary "
            "server, or by an account that may write."
        )
    is_locked = any(sign in text for sign in _LOCKED)
    if path is None:
        text = f"MLflow at {hide_password(uri)}: a process of the server has locked its database. Try again."
        return StoreUnavailableError(text, "locked") if is_locked else None
    if is_locked:
        return StoreUnavailableError(
            f"{path} is locked by {lock_holders(path)}. Wait until that process ends, or stop it.", "locked"
        )
    if any(sign in text for sign in _READ_ONLY):
        return StoreError(_why_read_only(path))
    return None


def other_schema(place: str, *, expected: str, found: str) -> StoreError:
    """Return the error of a database that another version of MLflow wrote.

    Args:
        place: Path or address of the database.
        expected: Alembic revision of the installed MLflow.
        found: Alembic revision of the database.
    """
    return StoreError(
        f"{place} is of another MLflow version: expected schema {expected} of MLflow {version('mlflow')}, "
        f"found {found}. {REBUILD} A database that MLFLOW_TRACKING_URI names is left alone: use the MLflow "
        "that wrote it, or, where it is older, make a backup and run `mlflow db upgrade`."
    )


def _why_read_only(path: Path) -> str:
    if not path.exists():
        return f"{path} cannot be made: permission is missing. Make {path.parent} writable for this user."
    if not os.access(path, os.W_OK, effective_ids=True):
        return f"{path} cannot be written: permission is missing. Make the file writable for this user."
    if not os.access(path.parent, os.W_OK, effective_ids=True):
        return (
            f"{path} cannot be written: SQLite needs a journal beside it. Make the folder {path.parent} "
            "writable for this user."
        )
    return f"{path} cannot be written: its disk is read-only, or its address opens it so. Correct that."
