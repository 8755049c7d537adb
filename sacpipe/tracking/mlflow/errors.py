"""The exceptions of MLflow, of its database and of its network, turned into StoreErrors.

An exception is recognised by the name of its package. So this module does not import MLflow, which takes
1.5 s.
"""

import contextlib
import os
import urllib.error
import urllib.request
from collections.abc import Iterator

from sacpipe.core.errors import SacpipeError, StoreError, StoreUnavailableError
from sacpipe.core.proxies import proxy_advice, without_proxy_on_loopback

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
    *("database is locked", "error code 502", "error code 503", "error code 504"),
)
_DAMAGED = (
    *("not a database", "malformed", "no such table", "no such column"),
    *("out-of-date database schema", "Can't locate revision"),
)
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
    text = " ".join(str(exc).split())
    if any(sign in text for sign in _UNAVAILABLE) or isinstance(exc, ConnectionError | TimeoutError):
        return _unavailable(uri, exc)
    advice = ""
    if any(sign in text for sign in _DAMAGED):
        advice = " `sacpipe ledger rebuild` writes the ledger again from DVC's outputs."
    elif "unable to open database" in text or "readonly database" in text or isinstance(exc, PermissionError):
        advice = " Make the folder writable for this user."
    return StoreError(f"MLflow at {uri} failed: {text[:500]}.{advice}{proxy_advice(uri, os.environ)}")


def _unavailable(uri: str, exc: Exception) -> StoreUnavailableError:
    reason = " ".join(str(getattr(exc, "reason", exc)).split())[:200]
    return StoreUnavailableError(
        f"MLflow at {uri} does not answer ({reason}). Start it, or unset MLFLOW_TRACKING_URI to use the "
        f"ledger in .sacpipe/; `sacpipe ledger rebuild` completes it later.{proxy_advice(uri, os.environ)}"
    )
