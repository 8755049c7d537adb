"""Prefect in the operator's surroundings: one message, or one line, before anything is trained."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from repository import ROOT
from small_project import environment

from pipelines.prefect import settings
from pipelines.prefect.orchestrator import PrefectOrchestrator
from pipelines.prefect.temporary_server import TemporaryServer
from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.project.sqlite_address import sqlite_file
from sacpipe.project.workspace import Workspace

TEAM = 'active = "team"\n[profiles.team]\nPREFECT_API_URL = "http://127.0.0.1:9/api"\n'


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """The operator's own profiles, with a server in the active one."""
    path = tmp_path / "operator" / "profiles.toml"
    path.parent.mkdir()
    path.write_text(TEAM)
    monkeypatch.setattr(settings, "OPERATORS_PROFILES", path)
    return path


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A project whose tools have the variables that a run sets."""
    workspace = Workspace(tmp_path)
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    for name, value in settings.own_variables(workspace, {}).items():
        if name in ("PREFECT_HOME", "PREFECT_SERVER_DATABASE_CONNECTION_URL"):
            monkeypatch.setenv(name, value)
    return workspace


def test_a_server_of_the_operators_profile_is_not_passed_over_in_silence(workspace, profiles):
    line = settings.unused_server(workspace)
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
    assert settings.unused_server(workspace) is None


@pytest.mark.parametrize("variable", ["PREFECT_HOME", "PREFECT_PROFILES_PATH"])
def test_a_home_or_profiles_that_the_operator_chose_are_used(workspace, profiles, monkeypatch, variable):
    assert settings.unused_server(workspace) is not None
    monkeypatch.setenv(variable, str(profiles))
    assert settings.unused_server(workspace) is None


def test_prefect_is_embedded_and_silent_unless_variables_are_set(tmp_path):
    found = settings.own_variables(Workspace(tmp_path), {})
    assert found["PREFECT_HOME"] == f"{tmp_path}/.sacpipe/prefect"
    assert found["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert settings.own_variables(Workspace(tmp_path), found) == {}


def test_an_operator_who_chose_prefects_database_keeps_it(tmp_path):
    variable, workspace = "PREFECT_SERVER_DATABASE_CONNECTION_URL", Workspace(tmp_path / "a%20b")
    found = settings.own_variables(workspace, {})[variable]
    assert sqlite_file(found) == settings.own_home(workspace) / "prefect.db"
    for chosen in ("PREFECT_HOME", "PREFECT_API_DATABASE_CONNECTION_URL", "PREFECT_SERVER_DATABASE_NAME"):
        assert variable not in settings.own_variables(workspace, {chosen: "x"})
    assert (
        not {variable, "PREFECT_HOME"}
        & settings.own_variables(workspace, {"PREFECT_API_URL": "http://b"}).keys()
    )


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
    path = make_database(settings.own_home(workspace), "ffffffffffff")
    if is_truncated:
        path.write_bytes(path.read_bytes()[:5000])
    line = settings.prepare_home(workspace)
    assert "prefect.db.1 now" in line
    assert not path.exists()
    assert settings.prepare_home(workspace) is None


@pytest.mark.slow
def test_a_home_that_can_be_used_stays_and_the_operators_own_is_never_moved(workspace, tmp_path, monkeypatch):
    known = sorted(settings.known_revisions())
    assert len(known) > 100
    path = make_database(settings.own_home(workspace), known[0])
    assert settings.prepare_home(workspace) is None
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "operator"))
    path = make_database(tmp_path / "operator", "ffffffffffff")
    with pytest.raises(StoreError, match="of a newer Prefect: found schema ffffffffffff"):
        settings.prepare_home(workspace)
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
        "from pathlib import Path\nfrom pipelines.prefect.settings import server_address\n"
        "from sacpipe.core.errors import ConfigError\nfrom sacpipe.project.workspace import Workspace\n"
        "try:\n    server_address(Workspace(Path.cwd()))\nexcept ConfigError as exc:\n    print(exc)"
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


def server_settings(timeout_s=20):
    ephemeral = SimpleNamespace(startup_timeout_seconds=timeout_s)
    return SimpleNamespace(
        server=SimpleNamespace(ephemeral=ephemeral), to_environment_variables=lambda **_: {"OWN": "yes"}
    )


def started(script, timeout_s=20):
    """A temporary server that runs a script; its arguments end with the number of the listening socket."""
    return TemporaryServer(server_settings(timeout_s), [sys.executable, "-c", script])


def test_a_server_that_ended_at_its_start_is_not_waited_for(tmp_path):
    orchestrator = PrefectOrchestrator(Workspace(tmp_path))
    with pytest.raises(StoreUnavailableError, match="ended with code 1 at its start"):
        orchestrator._use(started("raise SystemExit(1)"))


@pytest.mark.slow
def test_a_server_that_never_answers_is_waited_for_until_the_time_out():
    slow = started("import time\ntime.sleep(60)", timeout_s=0.3)
    with pytest.raises(RuntimeError, match="did not answer within 0.3 s"):
        slow.wait()
    slow.stop()
    slow.stop()


def test_a_server_that_closes_the_connection_and_goes_on_is_an_error(monkeypatch):
    monkeypatch.setattr("pipelines.prefect.temporary_server._STOP_S", 0.1)
    closing = started(
        "import socket, sys, time\nsocket.socket(fileno=int(sys.argv[-1])).accept()[0].close()\ntime.sleep(60)"
    )
    with pytest.raises(RuntimeError, match="it closed the connection and goes on"):
        closing.wait()
    closing.stop()


SERVER = """
import http.server, os, signal, socket, sys
assert os.environ["OWN"] == "yes" and os.environ["PREFECT__SERVER_EPHEMERAL"] == "1"
assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
server.socket = socket.socket(fileno=int(sys.argv[-1]))
server.serve_forever()
"""


def test_a_server_that_answers_has_the_settings_and_no_ctrl_c(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    found = started(SERVER)
    found.wait()
    found.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(found.api_url.split(":")[2].partition("/")[0])))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.slow
def test_a_proxy_in_the_way_of_the_operators_server_is_named(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(StoreUnavailableError, match="proxy of HTTP_PROXY; NO_PROXY=prefect.example"):
        settings.probe("http://prefect.example:4200/api")


VERDICT = """
import sys
from pathlib import Path
from pipelines.prefect.orchestrator import PrefectOrchestrator
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.testing.orchestrators import example_summary

workspace, is_accepted = Workspace(Path.cwd()), sys.argv[1] == "accepted"
stages = "".join(f"  {stage}: {{cmd: 'false'}}\\n" for stage in STAGES)  # they have to run, and nothing runs them
workspace.dvc_yaml.write_text(f"stages:\\n{stages}")
orchestrator = PrefectOrchestrator(workspace)
orchestrator.start()
summary = orchestrator.run(lambda call: example_summary(workspace, is_accepted=is_accepted))
assert summary == example_summary(workspace, is_accepted=is_accepted)
"""


@pytest.mark.acceptance
@pytest.mark.parametrize(("word", "name"), [("accepted", "Completed"), ("refused", "Refused")])
def test_a_verdict_is_an_artifact_an_event_and_a_state_that_is_not_repeated(tmp_path, word, name):
    result = subprocess.run(
        [sys.executable, "-c", VERDICT, word],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    with closing(sqlite3.connect(tmp_path / ".sacpipe" / "prefect" / "prefect.db")) as database:
        runs = database.execute("select state_type, state_name, run_count from flow_run").fetchall()
        messages = database.execute("select message from flow_run_state where name = ?", (name,)).fetchall()
        texts = database.execute("select data from artifact where key = 'verdict'").fetchall()
        events = database.execute(
            "select event, resource_id, payload from events where event like 'sacpipe.%'"
        ).fetchall()
    assert runs == [("COMPLETED", name, 1)]
    assert messages == [(f"{word}: example",)]
    assert len(texts) == 1
    assert f"{word}\\n" in texts[0][0]
    assert "mean return -1 of 1 episode, floor -2" in texts[0][0]
    ((event, resource, payload),) = events
    assert (event, resource) == (f"sacpipe.gate.{word}", "sacpipe.model.example.version.1")
    assert json.loads(payload)["verdict"]["accepted"] is (word == "accepted")
