"""What all tests share."""

import os

# Before any library reads them, and for every process the tests start: on a machine with few cores,
# threads that wait for each other by spinning cost minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import contextlib
import gc
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from memory import memory

# dm_control imports it. Its handler keeps the stderr of its import, and closes it when logging is configured
# anew under another stderr, as MLflow and Prefect do: pytest's own file, without which every later test fails.
with contextlib.redirect_stderr(sys.__stderr__):
    import absl.logging

    absl.logging.get_absl_handler()

from sacpipe.tracking.mlflow.connection import MlflowConnection

pytest_plugins = [
    "project_fixtures",
    "robot_fixtures",
    "pool_fixtures",
    "follow_fixtures",
    "ledger_fixtures",
    "mlflow_on_postgresql",
]

SLOW_FIXTURES = {
    "finished",
    "empty_ledger",
    "trained",
    "generations",
    "committed_toy",
    "exported",
    "pixel_export",
    "scaled_onnx",
}
"""Each takes seconds: a run of the pipeline, an MLflow database, a run of DVC, torch's ONNX exporter."""

# Until the tests are collected: nothing of what that makes is garbage, and looking for some takes each worker
# seconds.
gc.disable()

# A shell's background job ignores Ctrl-C, and hands that down to every process it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark a test as slow if one of its fixtures is slow."""
    for item in items:
        if not SLOW_FIXTURES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Leave the half million objects of modules and tests out of every later search for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture
def frozen_modules() -> Iterator[None]:
    """Freeze again what a control loop unfreezes at its end; the next one would search all of it for garbage."""
    gc.freeze()
    yield
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_environment() -> Iterator[None]:
    """MLflow writes its address into the environment; the next test must not inherit it."""
    kept = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(kept)


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables and nothing in them, to copy: making one takes seconds."""
    kept = dict(os.environ)
    path = tmp_path_factory.mktemp("empty-ledger") / "empty.db"
    MlflowConnection(f"sqlite:///{path}", path.parent).client.search_experiments()
    os.environ.clear()
    os.environ.update(kept)
    return path


@pytest.fixture
def memory_folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in memory where the machine has one: hundreds of syncs to a disk take half a minute."""
    if (shared_memory := memory()) is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared_memory) as folder:
        yield Path(folder)
