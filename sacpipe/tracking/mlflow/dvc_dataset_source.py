"""A replay pool that DVC tracks, as the source of an MLflow dataset.

The entry point `mlflow.dataset_source` registers the class, so that MLflow can read the sources that this
project wrote.
"""

from pathlib import Path
from typing import Any, Self

from mlflow.data.dataset_source import DatasetSource

from sacpipe.core.errors import StoreError


class DvcDatasetSource(DatasetSource):  # type: ignore[misc]
    """A file or folder that DVC tracks, at one digest."""

    def __init__(self, path: str, digest: str) -> None:
        self.path = path
        """Path relative to the project's folder."""
        self.digest = digest
        """DVC's digest, `<md5>.dir`, or the SHA-256 of a pool's manifest."""

    @staticmethod
    def _get_source_type() -> str:
        return "dvc"

    def load(self) -> Path:
        """Return the path, relative to the project's folder.

        Raises:
            StoreError: the path does not exist.
        """
        path = Path(self.path)
        if not path.exists():
            raise StoreError(f"{path} is missing. Go to the project's folder and run `dvc pull {path}`.")
        return path

    @staticmethod
    def _can_resolve(raw_source: Any) -> bool:  # noqa: ARG004 - MLflow passes it by name
        return False

    @classmethod
    def _resolve(cls, raw_source: Any) -> Self:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary that `from_dict` reads."""
        return {"path": self.path, "digest": self.digest}

    @classmethod
    def from_dict(cls, source_dict: dict[Any, Any]) -> Self:
        """Build a source from the dictionary that MLflow stored."""
        return cls(path=source_dict["path"], digest=source_dict["digest"])
