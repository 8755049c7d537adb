"""Prefect's settings, its home and the operator's server, in whatever surroundings the operator has."""

import contextlib
import io
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sacpipe.core.errors import ConfigError, StoreError, StoreUnavailableError
from sacpipe.core.files import check_writable
from sacpipe.core.proxies import proxy_advice, without_proxy_on_loopback
from sacpipe.core.sqlite_file import check_sqlite, move_aside
from sacpipe.project.sqlite_address import sqlite_address
from sacpipe.project.workspace import Workspace

if TYPE_CHECKING:
    from prefect.settings import Settings

LOCAL_ENGINE = "`sacpipe run --engine local` runs the same steps without Prefect."

_PROBE_TIMEOUT_S = 5.0
_PROXY_FAILURES = (502, 503, 504)
OPERATORS_PROFILES = Path.home() / ".prefect" / "profiles.toml"

_QUIET = {
    # The console handler repeats each step and prints tracebacks; Prefect's API and UI still get them.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # Making a home takes 18 s on two cores, so Prefect's own limit of 20 s fails on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_TASKS_DEFAULT_NO_CACHE": "true",
}
_DATABASE = ("PREFECT_HOME", "PREFECT_SERVER_DATABASE_", "PREFECT_API_DATABASE_")
"""First characters of the variables with which an operator chooses Prefect's database."""


def own_home(workspace: Workspace) -> Path:
    """Return the home of the temporary server in a workspace."""
    return workspace.state / "prefect"


def own_variables(workspace: Workspace, present: Mapping[str, str]) -> dict[str, str]:
    """Return variables that keep Prefect embedded, quiet and free of telemetry, without those present."""
    defaults = dict(_QUIET)
    if not present.get("PREFECT_API_URL"):  # another server has its own home and database
        defaults["PREFECT_HOME"] = str(own_home(workspace))
        if not any(name.startswith(_DATABASE) and text for name, text in present.items()):
            # Prefect's default is this file too, but Prefect does not quote the address.
            address = sqlite_address(own_home(workspace) / "prefect.db", "aiosqlite")
            defaults["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = address
    return {name: value for name, value in defaults.items() if not present.get(name)}


def server_address(workspace: Workspace) -> str | None:
    """Return the address of the operator's server; None where a temporary server is to be started.

    Raises:
        ConfigError: Prefect's settings are wrong, or name no server and forbid a temporary one.
    """
    os.environ.update(own_variables(workspace, os.environ) | without_proxy_on_loopback(os.environ))
    if os.environ.get("PREFECT_PROFILE") and OPERATORS_PROFILES.is_file():  # it was asked for by its name
        os.environ.setdefault("PREFECT_PROFILES_PATH", str(OPERATORS_PROFILES))
    settings = read()
    if settings.api.url:
        return str(settings.api.url)
    if not settings.server.ephemeral.enabled:
        names = ("PREFECT_SERVER_EPHEMERAL_ENABLED", "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE")
        source = next((f"{name}={os.environ[name]}" for name in names if name in os.environ), None)
        raise ConfigError(
            "Prefect: expected PREFECT_API_URL, or leave to start a temporary server; found neither, because "
            f"{source or 'the active profile or a settings file'} forbids it. Set PREFECT_API_URL to the "
            f"address of a running server, or allow a temporary one. {LOCAL_ENGINE}"
        )
    return None


def read() -> "Settings":
    """Return Prefect's settings; its warnings go to stderr.

    Raises:
        ConfigError: they cannot be read.
    """
    with contextlib.redirect_stderr(io.StringIO()) as messages:
        try:
            from prefect.context import get_settings_context

            found = get_settings_context().settings
        except ImportError:
            raise
        except Exception as exc:
            profiles = os.environ.get("PREFECT_PROFILES_PATH") or home() / "profiles.toml"
            raise ConfigError(
                f"Prefect's settings cannot be read: {_one_line(exc)}. They come from variables PREFECT_*, "
                f"from prefect.toml, pyproject.toml or .env in this folder, and from {profiles}. Correct "
                f"them. {LOCAL_ENGINE}"
            ) from exc
    sys.stderr.write(messages.getvalue())  # warnings; those of an error would say it twice
    return found


def unused_server(workspace: Workspace) -> str | None:
    """Return a line about a server that the operator's own profile names and that a run does not use.

    A run depends on its folder and on variables alone: a profile that was made for other projects must
    neither stop it nor take its data to another machine.
    """
    if home() != own_home(workspace) or os.environ.get("PREFECT_PROFILES_PATH"):
        return None
    try:
        tree: Any = tomllib.loads(OPERATORS_PROFILES.read_text(encoding="utf-8"))
        active = tree["active"]
        address = tree["profiles"][active]["PREFECT_API_URL"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (
        f"the server {address} of profile '{active}' in {OPERATORS_PROFILES} is not used, because a run "
        f"depends on its folder alone. `PREFECT_PROFILE={active} sacpipe run` uses it."
    )


def prepare_home(workspace: Workspace) -> str | None:
    """Check the home of the temporary server. A database that cannot be used is moved aside; return a line.

    Only the home in .sacpipe/ is changed; all in it can be disposed of.

    Raises:
        StorageError: the home cannot be written.
        StoreUnavailableError: another process has locked the database.
        StoreError: the operator's own home has a database that cannot be used.
    """
    check_writable(home())
    own = sqlite_address(own_home(workspace) / "prefect.db", "aiosqlite")
    if any(name.endswith("_DATABASE_CONNECTION_URL") and url != own for name, url in os.environ.items()):
        return None  # a database of the operator's choice
    path = home() / "prefect.db"
    try:
        revision = check_sqlite(path)
        if revision is None or revision in known_revisions():
            return None
        fault = f"{path} is of a newer Prefect: found schema {revision}."
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        fault = str(exc)
    if home() != own_home(workspace):
        raise StoreError(f"{fault} Move it away, or unset PREFECT_HOME. {LOCAL_ENGINE}")
    return f"{fault} It is {move_aside(path)} now, and a new one is made."


def home_notices(workspace: Workspace) -> list[str]:
    """Return lines about a server that is not used, and about a database that was moved aside.

    Raises:
        SacpipeError: as `prepare_home`.
    """
    lines = (unused_server(workspace), prepare_home(workspace))
    return [line for line in lines if line is not None]


def probe(address: str) -> None:
    """Ask the operator's server for its health; any answer passes that is not a proxy's failure.

    Raises:
        StoreUnavailableError: there is no answer within seconds.
    """
    import ssl

    import httpx

    settings = read().api
    context = ssl.create_default_context(cafile=settings.ssl_cert_file)
    verify = False if settings.tls_insecure_skip_verify else context
    try:
        answer = httpx.get(f"{address.rstrip('/')}/health", timeout=_PROBE_TIMEOUT_S, verify=verify)
    except httpx.HTTPError as exc:
        raise unavailable(address, exc) from exc
    if answer.status_code in _PROXY_FAILURES:
        raise unavailable(address, f"HTTP status {answer.status_code}")


def unavailable(where: str, cause: object) -> StoreUnavailableError:
    """Return the error for a server that does not answer."""
    return StoreUnavailableError(
        f"Prefect does not answer ({where}): {_one_line(cause)}. Start its server, or name none, by "
        f"variable or profile, for a temporary one. {LOCAL_ENGINE}{proxy_advice(where, os.environ)}"
    )


def known_revisions() -> set[str]:
    """Return the schemas of SQLite databases that the installed Prefect knows, by its migration files."""
    import prefect

    folder = Path(prefect.__file__).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    lines = (line for path in folder.glob("*.py") for line in path.read_text(encoding="utf-8").splitlines())
    return {line.split('"')[1] for line in lines if line.startswith('revision = "')}


def home() -> Path:
    """Return the home that Prefect uses."""
    return Path(os.environ.get("PREFECT_HOME") or OPERATORS_PROFILES.parent)


def _one_line(cause: object) -> str:
    return " ".join(str(cause).split())[:300].rstrip(".")
