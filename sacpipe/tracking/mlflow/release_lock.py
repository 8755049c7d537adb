"""The lock of one policy's release commands where MLflow's records are in a database that can lock.

sqlite:///FILE                        a lock file beside the database
postgresql+psycopg2://...             an advisory lock, which ends with its connection
http(s)://..., other databases        none, unless SACPIPE_RELEASE_LOCK has an address of PostgreSQL
"""

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from sacpipe.core.errors import BusyError, ConfigError, StoreError, StoreUnavailableError
from sacpipe.project.sqlite_address import sqlite_file
from sacpipe.tracking.lock_file import busy_message, exclude_by_file, this_process
from sacpipe.tracking.mlflow.address import check_driver, hide_password, is_postgresql

LOCK_VARIABLE = "SACPIPE_RELEASE_LOCK"
"""Environment variable with the address of a PostgreSQL database whose advisory lock is held."""
_CONNECT_TIMEOUT_S = 10
_MAX_APPLICATION_CHARS = 63
_HOLDER = """
    SELECT a.application_name, a.usename FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32 | l.objid::bigint) = :key
"""


def exclude(name: str, tracking_uri: str, lock_address: str) -> AbstractContextManager[bool]:
    """Return the context in which other release commands on a policy are excluded, see `Registry.exclusive`.

    Args:
        name: Registered name of the policy.
        tracking_uri: Address of MLflow.
        lock_address: Value of SACPIPE_RELEASE_LOCK; empty where it is not set.

    Raises:
        ConfigError: SACPIPE_RELEASE_LOCK has no address of PostgreSQL, or psycopg2 is not installed.
    """
    if lock_address and not is_postgresql(lock_address):
        raise ConfigError(
            f"{LOCK_VARIABLE}: expected postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE, found another "
            "address. Unset it where no such database can be reached."
        )
    if is_postgresql(address := lock_address or tracking_uri):
        check_driver(address, LOCK_VARIABLE if lock_address else "MLFLOW_TRACKING_URI")
        return _exclude_by_advisory_lock(address, name)
    if (database := sqlite_file(address)) is not None:
        path = database.with_name(f"{database.name}.{_digest(name).hex()[:16]}.lock")
        return exclude_by_file(path.absolute(), name)
    return contextlib.nullcontext(False)


def lock_key(name: str) -> int:
    """Return the key of a policy's advisory lock: the first 64 bits of SHA-256, signed."""
    return int.from_bytes(_digest(name)[:8], signed=True)


def _digest(name: str) -> bytes:
    return hashlib.sha256(f"sacpipe release {name}".encode()).digest()


@contextlib.contextmanager
def _exclude_by_advisory_lock(address: str, name: str) -> Iterator[bool]:
    """Hold an advisory lock on a connection of its own.

    Raises:
        BusyError: another process holds it.
        StoreError: the database refuses; StoreUnavailableError where it does not answer.
    """
    shown = hide_password(address)
    with contextlib.ExitStack() as stack:
        with _database_errors(address):
            connection = stack.enter_context(_connect(address))
            holder = _take(connection, lock_key(name))
        if holder is not None:
            raise BusyError(busy_message(name, holder, f"the advisory lock of {shown}"))
        yield True


def _connect(address: str) -> Any:
    from sqlalchemy import NullPool, create_engine

    options = {
        "application_name": f"sacpipe, {this_process()}"[:_MAX_APPLICATION_CHARS],
        "connect_timeout": _CONNECT_TIMEOUT_S,
    }
    # AUTOCOMMIT: a transaction that stays open would keep the database from cleaning up.
    engine = create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=options)
    return engine.connect()


def _take(connection: Any, key: int) -> str | None:
    """Take the lock; return None, or else the process that holds it."""
    from sqlalchemy import text

    if connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar():
        return None
    found = connection.execute(text(_HOLDER), {"key": key}).first()
    return "a process that has ended meanwhile" if found is None else f"{found[0]}, user {found[1]}"


@contextlib.contextmanager
def _database_errors(address: str) -> Iterator[None]:
    """Turn the errors of SQLAlchemy and its driver into errors of the store, without the password."""
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError, SQLAlchemyError

    place = f"the release lock in {hide_password(address)}"
    try:
        yield
    except (ArgumentError, NoSuchModuleError, ValueError) as exc:
        raise ConfigError(f"{place}: expected the address of a database; correct it.") from exc
    except SQLAlchemyError as exc:
        reason = hide_password(address, " ".join(str(getattr(exc, "orig", exc)).split()))[:300].rstrip(".")
        is_down = isinstance(exc, OperationalError) and "authentication" not in reason
        kind = StoreUnavailableError if is_down else StoreError
        raise kind(f"{place} cannot be taken: {reason}. Check the address, or start its database.") from exc
