"""Passwords of addresses are hidden, and PostgreSQL's driver is named."""

import re
import subprocess
import sys

import pytest

from sacpipe.core.errors import ConfigError, StoreError
from sacpipe.tracking.mlflow.address import check_driver, hide_password
from sacpipe.tracking.mlflow.config import MlflowTracking
from sacpipe.tracking.mlflow.errors import mlflow_errors
from sacpipe.tracking.mlflow.release_lock import exclude, lock_key

ADDRESSES = {
    "postgresql+psycopg2://ann:s3cr%40t@host:5432/mlflow": "postgresql+psycopg2://ann:***@host:5432/mlflow",
    "postgresql+psycopg2://ann:s3cr/t@host/mlflow": "postgresql+psycopg2://ann:***@host/mlflow",
    "postgresql+psycopg2://ann@host/a?password=s3cr&x=1": "postgresql+psycopg2://ann@host/a?password=***&x=1",
    "postgresql+psycopg2://:s3cr@host/a": "postgresql+psycopg2://:***@host/a",
    "http://ann:s3cr@host:5000": "http://ann:***@host:5000",
    "sqlite:////home/a:b/c@d.db": "sqlite:////home/a:b/c@d.db",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_a_password_is_hidden_in_an_address_and_in_what_others_say(address):
    assert hide_password(address) == ADDRESSES[address]
    said = hide_password(address, f"cannot open {address}, password s3cr%40t or s3cr@t")
    assert ADDRESSES[address] in said
    if address.endswith("5432/mlflow"):
        assert "s3cr" not in said


def test_no_error_of_mlflow_shows_the_password():
    address = "postgresql+psycopg2://ann:s3cr%40t@host/mlflow"
    for error in (ConnectionRefusedError(f"no {address}"), PermissionError(13, f"s3cr@t of {address}")):
        with pytest.raises(StoreError) as caught, mlflow_errors(address):
            raise error
        assert "s3cr" not in str(caught.value)
        assert "postgresql+psycopg2://ann:***@host/mlflow" in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_an_address_without_psycopg2_is_refused_with_the_form_to_write(scheme):
    address = f"{scheme}://ann:s3cr@host/mlflow"
    expected = (
        rf"MLFLOW_TRACKING_URI: expected postgresql\+psycopg2://USER.* begins with {re.escape(scheme)}://\. "
    )
    with pytest.raises(ConfigError, match=expected) as caught:
        MlflowTracking(name="mlflow").open_tracker(None, {"MLFLOW_TRACKING_URI": address})
    assert "s3cr" not in str(caught.value)
    with pytest.raises(ConfigError, match="SACPIPE_RELEASE_LOCK: expected"):
        exclude("Push", "http://host:5000", address)
    check_driver("postgresql+psycopg2://ann:s3cr@host/mlflow", "X")
    check_driver("sqlite:////a.db", "X")


def test_a_missing_psycopg2_is_reported_by_the_name_of_the_extra(monkeypatch):
    address = "postgresql+psycopg2://ann:s3cr@host/mlflow"
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    for variable, use in (
        (
            "MLFLOW_TRACKING_URI",
            lambda: MlflowTracking(name="mlflow").open_tracker(None, {"MLFLOW_TRACKING_URI": address}),
        ),
        ("SACPIPE_RELEASE_LOCK", lambda: exclude("Push", "http://host:5000", address)),
    ):
        with pytest.raises(
            ConfigError, match=rf"{variable}: expected psycopg2.*'sacpipe\[postgresql\]'"
        ) as caught:
            use()
        assert "s3cr" not in str(caught.value)


@pytest.mark.slow
def test_psycopg2_is_not_imported_before_an_address_needs_it():
    script = (
        "import sys; from sacpipe.tracking.mlflow.config import MlflowTracking\n"
        "from sacpipe.tracking.mlflow.release_lock import exclude\n"
        "with exclude('Push', 'http://host:5000', ''): pass\n"
        "MlflowTracking(name='mlflow').open_tracker(None, {'MLFLOW_TRACKING_URI': 'http://127.0.0.1:9'})\n"
        "sys.exit('psycopg2' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_server_without_a_database_of_ones_own_excludes_no_promoter():
    with exclude("Push", "http://host:5000", "") as excludes:
        assert excludes is False
    with pytest.raises(ConfigError, match=r"SACPIPE_RELEASE_LOCK: expected .* found another address"):
        exclude("Push", "http://host:5000", "sqlite:////a.db")


def test_the_key_of_an_advisory_lock_is_the_same_on_every_machine():
    # printf 'sacpipe release Push' | sha256sum | head -c 16
    assert lock_key("Push") == 1001480818160600614
    assert len({lock_key(name) for name in ("Push", "push", "Push ", "\u00fc")}) == 4
    assert all(-(2**63) <= lock_key(str(number)) < 2**63 for number in range(100))
