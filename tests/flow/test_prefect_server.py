"""Prefect in the operator's surroundings: one message, or one line, before anything is trained."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from repository import ROOT
from small_project import environment

from pipelines import prefect_server
from pipelines.temporary_server import TemporaryServer
from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.project.workspace import Workspace

TEAM = 'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """The operator's own profiles, with a server in the active one."""
    path = tmp_path / "operator" / "profiles.toml"
    path.parent.mkdir()
    path.write_text(TEAM)
    monkeypatch.setattr(prefect_server, "_OPERATORS_PROFILES", path)
    return path


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A project whose tools have the variables that every command sets."""
    workspace = Workspace(tmp_path)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in workspace.environment({}).items():
        if name in ("PREFECT_HOME", "PREFECT_SERVER_DATABASE_CONNECTION_URL"):
            monkeypatch.setenv(name, value)
    return workspace


def test_a_server_of_the_operators_profile_is_not_passed_over_in_silence(workspace, profiles):
    line = prefect_server.unused_server(workspace, {"PREFECT_HOME": str(workspace.prefect_home)})
    assert "http://127.0.0.1:9/api of profile 'team'" in line
    assert "`PREFECT_PROFILE=team sacpipe run` uses it" in line


@pytest.mark.parametrize(
    "text",
    [
        "",
        "active = [broken",
        'active = "gone"',
        'active = "team"\nprofiles = 7',
        'active = "team"\n[profiles.team]\nPREFECT_LOGGING_LEVEL = "INFO"\n',
        'active = ["team"]\n[profiles.team]\n',
    ],
)
def test_profiles_without_a_server_are_no_line(workspace, profiles, text):
    profiles.write_text(text)
    assert prefect_server.unused_server(workspace, {"PREFECT_HOME": str(workspace.prefect_home)}) is None


def test_a_home_or_profiles_that_the_operator_chose_are_used(workspace, profiles):
    assert prefect_server.unused_server(workspace, {"PREFECT_HOME": str(profiles.parent)}) is None
    chosen = {"PREFECT_HOME": str(workspace.prefect_home), "PREFECT_PROFILES_PATH": str(profiles)}
    assert prefect_server.unused_server(workspace, chosen) is None


def make_database(home: Path, revision: str) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(home / "prefect.db") as database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
    database.close()
    return home / "prefect.db"


@pytest.mark.slow
@pytest.mark.parametrize("is_truncated", [False, True])
def test_a_home_of_another_version_is_put_aside(workspace, is_truncated):
    """Prefect would start its server again and again, without a word and without end."""
    path = make_database(workspace.prefect_home, "ffffffffffff")
    if is_truncated:
        path.write_bytes(path.read_bytes()[:5000])
    line = prefect_server.prepare_home(workspace)
    assert "prefect.db.1 now" in line
    assert not path.exists()
    assert prefect_server.prepare_home(workspace) is None


@pytest.mark.slow
def test_a_home_that_can_be_used_stays_and_the_operators_own_is_never_moved(workspace, tmp_path, monkeypatch):
    known = sorted(prefect_server.known_revisions())
    assert len(known) > 100
    path = make_database(workspace.prefect_home, known[0])
    assert prefect_server.prepare_home(workspace) is None
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "operator"))
    path = make_database(tmp_path / "operator", "ffffffffffff")
    with pytest.raises(StoreError, match="of a newer Prefect: found schema ffffffffffff"):
        prefect_server.prepare_home(workspace)
    assert path.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (
            {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"},
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=false forbids it",
        ),
        ({"PREFECT_SERVER_EPHEMERAL_ENABLED": "0"}, "PREFECT_SERVER_EPHEMERAL_ENABLED=0 forbids it"),
        ({"PREFECT_PROFILE": "closed"}, "the active profile or a settings file forbids it"),
        ({"PREFECT_CLIENT_MAX_RETRIES": "many"}, "settings cannot be read"),
        ({"PREFECT_PROFILE": "broken"}, "settings cannot be read"),
    ],
)
def test_settings_that_allow_no_server_are_one_message(tmp_path, variables, message):
    (tmp_path / ".prefect").mkdir()
    text = (
        "[profiles"
        if variables == {"PREFECT_PROFILE": "broken"}
        else '[profiles.closed]\nPREFECT_LOGGING_LEVEL="INFO"'
    )
    (tmp_path / ".prefect" / "profiles.toml").write_text(text)
    script = (
        "from pipelines.prefect_server import check_settings\nfrom sacpipe.core.errors import ConfigError\n"
        "try:\n    check_settings()\nexcept ConfigError as exc:\n    print(exc)"
    )
    own = {"HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment() | own | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert message in result.stdout
    assert "`sacpipe run --engine local`" in result.stdout
    assert result.stderr == ""


def settings(timeout_s=20):
    ephemeral = SimpleNamespace(startup_timeout_seconds=timeout_s)
    return SimpleNamespace(
        server=SimpleNamespace(ephemeral=ephemeral), to_environment_variables=lambda **_: {"OWN": "yes"}
    )


def started(script, timeout_s=20):
    """A temporary server that runs a script; its arguments end with the port."""
    server = TemporaryServer(settings(timeout_s), [sys.executable, "-c", script])
    server.start()
    return server


def test_a_server_that_ended_at_its_start_is_not_waited_for():
    with pytest.raises(StoreUnavailableError, match="ended with code 1 at its start"):
        prefect_server.use_api(started("raise SystemExit(1)"))


def test_a_server_whose_port_was_taken_is_started_a_few_times_and_no_more(tmp_path):
    script = f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\nraise SystemExit(3)"
    with pytest.raises(RuntimeError, match="ended with code 3"):
        started(script).wait()
    assert (tmp_path / "starts").read_text() == "xxx"


def test_a_server_that_never_answers_is_waited_for_until_the_time_out():
    server = started("import time\ntime.sleep(60)", timeout_s=0.3)
    with pytest.raises(RuntimeError, match="did not answer within 0.3 s"):
        server.wait()
    server.stop()
    server.stop()


SERVER = """
import http.server, os, signal, sys
assert os.environ["OWN"] == "yes" and os.environ["PREFECT__SERVER_EPHEMERAL"] == "1"
blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" and blocked else 500)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[-1])), Handler).serve_forever()
"""


def test_a_server_that_answers_has_the_settings_and_no_ctrl_c(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = started(SERVER)
    server.wait()
    server.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(server.api_url.split(":")[2].partition("/")[0])))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.slow
def test_a_proxy_in_the_way_of_the_operators_server_is_named(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(StoreUnavailableError, match="proxy of HTTP_PROXY; NO_PROXY=prefect.example"):
        prefect_server._probe("http://prefect.example:4200/api")
