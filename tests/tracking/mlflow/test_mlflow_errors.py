"""Exceptions of MLflow, its database and its network become StoreErrors with advice, within seconds."""

import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests
import sqlalchemy
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from sacpipe.core.errors import BundleError, StoreError, StoreUnavailableError
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.errors import mlflow_errors
from sacpipe.tracking.mlflow.ledger import MlflowLedger


@pytest.mark.parametrize(
    "raised",
    [
        MlflowException("API request to http://x failed with exception HTTPConnectionPool"),
        MlflowException("API request to endpoint /x failed with error code 503 != 200."),
        requests.exceptions.ConnectTimeout("timed out"),
        requests.exceptions.ConnectionError("Connection refused"),
        ConnectionResetError("reset by peer"),
    ],
)
def test_an_mlflow_that_does_not_answer_may_be_retried(raised: Exception) -> None:
    with (
        pytest.raises(StoreUnavailableError, match="MLflow at here does not answer") as caught,
        mlflow_errors("here"),
    ):
        raise raised
    assert caught.value.retryable
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("raised", "advice"),
    [
        (MlflowException("no such run"), "no such run"),
        (MlflowException("API request to endpoint /x failed with error code 403 != 200."), "403"),
        (
            sqlalchemy.exc.DatabaseError("s", {}, Exception("file is not a database")),
            "`sacpipe ledger rebuild`",
        ),
        (requests.exceptions.HTTPError("403 Client Error"), "403"),
        (PermissionError(13, "Permission denied"), "writable"),
    ],
)
def test_a_refusal_comes_with_advice(raised: Exception, advice: str) -> None:
    with pytest.raises(StoreError, match=advice) as caught, mlflow_errors("here"):
        raise raised
    assert not caught.value.retryable
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize("own", [BundleError("damaged"), ZeroDivisionError("a bug"), KeyError("a bug")])
def test_what_is_not_mlflows_passes_as_it_is(own: Exception) -> None:
    with pytest.raises(type(own)) as caught, mlflow_errors("here"):
        raise own
    assert caught.value is own


def test_a_server_that_refuses_is_named_at_once(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
    begin = time.monotonic()
    expected = f"MLflow at {uri} does not answer.*unset MLFLOW_TRACKING_URI"
    with pytest.raises(StoreUnavailableError, match=expected):
        MlflowLedger(MlflowConnection(uri, tmp_path)).find_run("ab")
    assert time.monotonic() - begin < 5


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_given_up_within_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        begin = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="timed out"):
            MlflowConnection(uri, tmp_path).check()
        assert time.monotonic() - begin < 10


@pytest.mark.slow
def test_a_file_that_is_no_database_comes_with_advice(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all, but long enough to look into" * 100)
    with pytest.raises(StoreError, match="sacpipe ledger rebuild"):
        MlflowConnection(f"sqlite:///{tmp_path}/mlflow.db", tmp_path).check()


@pytest.mark.slow
def test_importing_tracking_imports_no_mlflow() -> None:
    script = (
        "import sys; from sacpipe.project.dvc import commands; from sacpipe.tracking.mlflow import connection, ledger, registry;"
        "print('mlflow' in sys.modules, 'dvc' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_a_connection_keeps_mlflow_silent_unless_a_variable_is_set(tmp_path, monkeypatch):
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_CONFIGURE_LOGGING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_CONFIGURE_LOGGING", "true")
    MlflowConnection(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    assert (os.environ["MLFLOW_DISABLE_TELEMETRY"], os.environ["MLFLOW_CONFIGURE_LOGGING"]) == (
        "true",
        "true",
    )


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (OSError("No such file or directory: '/artifacts/m-1'"), "missing"),
        (MlflowException("API request to endpoint /x failed with error code 404 != 200."), "missing"),
        (MlflowException("Logged model m-1 not found.", error_code=RESOURCE_DOES_NOT_EXIST), "missing"),
        (MlflowException("API request to endpoint /x failed with error code 401 != 200."), ""),
        (MlflowException("API request to endpoint /x failed with error code 403 != 200."), ""),
        (OSError(errno.ENOSPC, "No space left on device"), ""),
    ],
)
def test_lost_files_have_a_code_and_refusals_have_none(raised: Exception, code: str) -> None:
    with pytest.raises(StoreError) as caught, mlflow_errors("here"):
        raise raised
    assert caught.value.code == code
