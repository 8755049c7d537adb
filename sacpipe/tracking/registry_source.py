"""The source of a served policy: a path, or an address in MLflow's registry.

A tracking server is read over HTTP, as on a robot. The workspace's own ledger is a database, which only
MLflow's client can read.
"""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sacpipe.project.tracked_output import is_own_output
from sacpipe.project.workspace import Workspace
from sacpipe.rollout.mlflow_source import SCHEME, Address, MlflowSource, parse_address
from sacpipe.rollout.sources import PathSource, ResolvedBundle, Source, read_source

if TYPE_CHECKING:
    from sacpipe.tracking.mlflow.registry import MlflowRegistry


class RegistrySource:
    """An alias or a version of a registered policy in a workspace's own ledger."""

    def __init__(self, registry: "MlflowRegistry", address: Address) -> None:
        self._registry, self._address = registry, address

    def resolve(self) -> ResolvedBundle:
        """Return the bundle of the version that the address names now.

        Raises:
            StoreError: there is no such version, or MLflow failed.
        """
        record = self._registry.version(self._address.name, self._address.which)
        text = f"{self._address} version {record.version}"
        return ResolvedBundle(record.bundle_digest, text, lambda: self._read(record.version))

    def _read(self, version: int) -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "bundle"
            self._registry.fetch_bundle(self._address.name, version, folder)
            return read_source(folder, allow_hard_links=False)


def open_source(text: str) -> Source:
    """Open `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a bundle's folder or its tar file.

    Raises:
        ConfigError: the address is malformed, or there is no workspace whose registry could resolve it.
    """
    if not text.startswith(SCHEME):
        path = Path(text)  # DVC's caches make hard links
        return PathSource(path, allow_hard_links=True, follow_cache_links=is_own_output(path))
    address = parse_address(text)
    if os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
        return MlflowSource(address)
    from sacpipe.tracking.ledger import open_ledger

    return RegistrySource(open_ledger(Workspace.with_tools()).registry, address)
