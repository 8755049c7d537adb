"""Prefect's API, in whatever surroundings the operator has: its settings, its home, and its temporary server.

Without PREFECT_API_URL a run starts a temporary server of its own, with its home in .sacpipe/; see
pipelines/temporary_server.py.
"""

import contextlib
import io
import os
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.temporary_server import TemporaryServer
from sacpipe.core.errors import ConfigError, StoreError, StoreUnavailableError
from sacpipe.core.fence import first_error
from sacpipe.core.files import check_writable
from sacpipe.core.proxies import proxy_advice, without_proxy_on_loopback
from sacpipe.core.sqlite_file import check_sqlite, move_aside
from sacpipe.project.sqlite_address import sqlite_address
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import Workspace

if TYPE_CHECKING:
    from prefect.settings import Settings

LOCAL_ENGINE = "`sacpipe run --engine local` runs the same steps without Prefect."

_OPERATORS_PROFILES = Path.home() / ".prefect" / "profiles.toml"
_PROBE_TIMEOUT_S = 5.0
_PROXY_FAILURES = (502, 503, 504)


def open_api(workspace: Workspace) -> TemporaryServer | None:
    """Ask the operator's server for its health, or begin to start a temporary one and return it.

    Raises:
        ConfigError: Prefect's settings are wrong, or name no server and forbid a temporary one.
        StoreUnavailableError: the operator's server does not answer, or the temporary one cannot be started.
    """
    address = check_settings()
    if address is not None:
        write_line(f"Prefect: its server is {address}")
        _probe(address)
        return None
    for line in (unused_server(workspace, os.environ), prepare_home(workspace)):
        if line is not None:
            write_line(f"Prefect: {line}")
    write_line(f"Prefect: its temporary server starts. {LOCAL_ENGINE}")
    server = TemporaryServer(_read_settings())
    server.start()
    return server


def use_api(server: TemporaryServer | None) -> str:
    """Wait until a temporary server answers, and let the flow use it; return where the API is, for messages.

    Args:
        server: From `open_api`.

    Raises:
        StoreUnavailableError: it ended, or did not answer within Prefect's time-out.
    """
    if server is None:
        return str(check_settings())
    where = f"the temporary server in {_home()}"
    try:
        server.wait()
    except (OSError, RuntimeError) as exc:
        raise unavailable(where, exc) from exc
    from prefect.context import refresh_global_settings_context

    os.environ["PREFECT_API_URL"] = server.api_url
    refresh_global_settings_context()
    return where


def describe(workspace: Workspace) -> str:
    """Return which server a run would use, with all that can be said without starting one.

    Raises:
        SacpipeError: settings, home or server cannot be used.
    """
    address = check_settings()
    if address is not None:
        _probe(address)
        return f"its server at {address}"
    lines = [unused_server(workspace, os.environ), prepare_home(workspace)]
    return "; ".join(["a temporary server for each run", *(line for line in lines if line is not None)])


def check_settings() -> str | None:
    """Return the address of the operator's server; None where a temporary server is to be started.

    Raises:
        ConfigError: Prefect's settings are wrong, or name no server and forbid a temporary one.
    """
    os.environ.update(without_proxy_on_loopback(os.environ))
    if os.environ.get("PREFECT_PROFILE") and _OPERATORS_PROFILES.is_file():  # it was asked for by its name
        os.environ.setdefault("PREFECT_PROFILES_PATH", str(_OPERATORS_PROFILES))
    settings = _read_settings()
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


def _read_settings() -> "Settings":
    found: list[Settings] = []

    def read() -> None:
        from prefect.context import get_settings_context

        found.append(get_settings_context().settings)

    with contextlib.redirect_stderr(io.StringIO()) as messages:
        error = first_error(read)
    if isinstance(error, ImportError):
        raise error
    if error is not None:
        profiles = os.environ.get("PREFECT_PROFILES_PATH") or _home() / "profiles.toml"
        raise ConfigError(
            f"Prefect's settings cannot be read: {_one_line(error)}. They come from variables PREFECT_*, "
            f"from prefect.toml, pyproject.toml or .env in this folder, and from {profiles}. Correct them. "
            f"{LOCAL_ENGINE}"
        ) from error
    sys.stderr.write(messages.getvalue())  # warnings; those of an error would say it twice
    return found[0]


def unused_server(workspace: Workspace, variables: Mapping[str, str]) -> str | None:
    """Return a line about a server that the operator's own profile names and that a run does not use.

    A run depends on its folder and on variables alone: a profile that was made for other projects must
    neither stop it nor take its data to another machine.

    Args:
        workspace: The project.
        variables: The environment that is set.
    """
    if variables.get("PREFECT_HOME") != str(workspace.prefect_home) or variables.get("PREFECT_PROFILES_PATH"):
        return None
    path = _OPERATORS_PROFILES
    try:
        tree: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        active = tree["active"]
        address = tree["profiles"][active]["PREFECT_API_URL"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (
        f"the server {address} of profile '{active}' in {path} is not used, because a run depends on its "
        f"folder alone. `PREFECT_PROFILE={active} sacpipe run` uses it."
    )


def prepare_home(workspace: Workspace) -> str | None:
    """Check the home of the temporary server. A database that cannot be used is moved aside; return a line.

    Only the home in .sacpipe/ is changed; all in it can be disposed of.

    Raises:
        StorageError: the home cannot be written.
        StoreUnavailableError: another process has locked the database.
        StoreError: the operator's own home has a database that cannot be used.
    """
    home = _home()
    check_writable(home)
    own = sqlite_address(workspace.prefect_db, "aiosqlite")
    if any(name.endswith("_DATABASE_CONNECTION_URL") and url != own for name, url in os.environ.items()):
        return None  # a database of the operator's choice
    path = home / "prefect.db"
    try:
        revision = check_sqlite(path)
        if revision is None or revision in known_revisions():
            return None
        fault = f"{path} is of a newer Prefect: found schema {revision}."
    except StoreUnavailableError:
        raise
    except StoreError as exc:
        fault = str(exc)
    if home != workspace.prefect_home:
        raise StoreError(f"{fault} Move it away, or unset PREFECT_HOME. {LOCAL_ENGINE}")
    return f"{fault} It is {move_aside(path)} now, and a new one is made."


def known_revisions() -> set[str]:
    """Return the schemas of SQLite databases that the installed Prefect knows, by its migration files."""
    import prefect

    folder = Path(prefect.__file__).parent / "server" / "database" / "_migrations" / "versions" / "sqlite"
    lines = (line for path in folder.glob("*.py") for line in path.read_text(encoding="utf-8").splitlines())
    return {line.split('"')[1] for line in lines if line.startswith('revision = "')}


def _probe(address: str) -> None:
    """Ask the operator's server for its health; any answer passes that is not a proxy's failure.

    Raises:
        StoreUnavailableError: there is no answer within seconds.
    """
    import ssl

    import httpx

    settings = _read_settings().api
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


def _home() -> Path:
    return Path(os.environ.get("PREFECT_HOME") or _OPERATORS_PROFILES.parent)


def _one_line(cause: object) -> str:
    return " ".join(str(cause).split())[:300].rstrip(".")
