"""Prefect's private parts, which pipelines/prefect_server.py and pipelines/temporary_server.py use."""

import re

import pytest
from canary import canary

from pipelines import prefect_server

pytestmark = pytest.mark.slow  # importing Prefect takes seconds


def test_migrations():
    with canary(
        "prefect.server.database._migrations",
        "pipelines/prefect_server.py: known_revisions can ask Alembic for the revisions",
    ):
        revisions = prefect_server.known_revisions()
        assert revisions, "expected files `versions/sqlite/*.py` with a line `revision = ...`"
        assert all(re.fullmatch(r"[0-9a-f]{12}", revision) for revision in revisions), (
            "expected 12 digits each"
        )


def test_create_app():
    import inspect

    with canary(
        "prefect.server.api.server:create_app",
        "pipelines/temporary_server.py: start the server as `prefect server start` does now",
    ):
        from prefect.cli import _server_utils

        assert '"prefect.server.api.server:create_app"' in inspect.getsource(_server_utils)
