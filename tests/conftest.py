"""What all tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sacpipe.stores.mlflow_store import MlflowStore


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An MLflow database with its tables and nothing in them, to copy: making one takes seconds."""
    kept = dict(os.environ)
    path = tmp_path_factory.mktemp("empty-ledger") / "empty.db"
    MlflowStore(f"sqlite:///{path}", path.parent).client.search_experiments()
    yield path
    os.environ.clear()
    os.environ.update(kept)  # MLflow writes its address there
