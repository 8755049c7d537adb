"""The registry: versions of a policy, one for each bundle, and the aliases that name versions in service.

MLflow keeps no history of aliases, and the last writer of an alias wins. The history is
.sacpipe/promotions.jsonl, and the caller that moves an alias holds the workspace's lock.
"""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import sha256_file, storage_errors
from sacpipe.tracking.mlflow.connection import BUNDLE_TAG, POLICY_TAG, MlflowConnection

_PAGE = 200


@dataclass(frozen=True)
class VersionRecord:
    """One version of a registered policy."""

    name: str
    version: int
    run_id: str
    """Id of the run that exported the bundle."""
    model_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...]

    @property
    def bundle_digest(self) -> str:
        """Registered digest of the bundle; empty where there is none."""
        return self.tags.get(BUNDLE_TAG, "")

    @property
    def policy_sha256(self) -> str:
        """Registered SHA-256 of policy.onnx; empty where there is none."""
        return self.tags.get(POLICY_TAG, "")


class MlflowRegistry:
    """The registered policies of one MLflow connection."""

    def __init__(self, store: MlflowConnection) -> None:
        self._store = store

    def register(
        self, name: str, model_id: str, run_id: str, bundle_digest: str, tags: Mapping[str, str]
    ) -> VersionRecord:
        """Return the version of a bundle, which is created where there is none.

        Args:
            name: Registered name.
            model_id: Id that `log_model` returned.
            run_id: Id of the run that exported the bundle.
            bundle_digest: Identity of the version.
            tags: Tags of a new version.

        Raises:
            StoreError: MLflow failed.
        """
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
        """Return every version of a policy, oldest first; none where the name is unknown.

        Raises:
            StoreError: MLflow failed.
        """
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

    def version(self, name: str, which: int | str) -> VersionRecord:
        """Return one version, by its number or by an alias.

        Raises:
            StoreError: there is no such version, or MLflow failed. The message lists the versions.
        """
        records = self.versions(name)
        for record in records:
            if str(record.version) == str(which) or which in record.aliases:
                return record
        found = ", ".join("/".join([str(item.version), *item.aliases]) for item in records) or "none"
        raise StoreError(f"policy '{name}' has no version or alias '{which}'; it has {found}.")

    def alias(self, name: str, alias: str) -> VersionRecord | None:
        """Return the version that an alias names, or None.

        Raises:
            StoreError: MLflow failed.
        """
        return next((record for record in self.versions(name) if alias in record.aliases), None)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version, and check it by reading it.

        Raises:
            StoreError: the alias names another version afterwards, or MLflow failed.
        """
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
        """Delete an alias.

        Raises:
            StoreError: MLflow failed.
        """
        with self._store.mlflow_errors():
            self._store.client.delete_registered_model_alias(name, alias)

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a version, e.g. the verdict of the release gate.

        Raises:
            StoreError: MLflow failed.
        """
        with self._store.mlflow_errors():
            for key, value in tags.items():
                self._store.client.set_model_version_tag(name, str(version), key, value)

    def fetch_bundle(self, name: str, which: int | str, folder: Path) -> Bundle:
        """Copy the bundle of a version or alias to a folder that does not exist yet, verified.

        Raises:
            StoreError: there is no such version, or its digest is not the registered one.
            BundleError: the bundle is damaged.
            StorageError: the folder cannot be written.
        """
        record = self.version(name, which)
        with tempfile.TemporaryDirectory() as temporary:
            fetched, _ = self.download(record, Path(temporary))
            bundle = open_bundle(fetched)
            if bundle.digest != record.bundle_digest:
                raise StoreError(
                    f"version {record.version} of policy '{name}': expected bundle {record.bundle_digest}, "
                    f"found {bundle.digest}. Its artifacts were changed; register the bundle again."
                )
            with storage_errors(folder):
                shutil.copytree(fetched, folder)
        return bundle

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        """Copy a version's files; return its bundle's folder and the SHA-256 of the model that MLflow serves.

        The digests are not compared here; lineage compares them.

        Raises:
            StoreError: MLflow failed, or its artifacts are missing.
        """
        fetched = self._store.download(f"models:/{record.model_id}", folder)
        if not (fetched / "model.onnx").is_file():
            raise StoreError(
                f"model {record.model_id}: its model.onnx is missing. `sacpipe ledger rebuild` logs it again."
            )
        return fetched / "bundle", sha256_file(fetched / "model.onnx")

    def smoke_load(self, name: str, alias: str, bundle: Bundle) -> float:
        """Load an alias by MLflow's own loader, and run it on the bundle's golden observations.

        Args:
            name: Registered name.
            alias: Alias to load.
            bundle: Bundle whose golden actions it must give.

        Returns:
            The largest difference, as a share of the action's range.

        Raises:
            StoreError: the model does not load, or differs by more than the contract's golden tolerance.
        """
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
