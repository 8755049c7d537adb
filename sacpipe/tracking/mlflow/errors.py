"""The exceptions of MLflow, of its database and of its network, turned into StoreErrors.

An exception is recognised by the name of its package. So this module does not import MLflow, which takes
1.5 s.
"""

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

from sacpipe.core.errors import MISSING_FILES, SacpipeError, StoreError, StoreUnavailableError
from sacpipe.core.proxies import proxy_advice, without_proxy_on_loopback
from sacpipe.tracking.mlflow.address import hide_password
from sacpipe.tracking.mlflow.database_errors import REBUILD, explain_database

_PACKAGES = (
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
_UNAVAILABLE = (
    *(
        "failed with exception",
        "failed with timeout",
        "Max retries exceeded",
        "timed out",
        "Connection refused",
    ),
    *("error code 502", "error code 503", "error code 504"),
)
_DAMAGED = ("not a database", "malformed", "no such table", "no such column", "Can't locate revision")
_NOT_THERE = "RESOURCE_DOES_NOT_EXIST"
_MISSING = (
    "No such file or directory",
    "No such artifact",
    "error code 404",
    "404 Client Error",
    "NoSuchKey",
)
"""What a message of a lost artifact holds."""
_REFUSALS = {
    "error code 401": " Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account of it.",
    "Invalid Host header": " Ask by a name that the server's --allowed-hosts lists, or add this one there.",
    "error code 403": " The account in MLFLOW_TRACKING_USERNAME may not do this: use one that may, or have "
    "the permission granted.",
}
"""Advice about a server's refusals, by what their texts hold."""
_REACH_TIMEOUT_S = 3.0
_VARIABLES = {
    # MLflow's own limits of 120 s and 7 retries would delay a run by 15 minutes when a server is down.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SKIP_PIP_REQUIREMENTS_CHECK": "true",
}


@contextlib.contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Turn the exceptions of MLflow and of the packages it uses into StoreErrors.

    Args:
        uri: The ledger's address, for messages.

    Raises:
        StoreUnavailableError: MLflow does not answer; a retry may help.
        StoreError: MLflow refused the request, or its database or artifact folder cannot be used.
    """
    try:
        yield
    except SacpipeError:
        raise
    except OSError as exc:  # requests' errors are among them
        raise _translate(exc, uri) from exc
    except Exception as exc:
        if type(exc).__module__.partition(".")[0] in _PACKAGES:
            raise _translate(exc, uri) from exc
        raise


def prepare_client() -> None:
    """Make MLflow's client give up within seconds, be silent, and reach loopback without a proxy.

    It reads these variables when it is imported. Those that are set already stay.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    os.environ.update(without_proxy_on_loopback(os.environ))


def check_reachable(uri: str) -> None:
    """Request a tracking server's health over HTTP. Any HTTP answer passes; a database is not checked.

    Raises:
        StoreUnavailableError: the server refuses the connection, or does not answer within three seconds.
    """
    if not uri.startswith(("http://", "https://")):
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_REACH_TIMEOUT_S).close()  # noqa: S310 - http(s) only
    except urllib.error.HTTPError as exc:
        exc.close()
    except (OSError, ValueError) as exc:
        raise _unavailable(uri, exc) from exc


def _translate(exc: Exception, uri: str) -> StoreError:
    text = hide_password(uri, " ".join(str(exc).split()))
    if (explained := explain_database(text, uri)) is not None:
        return explained
    if any(sign in text for sign in _UNAVAILABLE) or isinstance(exc, ConnectionError | TimeoutError):
        return _unavailable(uri, exc)
    advice = next((advice for sign, advice in _REFUSALS.items() if sign in text), "")
    if any(sign in text for sign in _DAMAGED):
        advice = f" {REBUILD}"
    elif isinstance(exc, PermissionError):
        advice = f" Make {exc.filename or 'the folder'} writable for this user."
    found = text[:500].rstrip(".")
    is_missing = getattr(exc, "error_code", "") == _NOT_THERE or any(sign in text for sign in _MISSING)
    return StoreError(
        f"MLflow at {hide_password(uri)} failed: {found}.{advice}{proxy_advice(uri, os.environ)}",
        MISSING_FILES if is_missing else "",
    )


def _unavailable(uri: str, exc: Exception) -> StoreUnavailableError:
    reason = hide_password(uri, " ".join(str(getattr(exc, "reason", exc)).split()))[:200]
    return StoreUnavailableError(
        f"MLflow at {hide_password(uri)} does not answer ({reason}). Start it, or unset MLFLOW_TRACKING_URI "
        "to use the ledger in .sacpipe/; `sacpipe ledger rebuild` completes it later."
        f"{proxy_advice(uri, os.environ)}"
    )
