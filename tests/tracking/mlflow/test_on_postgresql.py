"""MLflow on PostgreSQL: a server with basic auth, a database without a server, and the advisory lock of a release."""

import os
import secrets
import subprocess
import sys

import pytest
from repository import ROOT

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import BusyError, GateError, StoreError, StoreUnavailableError
from sacpipe.rollout.registries import parse_address
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.testing.trackers import check_registry, check_tracker
from sacpipe.tracking.mlflow.config import MlflowTracking
from sacpipe.tracking.mlflow.release_lock import exclude
from sacpipe.tracking.mlflow.rest_source import MlflowSource
from sacpipe.tracking.registry import BARRED_TAG

pytestmark = pytest.mark.acceptance
CHECKS = [check_tracker, check_registry]
HOLD = """
import os, sys
from sacpipe.tracking.mlflow.release_lock import exclude
with exclude("Push", os.environ["MLFLOW_TRACKING_URI"], "") as excludes:
    print(excludes, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def tracker(accounts_server, monkeypatch, tmp_path):
    """Open the tracker with an account of the server."""

    def opened(account, **more):
        variables = accounts_server.variables(account) | more
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return MlflowTracking(name="mlflow").open_tracker(tmp_path, variables)

    return opened


@pytest.fixture(scope="module")
def template(accounts_server):
    """A database with MLflow's tables, made in another process: a copy needs that none is connected to it."""
    script = (
        "import os; from mlflow import MlflowClient; MlflowClient(os.environ['DIRECT']).search_experiments()"
    )
    variables = {"DIRECT": accounts_server.cluster.address("direct")}
    subprocess.run(
        [sys.executable, "-c", script], env=os.environ | variables, check=True, capture_output=True
    )
    return "direct"


@pytest.fixture
def direct(accounts_server, template, monkeypatch):
    """Address of a database of one's own that no server uses."""
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    name = f"direct_{secrets.token_hex(4)}"
    accounts_server.cluster.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER mlflow;")
    return accounts_server.cluster.address(name)


@pytest.fixture
def pushed(tracker, tmp_path):
    """A version of a policy of the trainer, whose name is returned."""
    registry, name = tracker("trainer").registry, f"Push-{tmp_path.name}"
    registry.register(name, *_logged(tracker("trainer"), tmp_path / "bundle", 0.5), {})
    registry.set_alias(name, "champion", 1)
    return name


@pytest.fixture
def another(tracker, tmp_path):
    """Model id, run id and digest of a bundle of the trainer that is no version yet."""
    return _logged(tracker("trainer"), tmp_path / "another", 0.25)


def _logged(ledger, folder, gain):
    run_id = ledger.ensure_run(os.urandom(32).hex(), "export", {}, {})
    bundle = example_bundle(folder, gain)
    return ledger.log_model(run_id, bundle), run_id, bundle_digest(bundle)


@pytest.mark.parametrize("check", CHECKS)
def test_a_server_with_accounts_keeps_the_contract(accounts_server, tracker, check):
    tracker("trainer")  # MLflow's client reads the account from the environment
    check(MlflowTracking(name="mlflow"), accounts_server.variables("trainer"))


@pytest.mark.parametrize("check", CHECKS)
def test_a_database_without_a_server_keeps_the_contract(direct, check):
    check(MlflowTracking(name="mlflow"), {"MLFLOW_TRACKING_URI": direct})


def test_a_foreign_host_and_a_foreign_account_are_refused(accounts_server):
    search = "/api/2.0/mlflow/registered-models/search"
    assert accounts_server.ask(search, "robot").status == 200
    foreign = accounts_server.ask(search, "robot", Host="mlflow.example.org:5000")
    assert (foreign.status, "Invalid Host header" in foreign.text) == (403, True)
    assert accounts_server.ask(search).status == 401
    right, accounts_server.passwords["robot"] = accounts_server.passwords["robot"], "wrong"
    try:
        assert accounts_server.ask(search, "robot").status == 401
    finally:
        accounts_server.passwords["robot"] = right


@pytest.mark.parametrize("password", ["wrong", ""])
def test_a_client_without_the_password_is_reported_which_variables_to_set(tracker, password):
    registry = tracker("robot", MLFLOW_TRACKING_PASSWORD=password).registry
    with pytest.raises(StoreError, match="401.* Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        registry.versions("Push")


def test_a_robot_reads_a_policy_and_moves_nothing(accounts_server, tracker, pushed, another):
    variables = accounts_server.variables("robot")
    resolved = MlflowSource(parse_address(f"models:/{pushed}@champion"), variables).resolve()
    assert resolved.pull()
    registry = tracker("robot").registry
    for change in (
        lambda: registry.register(pushed, *another, {}),
        lambda: registry.set_alias(pushed, "champion", 1),
        lambda: registry.delete_alias(pushed, "champion"),
        lambda: registry.set_version_tags(pushed, 1, {"a": "b"}),
        lambda: registry.set_model_tags(pushed, {"a": "b"}),
        lambda: registry.set_description(pushed, 1, "a"),
        lambda: registry.delete_version(pushed, 1),
    ):
        with pytest.raises(StoreError) as caught:
            change()
        assert not caught.value.retryable
        assert variables["MLFLOW_TRACKING_PASSWORD"] not in str(caught.value)
    with pytest.raises(
        StoreError, match="403.* account in MLFLOW_TRACKING_USERNAME may not do this: use one"
    ):
        registry.set_alias(pushed, "champion", 1)
    assert tracker("robot").registry.version(pushed, "champion").version == 1


def test_edit_registers_and_moves_the_alias_and_bars_and_deletes_nothing(
    accounts_server, tracker, pushed, another
):
    registry = tracker("promoter").registry
    for change in (
        lambda: registry.set_alias(pushed, "candidate", 1),
        lambda: registry.register(pushed, *another, {}),
    ):
        with pytest.raises(StoreError, match="403"):
            change()
    accounts_server.permit(pushed, "promoter", "EDIT")
    registry.set_alias(pushed, "candidate", 1)
    assert registry.register(pushed, *another, {}).version == 2
    for change in (
        lambda: registry.delete_alias(pushed, "champion"),  # as after a first promotion that failed
        lambda: registry.delete_version(pushed, 2),
    ):
        with pytest.raises(StoreError, match="403"):
            change()
    registry.set_version_tags(pushed, 1, {BARRED_TAG: "since now by Ann: it shook"})
    with pytest.raises(GateError, match="rule 'store'.* is barred since now by Ann: it shook"):
        MlflowSource(
            parse_address(f"models:/{pushed}@candidate"), accounts_server.variables("robot")
        ).resolve()
    digest = registry.version(pushed, 1).bundle_digest
    source = MlflowSource(parse_address(f"models:/{pushed}@champion"), accounts_server.variables("robot"))
    assert source.bars({digest: ""}) == {digest: "since now by Ann: it shook"}  # with READ alone


def test_who_made_the_name_may_move_and_delete(tracker, pushed, another):
    """MLflow gives MANAGE to the account that registered a policy first."""
    registry = tracker("trainer").registry
    registry.register(pushed, *another, {})
    registry.set_alias(pushed, "champion", 2)
    registry.delete_version(pushed, 1)
    registry.delete_alias(pushed, "champion")
    assert [version.version for version in registry.versions(pushed)] == [2]


def test_the_advisory_lock_excludes_another_process_and_ends_with_it(accounts_server, direct):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env=os.environ | {"MLFLOW_TRACKING_URI": direct, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "True\n"
        for uri, lock in ((direct, ""), (accounts_server.uri, direct)):
            with pytest.raises(BusyError) as caught, exclude("Push", uri, lock):
                pass
            assert f"process {process.pid} on " in str(caught.value)
            assert "user mlflow. Wait until it ends" in str(caught.value)
            assert accounts_server.cluster.password not in str(caught.value)
            assert direct.split(":")[2].partition("@")[0] not in str(caught.value)
        with exclude("Push2", direct, "") as excludes:
            assert excludes
    finally:
        process.kill()
        process.communicate()
    # The server of the database notices the end of a process by its closed connection, at once.
    for _ in range(1000):
        if not accounts_server.cluster.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory';"):
            break
    with exclude("Push", accounts_server.uri, direct) as excludes:
        assert excludes


def test_a_lock_whose_database_refuses_or_is_away_says_so_without_the_password(accounts_server):
    password = f"wrong/{secrets.token_hex(8)}"
    wrong = accounts_server.cluster.address("direct", password)
    with (
        pytest.raises(StoreError, match="cannot be taken: .*password authentication failed") as caught,
        exclude("Push", "", wrong),
    ):
        pass
    assert password.partition("/")[2] not in str(caught.value)
    away = wrong.replace(str(accounts_server.cluster.port), "9")
    with (
        pytest.raises(StoreUnavailableError, match="cannot be taken: .*refused") as caught,
        exclude("Push", "", away),
    ):
        pass
    assert password.partition("/")[2] not in str(caught.value)


def test_a_database_of_another_schema_or_without_writes_is_reported(accounts_server, direct, tmp_path):
    registry = MlflowTracking(name="mlflow").open_tracker(tmp_path, {"MLFLOW_TRACKING_URI": direct}).registry
    registry.set_model_tags("Push", {"a": "b"})
    name = direct.rpartition("/")[2]
    shown = f"postgresql+psycopg2://mlflow:***@127.0.0.1:{accounts_server.cluster.port}/{name}"
    accounts_server.cluster.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on;")
    # A session keeps the setting that it began with.
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    accounts_server.cluster.execute(f"{end} AND pid != pg_backend_pid();", name)
    try:
        with pytest.raises(StoreError) as caught:
            registry.set_model_tags("Push", {"a": "c"})
        assert str(caught.value).startswith(f"{shown} allows this account no writing")
    finally:
        accounts_server.cluster.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only;")
    accounts_server.cluster.execute("UPDATE alembic_version SET version_num = 'ffffffffffff';", name)
    script = (
        "import os, sys; from pathlib import Path; from sacpipe.tracking.mlflow.check import check_in_child;"
        "check_in_child(os.environ['MLFLOW_TRACKING_URI'], Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env=os.environ | {"MLFLOW_TRACKING_URI": direct, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{shown} is of another MLflow version: expected schema " in done.stderr
    assert accounts_server.cluster.password not in done.stderr
