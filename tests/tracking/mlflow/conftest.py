"""What the tests of the stores share: one empty ledger, made once, and small bundles made by hand."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from factories import make_bundle, make_onnx, make_spec
from repository import ROOT

from sacpipe.bundle.files import bundle_digest
from sacpipe.rollout.registries import parse_address
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger
from sacpipe.tracking.mlflow.rest_source import MlflowSource

SCRIPT = ROOT / "tests" / "mlflow_server.py"
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


class Registry:
    """A tracking server with both bundles registered as versions 1 and 2 of `Reach`."""

    def __init__(self, process, folder, bundles):
        self.process, self.artifacts = process, folder / "artifacts"
        self.uri = f"http://127.0.0.1:{int(process.stdout.readline())}"
        ledger = MlflowLedger(MlflowConnection(self.uri, folder))
        run_id = ledger.ensure_run("ab" * 32, "export", {}, {})
        self.registry, self.digests = ledger.registry, [bundle_digest(bundle) for bundle in bundles]
        for bundle, digest in zip(bundles, self.digests, strict=True):
            model_id = ledger.log_model(run_id, bundle)
            self.registry.register("Reach", model_id, run_id, digest, {})

    def source(self, address, **variables):
        return MlflowSource(parse_address(address), {"MLFLOW_TRACKING_URI": self.uri} | variables)

    def stored(self, digest):
        """Where the server keeps a bundle."""
        folders = [path for path in self.artifacts.rglob("bundle") if path.is_dir()]
        return next(folder for folder in folders if bundle_digest(folder) == digest)


@pytest.fixture(scope="module")
def registry(tmp_path_factory, empty_ledger, bundles):
    folder = tmp_path_factory.mktemp("tracking")
    shutil.copy(empty_ledger, folder / "mlflow.db")
    kept = dict(os.environ)
    process = subprocess.Popen(
        [sys.executable, SCRIPT, f"sqlite:///{folder / 'mlflow.db'}", folder / "artifacts"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
    )
    try:
        yield Registry(process, folder, bundles)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.environ.clear()
        os.environ.update(kept)
