"""What the tests of the stores share: one empty ledger, made once, and small bundles made by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from factories import make_bundle, make_onnx, make_spec

from sacpipe.tracking.mlflow.connection import MlflowConnection

OBSERVATIONS = np.array([[0.5, 0.25, 0.0], [3.0, 1.0, 0.0], [0.0, 9.0, 2.0]], np.float32)


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[[float], Path]:
    """Make a bundle whose policy is action = clip(gain * x0, -2, 3) for three observations."""

    def make(gain: float) -> Path:
        model = make_onnx([[gain], [0], [0]], low=[-2], high=[3])
        actions = np.clip(np.float32(gain) * OBSERVATIONS[:, :1], np.float32(-2), np.float32(3))
        spec = make_spec(bounds=[(-2.0, 3.0)])
        return make_bundle(tmp_path / f"bundle-{gain}", model, spec, OBSERVATIONS, actions)

    return make


@pytest.fixture(scope="session")
def database(empty_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one database for all tests: opening one takes half a second."""
    return f"sqlite:///{shutil.copy(empty_ledger, tmp_path_factory.mktemp('ledger') / 'mlflow.db')}"


@pytest.fixture
def store(database: str, tmp_path: Path) -> MlflowConnection:
    """An empty experiment of one's own."""
    return MlflowConnection(database, tmp_path / "artifacts", experiment=str(tmp_path))
