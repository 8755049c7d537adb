"""Versions and aliases in MLflow's model registry."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sacpipe.bundle.reader import Bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import sha256_file
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.registry import BUNDLE_TAG, Registry, VersionRecord

_PAGE = 200


class MlflowRegistry(Registry):
    """The registered policies of one MLflow connection."""

    def __init__(self, store: MlflowConnection) -> None:
        self._store = store

    def register(
        self, name: str, model_id: str, run_id: str, bundle_digest: str, tags: Mapping[str, str]
    ) -> VersionRecord:
        """Return the version of a bundle, which is created where there is none."""
        for found in self.versions(name):
            if found.bundle_digest == bundle_digest:
                return found
        with self._store.mlflow_errors():
            client = self._store.client
            if self._registered(name) is None:
                client.create_registered_model(name)
            made = client.create_model_version(
                name,
                source=f"models:/{model_id}",
                run_id=run_id,
                tags={BUNDLE_TAG: bundle_digest, **tags},
                model_id=model_id,
            )
        return self.version(name, int(made.version))

    def versions(self, name: str) -> list[VersionRecord]:
        """Return every version of a policy, oldest first; none where the name is unknown."""
        with self._store.mlflow_errors():
            model = self._registered(name)
            if model is None:
                return []
            found: list[Any] = []
            token = None
            while token or not found:
                page = self._store.client.search_model_versions(
                    f"name = '{name}'", max_results=_PAGE, page_token=token
                )
                found.extend(page)
                token = page.token
                if not page:
                    break
        aliases = _by_version(model.aliases)
        return sorted((_version(item, aliases) for item in found), key=lambda record: record.version)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version, and check it by reading it."""
        with self._store.mlflow_errors():
            self._store.client.set_registered_model_alias(name, alias, str(version))
        found = self.alias(name, alias)
        if found is None or found.version != version:
            raise StoreError(
                f"alias '{alias}' of policy '{name}': expected version {version} after setting it, found "
                f"{found and found.version}. Another client moved it; run the command again after "
                "that client has finished."
            )

    def delete_alias(self, name: str, alias: str) -> None:
        """Delete an alias."""
        with self._store.mlflow_errors():
            self._store.client.delete_registered_model_alias(name, alias)

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version."""
        with self._store.mlflow_errors():
            for key, value in tags.items():
                self._store.client.set_model_version_tag(name, str(version), key, value)

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        """Copy a version's files; return its bundle's folder and the SHA-256 of MLflow's `model.onnx`."""
        fetched = self._store.download(f"models:/{record.model_id}", folder)
        if not (fetched / "model.onnx").is_file():
            raise StoreError(
                f"model {record.model_id}: its model.onnx is missing. `sacpipe ledger rebuild` logs it again."
            )
        return fetched / "bundle", sha256_file(fetched / "model.onnx")

    def smoke_load(self, name: str, alias: str, bundle: Bundle) -> float:
        """Load an alias by MLflow's own loader, and run it on the bundle's golden observations."""
        uri = f"models:/{name}@{alias}"
        golden = bundle.golden
        noise = {} if golden.noise is None else {"noise": golden.noise}
        actions = self._store.predict(uri, {**golden.observations, **noise})
        spec, tolerance = bundle.contract.spec, bundle.contract.golden.tolerance
        if actions.shape != bundle.golden.actions.shape:
            raise StoreError(
                f"{uri}: expected actions of shape {bundle.golden.actions.shape}, found {actions.shape}. "
                "The alias names another policy; check it."
            )
        shares = np.abs(actions - bundle.golden.actions) / (spec.action_high - spec.action_low)
        error = float(shares.max())
        if not error <= tolerance:
            raise StoreError(
                f"{uri}: expected the golden actions, within {tolerance} of their range, found "
                f"{error} off. This runtime computes other values; export the policy again on this machine."
            )
        return error

    def _registered(self, name: str) -> Any:
        """Return the registered model, or None. It searches, because a look-up of an unknown name fails."""
        found = self._store.client.search_registered_models(f"name = '{name}'", max_results=1)
        return found[0] if found else None


def _by_version(aliases: Mapping[str, Any]) -> dict[int, list[str]]:
    grouped: dict[int, list[str]] = {}
    for alias, version in aliases.items():
        grouped.setdefault(int(version), []).append(alias)
    return grouped


def _version(item: Any, aliases: Mapping[int, list[str]]) -> VersionRecord:
    return VersionRecord(
        name=item.name,
        version=int(item.version),
        run_id=item.run_id or "",
        model_id=str(item.source).removeprefix("models:/"),
        tags=dict(item.tags),
        aliases=tuple(sorted(aliases.get(int(item.version), ()))),
    )
