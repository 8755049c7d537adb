# ruff: noqa: TID251 - this module and dvc_source.py are the two that may
"""MLflow itself: a connection, and what needs MLflow's own classes. Runs and versions are built on it.

Floor 2. MLflow is imported where it is used, for it takes 1.5 s; nothing is opened before the first
call. Its exceptions, its database's and its network's leave as errors of this project's tree.
"""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import sha256_bytes
from sacpipe.tracking.mlflow.errors import border, fail_fast, reach

BUNDLE_TAG = "sacpipe.bundle_digest"
POLICY_TAG = "sacpipe.policy_sha256"

DATASET_DIGEST_LENGTH = 36
"""Characters of a dataset's digest that MLflow holds: DVC's `<md5>.dir` fits."""

_BATCH = 1000
_PARAM_BATCH = 100


class MetricPoint(NamedTuple):
    """One value of one metric."""

    name: str
    value: float
    timestamp_ms: int
    step: int


class MlflowConnection:
    """One experiment at one address."""

    def __init__(self, tracking_uri: str, artifact_folder: Path, experiment: str = "sacpipe") -> None:
        """Keep where the ledger is.

        Args:
            tracking_uri: `sqlite:////absolute/path` or the address of a tracking server.
            artifact_folder: Where artifacts lie beside a database; a server has its own place.
            experiment: Name of the experiment, made where it is missing.
        """
        self.tracking_uri = tracking_uri
        self._artifact_folder = artifact_folder.absolute()
        self._experiment = experiment

    def check(self) -> None:
        """Ask whether MLflow answers and the experiment can be used.

        Raises:
            StoreUnavailableError: it does not answer.
            StoreError: it cannot be used.
        """
        with self.border():
            _ = self.experiment_id

    def border(self) -> AbstractContextManager[None]:
        """Return the frame around every use of `client`: what MLflow raises leaves as a StoreError."""
        return border(self.tracking_uri)

    @property
    def client(self) -> Any:
        """MLflow's client; its process-wide addresses are set as well, since its registry looks there."""
        import mlflow

        client = self._client
        mlflow.set_tracking_uri(self.tracking_uri)
        mlflow.set_registry_uri(self.tracking_uri)
        return client

    @cached_property
    def experiment_id(self) -> str:
        """The experiment, found or made; beside a database its artifacts have an absolute address."""
        location = self._artifact_folder.as_uri() if self._database else None
        found = self.client.get_experiment_by_name(self._experiment)
        if found is None:
            return str(self.client.create_experiment(self._experiment, artifact_location=location))
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        if location is not None and found.artifact_location != location:
            raise StoreError(
                f"the ledger's artifacts were at {found.artifact_location}, and belong at {location}: the "
                "folder was moved. Delete .sacpipe/mlflow.db and run `sacpipe ledger rebuild`."
            )
        return str(found.experiment_id)

    def batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[MetricPoint] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log many values in as few calls as MLflow's limits allow. To be used inside `border`."""
        from mlflow.entities import Metric, Param, RunTag

        for start in range(0, len(metrics), _BATCH):
            points = [Metric(*point) for point in metrics[start : start + _BATCH]]
            self.client.log_batch(run_id, metrics=points)
        pairs = [Param(name, value) for name, value in (params or {}).items()]
        for start in range(0, len(pairs), _PARAM_BATCH):
            self.client.log_batch(run_id, params=pairs[start : start + _PARAM_BATCH])
        if tags:
            self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def log_dataset(self, run_id: str, path: str, digest: str, context: str) -> None:
        """Log what DVC tracks at a path as an input of a run; the source holds the digest whole."""
        with self.border():
            from mlflow.data.meta_dataset import MetaDataset
            from mlflow.entities import DatasetInput, InputTag

            from sacpipe.tracking.mlflow.dvc_dataset_source import DvcDatasetSource

            shown = digest[:DATASET_DIGEST_LENGTH]
            dataset = MetaDataset(DvcDatasetSource(path, digest), name=path, digest=shown)
            tags = [InputTag("mlflow.data.context", context)]
            self.client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), tags)])  # noqa: SLF001

    def log_bundle(self, run_id: str, bundle_folder: Path) -> str:
        """Log a bundle as a model of a run: ONNX for MLflow's own tools, and the bundle whole beside it.

        Returns:
            The model's id.

        Raises:
            BundleError: the bundle is damaged.
            StoreError: what arrived differs from the bundle, or MLflow failed.
        """
        bundle = open_bundle(bundle_folder)
        with self.border(), tempfile.TemporaryDirectory() as name:
            from mlflow.entities import LoggedModelOutput, LoggedModelStatus

            folder = Path(name)
            spec = bundle.contract.spec
            model = self.client.create_logged_model(
                self.experiment_id,
                name="policy",
                source_run_id=run_id,
                model_type="policy",
                tags={BUNDLE_TAG: bundle.digest, POLICY_TAG: sha256_bytes(bundle.policy_onnx)},
            )
            _save_onnx(folder / "model", bundle, model, run_id)
            shutil.copytree(bundle_folder, folder / "model" / "bundle")
            self.client.log_model_artifacts(model.model_id, str(folder / "model"))
            arrived = self.download(f"models:/{model.model_id}", folder / "arrived")
            if (arrived / "model.onnx").read_bytes() != bundle.policy_onnx:
                raise StoreError(
                    f"model {model.model_id} of {spec.task}: its model.onnx is not the bundle's policy.onnx. "
                    "The artifact store changed it; check its disk and log it again."
                )
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)

    def download(self, uri: str, folder: Path) -> Path:
        """Copy the files of a `models:/` address into a folder and return that.

        Raises:
            StoreError: MLflow failed.
        """
        with self.border():
            from mlflow.artifacts import download_artifacts

            _ = self.client  # sets the address where `models:/` is looked up
            folder.mkdir(parents=True, exist_ok=True)
            return Path(download_artifacts(uri, dst_path=str(folder)))

    def predict(self, uri: str, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Load a `models:/` address as any MLflow user would, and run it. Shape (B, action_dim).

        Raises:
            StoreError: it cannot be loaded or run.
        """
        with self.border():
            from mlflow.pyfunc import load_model

            _ = self.client
            return np.asarray(load_model(uri).predict(observations)["action"], dtype=np.float32)

    @property
    def _database(self) -> Path | None:
        """The database's file, or None for a server."""
        prefix = "sqlite:///"
        return Path(self.tracking_uri.removeprefix(prefix)) if self.tracking_uri.startswith(prefix) else None

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        fail_fast()
        reach(self.tracking_uri)
        if self._database is not None:
            self._database.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)


def _save_onnx(folder: Path, bundle: Bundle, model: Any, run_id: str) -> None:
    """Write MLflow's own form of a bundle: explicit float32 tensors, one file, pinned requirements."""
    import mlflow.onnx
    import onnx
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    spec = bundle.contract.spec
    tensors = {"observation": spec.observation_dim, "action": spec.action_dim}
    schemas = [Schema([TensorSpec(np.dtype("float32"), (-1, size), name)]) for name, size in tensors.items()]
    mlflow.onnx.save_model(
        onnx.load_model_from_string(bundle.policy_onnx),
        str(folder),
        signature=ModelSignature(*schemas),
        save_as_external_data=False,
        pip_requirements=[f"{name}=={version(name)}" for name in ("numpy", "onnxruntime")],
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
        mlflow_model=Model(
            artifact_path=model.artifact_location,
            run_id=run_id,
            model_uuid=model.model_id,
            model_id=model.model_id,
            metadata={"bundle_digest": bundle.digest, "task": spec.task},
        ),
    )
    (folder / "model.onnx").write_bytes(bundle.policy_onnx)  # never what another serialiser makes of it
