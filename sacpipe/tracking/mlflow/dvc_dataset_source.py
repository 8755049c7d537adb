"""A replay pool under DVC, as MLflow names the source of a dataset.

Floor 2. Registered by the entry point `mlflow.dataset_source`, so that MLflow can read back what this
project wrote.
"""

from pathlib import Path
from typing import Any, Self

from mlflow.data.dataset_source import DatasetSource  # noqa: TID251 - one of the two modules that may

from sacpipe.core.errors import StoreError


class DvcDatasetSource(DatasetSource):  # type: ignore[misc]
    """A file or folder that DVC tracks, at one digest."""

    def __init__(self, path: str, digest: str) -> None:
        self.path = path
        """Relative to the project's folder."""
        self.digest = digest
        """DVC's own, `<md5>.dir`, or the SHA-256 of a pool's manifest."""

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self) -> Path:
        """Return the path, relative to the project's folder.

        Raises:
            StoreError: it is not there.
        """
        path = Path(self.path)
        if not path.exists():
            raise StoreError(f"{path} is not here. Go to the project's folder and run `dvc pull {path}`.")
        return path

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ARG004 - MLflow's own name
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> Self:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` takes."""
        return {"path": self.path, "digest": self.digest}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """Build one from what MLflow stored."""
        return cls(path=source_dict["path"], digest=source_dict["digest"])
