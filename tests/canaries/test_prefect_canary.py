"""Prefect's private parts, which pipelines/prefect/settings.py and pipelines/prefect/temporary_server.py use."""

import re

import pytest
from canary import canary

from pipelines.prefect import settings

pytestmark = pytest.mark.slow  # importing Prefect takes seconds


def test_migrations():
    with canary(
        "prefect.server.database._migrations",
        "pipelines/prefect/settings.py: known_revisions can ask Alembic for the revisions",
    ):
        revisions = settings.known_revisions()
        assert revisions, "expected files `versions/sqlite/*.py` with a line `revision = ...`"
        assert all(re.fullmatch(r"[0-9a-f]{12}", revision) for revision in revisions), (
            "expected 12 digits each"
        )


def test_create_app():
    import inspect

    with canary(
        "prefect.server.api.server:create_app",
        "pipelines/prefect/temporary_server.py: start the server as `prefect server start` does now",
    ):
        from prefect.cli import _server_utils

        assert '"prefect.server.api.server:create_app"' in inspect.getsource(_server_utils)
