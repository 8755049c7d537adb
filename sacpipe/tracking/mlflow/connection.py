"""A connection to MLflow, and the calls that need MLflow's own classes. Ledger and registry are built on it.

MLflow is imported in the functions that use it, because the import takes 1.5 s. Nothing is opened before
the first call. Every MLflow exception becomes a StoreError.
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
from sacpipe.project.sqlite_address import sqlite_file
from sacpipe.tracking.mlflow.database import check_database
from sacpipe.tracking.mlflow.errors import check_reachable, mlflow_errors, prepare_client
from sacpipe.tracking.mlflow.process_addresses import set_process_addresses
from sacpipe.tracking.registry import BUNDLE_TAG, POLICY_TAG
from sacpipe.version import __version__

_VERSION_TAG = "sacpipe.version"
"""Tag of the experiment: the version that opened it last. A check writes it, to see that it can."""

_DATASET_DIGEST_LENGTH = 36
"""Longest dataset digest that MLflow stores, in characters. DVC's `<md5>.dir` fits; the source has all."""

_BUNDLE_FOLDER = "bundle"
"""Folder of the bundle in the files of a logged model."""
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

    def __init__(
        self, tracking_uri: str, artifact_folder: Path, experiment: str = "sacpipe", *, lock_address: str = ""
    ) -> None:
        """Store the ledger's address. Nothing is opened.

        Args:
            tracking_uri: A database's address, see `sqlite_address`, or the address of a tracking server.
            artifact_folder: Folder of the artifacts of a database; a server has its own.
            experiment: Name of the experiment, created where it is missing.
            lock_address: Value of SACPIPE_RELEASE_LOCK, see `sacpipe.tracking.mlflow.release_lock`.
        """
        prepare_client()
        self.tracking_uri, self.lock_address = tracking_uri, lock_address
        self._artifact_folder = artifact_folder.absolute()
        self._experiment = experiment

    def check(self) -> None:
        """Check that MLflow answers, and that runs and artifacts can be written.

        Raises:
            StoreUnavailableError: MLflow does not answer, or another process has locked its database.
            StoreError: the experiment, the database or its version cannot be used, or writing is forbidden.
            StorageError: the folder of an embedded ledger cannot be written.
        """
        with self.mlflow_errors():
            if self._database is not None:
                check_database(self._database, self._artifact_folder)
            self.client.set_experiment_tag(self.experiment_id, _VERSION_TAG, __version__)

    def mlflow_errors(self) -> AbstractContextManager[None]:
        """Return the context for every use of `client`: MLflow's exceptions become StoreErrors."""
        return mlflow_errors(self.tracking_uri)

    @property
    def client(self) -> Any:
        """MLflow's client. Its process-wide addresses are set too, because its registry reads them."""
        client = self._client
        set_process_addresses(self.tracking_uri)
        return client

    @cached_property
    def experiment_id(self) -> str:
        """Id of the experiment, which is created where it is missing."""
        is_server = self.tracking_uri.startswith(("http://", "https://"))
        location = None if is_server else self._artifact_folder.as_uri()
        found = self.client.get_experiment_by_name(self._experiment)
        if found is None:
            return str(self.client.create_experiment(self._experiment, artifact_location=location))
        if found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        if location is not None and found.artifact_location != location:
            raise StoreError(
                f"the ledger's artifacts: expected at {location}, found at {found.artifact_location}. "
                f"{self._moved_advice(found.artifact_location)}"
            )
        return str(found.experiment_id)

    def _moved_advice(self, location: str) -> str:
        """Return what to do about a database whose artifacts are those of another folder."""
        is_own = self._database is not None and self._database.parent == self._artifact_folder.parent
        if is_own:  # that of the embedded ledger is in the same folder
            again = "moves the old ledger aside and writes it again."
            return f"The folder was moved. `sacpipe ledger rebuild` {again}"
        owner = location.removeprefix("file://").removesuffix("/.sacpipe/mlartifacts")
        return (
            f"The database in MLFLOW_TRACKING_URI belongs to another folder, {owner}: work there, or share a "
            "tracking server (docs/ledger.md)."
        )

    def batch(
        self,
        run_id: str,
        *,
        metrics: Sequence[MetricPoint] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log many values in as few calls as MLflow's limits allow. Call it inside `mlflow_errors`."""
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
        """Log a path that DVC tracks as an input of a run. The dataset's source has the complete digest."""
        with self.mlflow_errors():
            from mlflow.data.meta_dataset import MetaDataset
            from mlflow.entities import DatasetInput, InputTag

            from sacpipe.tracking.mlflow.dvc_dataset_source import DvcDatasetSource

            shown = digest[:_DATASET_DIGEST_LENGTH]
            dataset = MetaDataset(DvcDatasetSource(path, digest), name=path, digest=shown)
            tags = [InputTag("mlflow.data.context", context)]
            self.client.log_inputs(run_id, [DatasetInput(dataset._to_mlflow_entity(), tags)])  # noqa: SLF001

    def log_bundle(self, run_id: str, bundle_folder: Path) -> str:
        """Log a bundle as a model of a run: an ONNX model for MLflow's own tools, and the complete bundle.

        Returns:
            The model's id.

        Raises:
            BundleError: the bundle is damaged.
            StoreError: the stored model differs from the bundle, or MLflow failed.
        """
        bundle = open_bundle(bundle_folder, follow_cache_links=True)
        with self.mlflow_errors(), tempfile.TemporaryDirectory() as name:
            from mlflow.entities import LoggedModelOutput, LoggedModelStatus

            folder = Path(name)
            model = self.client.create_logged_model(
                self.experiment_id,
                name="policy",
                source_run_id=run_id,
                model_type="policy",
                tags={BUNDLE_TAG: bundle.digest, POLICY_TAG: sha256_bytes(bundle.policy_onnx)},
            )
            self._upload(folder, bundle, bundle_folder, model, run_id)
            self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
            self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return str(model.model_id)

    def restore_bundle(self, model_id: str, run_id: str, bundle_folder: Path) -> None:
        """Write the files of a logged bundle again, and remove what is no file of it.

        Raises:
            BundleError: the bundle is damaged.
            StoreError: the stored files differ afterwards, or MLflow failed.
        """
        bundle = open_bundle(bundle_folder, follow_cache_links=True)
        with self.mlflow_errors(), tempfile.TemporaryDirectory() as name:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            folder = Path(name)
            model = self.client.get_logged_model(model_id)
            artifacts = get_artifact_repository(model.artifact_location)
            names = {path.name for path in bundle_folder.iterdir()}
            for item in artifacts.list_artifacts(_BUNDLE_FOLDER):
                if Path(item.path).name not in names:
                    artifacts.delete_artifacts(item.path)
            self._upload(folder, bundle, bundle_folder, model, run_id)

    def _upload(self, folder: Path, bundle: Bundle, bundle_folder: Path, model: Any, run_id: str) -> None:
        """Write the files of a logged model, and compare what is stored. Call it inside `mlflow_errors`."""
        _save_onnx(folder / "model", bundle, model, run_id)
        shutil.copytree(bundle_folder, folder / "model" / _BUNDLE_FOLDER)
        self.client.log_model_artifacts(model.model_id, str(folder / "model"))
        stored = self.download(f"models:/{model.model_id}", folder / "stored")
        is_same = (stored / "model.onnx").read_bytes() == bundle.policy_onnx
        if not is_same or open_bundle(stored / _BUNDLE_FOLDER).digest != bundle.digest:
            raise StoreError(
                f"model {model.model_id} of {bundle.contract.spec.task}: what is stored differs from the "
                "bundle. Check the disk of the artifact store, then run the command again."
            )

    def download(self, uri: str, folder: Path) -> Path:
        """Copy the files of a `models:/` address into a folder and return the path of the copy.

        Raises:
            StoreError: MLflow failed.
        """
        with self.mlflow_errors():
            from mlflow.artifacts import download_artifacts

            _ = self.client  # sets the address at which MLflow resolves `models:/`
            folder.mkdir(parents=True, exist_ok=True)
            return Path(download_artifacts(uri, dst_path=str(folder)))

    def predict(self, uri: str, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Load a `models:/` address by MLflow's own loader, and run it. Shape (B, action_dim).

        Args:
            uri: Address of the model.
            inputs: Array of each input of policy.onnx, by name. Shapes (B, *shape of the input).

        Raises:
            StoreError: the model cannot be loaded or run.
        """
        with self.mlflow_errors(), tempfile.TemporaryDirectory() as name:
            from mlflow.pyfunc import load_model

            # From a copy, because MLflow would unquote the artifact folder's path, which may hold a `%20`.
            copy = self.download(uri, Path(name))
            return np.asarray(load_model(str(copy)).predict(dict(inputs))["action"], dtype=np.float32)

    @property
    def _database(self) -> Path | None:
        """The database's file, or None for a server."""
        return sqlite_file(self.tracking_uri)

    @cached_property
    def _client(self) -> Any:
        from mlflow import MlflowClient

        check_reachable(self.tracking_uri)
        if self._database is not None:
            self._database.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(self.tracking_uri, registry_uri=self.tracking_uri)


def _save_onnx(folder: Path, bundle: Bundle, model: Any, run_id: str) -> None:
    """Write a bundle as an MLflow model: a named tensor for each input, one file, pinned requirements."""
    import mlflow.onnx
    import onnx
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    spec, onnx_terms = bundle.contract.spec, bundle.contract.onnx
    inputs = [TensorSpec(np.dtype(term.dtype), (-1, *term.shape), term.name) for term in onnx_terms.inputs]
    if onnx_terms.noise is not None:
        inputs.append(TensorSpec(np.dtype("float32"), (-1, onnx_terms.noise.dim), onnx_terms.noise.name))
    outputs = [TensorSpec(np.dtype("float32"), (-1, spec.action_dim), "action")]
    mlflow.onnx.save_model(
        onnx.load_model_from_string(bundle.policy_onnx),
        str(folder),
        signature=ModelSignature(Schema(inputs), Schema(outputs)),
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
    (folder / "model.onnx").write_bytes(
        bundle.policy_onnx
    )  # the bundle's own bytes, not those of another serialiser
