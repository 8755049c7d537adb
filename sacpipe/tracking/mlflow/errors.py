"""The border with MLflow: its exceptions, its database's and its network's become StoreErrors here.

Floor 2. Nothing of MLflow is imported: an exception is known by the package it comes from, so that
this costs nothing where MLflow is not used.
"""

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

from sacpipe.core.errors import SacpipeError, StoreError, StoreUnavailableError

_FOREIGN = (
    "mlflow",
    "sqlalchemy",
    "sqlite3",
    "requests",
    "urllib3",
    "alembic",
    "botocore",
    "onnx",
    "onnxruntime",
)
_SILENT = (
    *(
        "failed with exception",
        "failed with timeout",
        "Max retries exceeded",
        "timed out",
        "Connection refused",
    ),
    *("database is locked", "error code 502", "error code 503", "error code 504"),
)
_REACH_S = 3.0
_QUICK = {
    # MLflow's own limits are 120 s and 7 retries: a dead server would hold a run for a quarter of an hour.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}


@contextlib.contextmanager
def border(uri: str) -> Iterator[None]:
    """Turn what comes out of MLflow into errors of this project's tree.

    Args:
        uri: The ledger's address, for messages.

    Raises:
        StoreUnavailableError: it does not answer; trying again may help.
        StoreError: it answered with a refusal, or its database or artifact folder cannot be used.
    """
    try:
        yield
    except SacpipeError:
        raise
    except OSError as exc:  # requests' errors are among them
        raise _translate(exc, uri) from exc
    except Exception as exc:
        if type(exc).__module__.partition(".")[0] in _FOREIGN:
            raise _translate(exc, uri) from exc
        raise


def fail_fast() -> None:
    """Make MLflow's client give up within seconds and print nothing, unless the environment says more."""
    for name, value in _QUICK.items():
        os.environ.setdefault(name, value)


def reach(uri: str) -> None:
    """Ask a tracking server over HTTP whether it is there; any answer will do.

    Raises:
        StoreUnavailableError: it refuses the connection, or says nothing for three seconds.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_REACH_S).close()  # noqa: S310 - http(s) only
    except urllib.error.HTTPError as exc:
        exc.close()
    except (OSError, ValueError) as exc:
        raise _silent(uri, exc) from exc


def _translate(exc: Exception, uri: str) -> StoreError:
    text = " ".join(str(exc).split())
    if any(sign in text for sign in _SILENT) or isinstance(exc, ConnectionError | TimeoutError):
        return _silent(uri, exc)
    advice = ""
    if "not a database" in text or "malformed" in text or "no such table" in text:
        advice = " `sacpipe ledger rebuild` makes the ledger again from DVC's outputs."
    elif "unable to open database" in text or "readonly database" in text or isinstance(exc, PermissionError):
        advice = " Make the folder writable for this user."
    return StoreError(f"MLflow at {uri} failed: {text[:500]}.{advice}")


def _silent(uri: str, exc: Exception) -> StoreUnavailableError:
    reason = " ".join(str(getattr(exc, "reason", exc)).split())[:200]
    return StoreUnavailableError(
        f"MLflow at {uri} does not answer ({reason}). Start it, or unset MLFLOW_TRACKING_URI to use the "
        "ledger in .sacpipe/; `sacpipe ledger rebuild` completes it later."
    )
