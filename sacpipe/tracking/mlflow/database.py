"""The embedded ledger's database, looked at before MLflow opens it.

MLflow would retry a damaged file for a minute, and would add tables to a database of another version.
"""

from pathlib import Path

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.core.files import check_writable
from sacpipe.core.sqlite_file import check_sqlite
from sacpipe.tracking.mlflow.database_errors import REBUILD, other_schema


def check_database(path: Path, artifact_folder: Path) -> None:
    """Check that a ledger's files can be written, and that MLflow's present version can use them.

    Args:
        path: The database; it may be missing.
        artifact_folder: Folder of the artifacts; it may be missing.

    Raises:
        StoreUnavailableError: another process has locked the database.
        StoreError: the database is damaged, cannot be written, or is of another MLflow version.
        StorageError: a folder cannot be written.
    """
    for folder in (path.parent, artifact_folder):
        check_writable(folder)
    try:
        revision = check_sqlite(path)
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        raise StoreError(f"{exc} {REBUILD}") from exc
    if revision is None:
        return
    expected = newest_revision()
    if revision != expected:
        raise other_schema(str(path), expected=expected, found=revision)


def newest_revision() -> str:
    """Return the Alembic revision of the databases of the installed MLflow."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())
