"""MLflow's private parts, which sacpipe/tracking/mlflow/ uses."""

from pathlib import Path

import pytest
from canary import canary

pytestmark = pytest.mark.slow  # importing MLflow takes seconds


def test_to_mlflow_entity():
    from mlflow.data.meta_dataset import MetaDataset

    from sacpipe.tracking.mlflow.dvc_dataset_source import DvcDatasetSource

    with canary(
        "mlflow MetaDataset._to_mlflow_entity",
        "sacpipe/tracking/mlflow/connection.py: make an mlflow.entities.Dataset of the same fields",
    ):
        dataset = MetaDataset(DvcDatasetSource("out/pool", "ab" * 16), name="out/pool", digest="ab" * 16)
        found = dataset._to_mlflow_entity()
        assert (found.name, found.digest, found.source_type) == ("out/pool", "ab" * 16, "dvc")


def test_get_latest_schema_revision():
    import mlflow

    with canary(
        "mlflow.store.db.utils._get_latest_schema_revision",
        "sacpipe/tracking/mlflow/database.py: find the newest file of mlflow/store/db_migrations/versions",
    ):
        from mlflow.store.db.utils import _get_latest_schema_revision

        versions = Path(mlflow.__file__).parent / "store" / "db_migrations" / "versions"
        assert list(versions.glob(f"{_get_latest_schema_revision()}_*.py")), (
            "expected a migration of this name"
        )
