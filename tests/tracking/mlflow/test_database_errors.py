"""A release on a database that is locked, not writable or of another schema: the file, whose fault, what to do."""

import concurrent.futures
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from unprivileged import unprivileged

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.database_errors import explain_database
from sacpipe.tracking.mlflow.ledger import MlflowLedger

LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1])
database.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
OPERATIONS = {
    "set_alias": lambda registry, new: registry.set_alias("Push", "candidate", 1),
    "set_model_tags": lambda registry, new: registry.set_model_tags("Push", {"sacpipe.release_head": "{}"}),
    "register": lambda registry, new: registry.register("Push", *new, {}),
}


@pytest.fixture(scope="module")
def released(empty_ledger, tmp_path_factory):
    """A database with one version, in a folder that every user may read, and what a second one needs."""
    with tempfile.TemporaryDirectory(prefix="sacpipe-database-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(empty_ledger, folder / "mlflow.db")
        ledger = MlflowLedger(MlflowConnection(f"sqlite:///{folder}/mlflow.db", folder / "artifacts"))
        run_id = ledger.ensure_run("ab" * 32, "export", {}, {})
        bundles = tmp_path_factory.mktemp("bundles")
        first, second = (example_bundle(bundles / str(gain), gain) for gain in (0.5, 0.25))
        ledger.registry.register("Push", ledger.log_model(run_id, first), run_id, bundle_digest(first), {})
        ledger.registry.set_alias("Push", "champion", 1)
        yield folder / "mlflow.db", (ledger.log_model(run_id, second), run_id, bundle_digest(second))


@pytest.fixture
def copied(released):
    """A copy of it, of one's own: MLflow keeps what it knows of a database by its path."""
    database, new = released
    folder = Path(tempfile.mkdtemp(prefix="copy-", dir=database.parent))
    folder.chmod(0o755)
    path = Path(shutil.copy(database, folder / "mlflow.db"))
    registry = MlflowLedger(MlflowConnection(f"sqlite:///{path}", database.parent / "artifacts")).registry
    return path, registry, new


@pytest.mark.acceptance
def test_a_locked_database_is_reported_with_the_process_that_locked_it(copied):
    path, registry, new = copied
    assert registry.versions("Push")  # open before, as in a command
    process = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "locked\n"
        with concurrent.futures.ThreadPoolExecutor() as pool:  # each waits 20 s for the lock
            tried = [pool.submit(operation, registry, new) for operation in OPERATIONS.values()]
        for one in tried:
            with pytest.raises(StoreUnavailableError) as caught:
                one.result()
            assert str(caught.value).startswith(f"{path} is locked by process {process.pid} (python")
            assert str(caught.value).endswith("). Wait until that process ends, or stop it.")
    finally:
        process.kill()
        process.communicate()
    for operation in OPERATIONS.values():
        operation(registry, new)
    assert [one.version for one in registry.versions("Push")] == [1, 2]


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    ("is_folder", "said"),
    [
        (False, "{path} cannot be written: permission is missing. Make the file writable for this user."),
        (
            True,
            "{path} cannot be written: SQLite needs a journal beside it. Make the folder {path.parent} writable "
            "for this user.",
        ),
    ],
)
def test_a_database_that_cannot_be_written_is_reported_with_the_place(copied, operation, is_folder, said):
    path, registry, new = copied
    path.chmod(0o666 if is_folder else 0o444)
    path.parent.chmod(0o555 if is_folder else 0o777)
    with unprivileged(), pytest.raises(StoreError) as caught:
        OPERATIONS[operation](registry, new)
    assert str(caught.value) == said.format(path=path)
    assert not caught.value.retryable


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("revision", ["ffffffffffff", "451aebb31d03"])
def test_a_database_of_another_schema_is_reported_with_both_revisions(copied, operation, revision):
    path, registry, new = copied
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()
    with pytest.raises(StoreError) as caught:
        OPERATIONS[operation](registry, new)
    said = str(caught.value)
    assert said.startswith(f"{path} is of another MLflow version: expected schema ")
    assert f"found {revision}. `sacpipe ledger rebuild` moves the project's own ledger aside" in said
    assert "MLFLOW_TRACKING_URI names is left alone: use the MLflow that wrote it" in said


@pytest.mark.parametrize("kind", ["missing", "on a disk that is read-only"])
def test_other_reasons_name_the_file_too(tmp_path, kind):
    path = tmp_path / "mlflow.db"
    if kind != "missing":
        path.write_bytes(b"")
    said = {"missing": "cannot be made", "on a disk that is read-only": "its disk is read-only"}[kind]
    error = explain_database("attempt to write a readonly database", f"sqlite:///{path}")
    assert str(error).startswith(f"{path} ")
    assert said in str(error)


def test_a_servers_locked_database_may_be_tried_again():
    error = explain_database("(sqlite3.OperationalError) database is locked", "http://user:secret@host:5000")
    assert isinstance(error, StoreUnavailableError)
    assert "secret" not in str(error)
    assert os.linesep not in str(error)
