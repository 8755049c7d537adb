"""Versions and aliases in MLflow's model registry."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sacpipe.bundle.files import bundle_digest as digest_of
from sacpipe.bundle.reader import Bundle
from sacpipe.core.errors import MISSING_FILES, StoreError
from sacpipe.core.files import sha256_file
from sacpipe.rollout.registries import Address
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.release_lock import exclude
from sacpipe.tracking.registry import BUNDLE_TAG, MAX_DESCRIPTION_CHARS, Registry, VersionRecord
from sacpipe.tracking.registry_checks import check_bundle, check_number, check_texts, check_unnamed

_PAGE = 200
_PLACE_HOLDER_TAG = "sacpipe.place_holder"
_PLACE_HOLDER = "deleted at once, or about to be a version"
"""Tag, and its value, of what is no version: it was created so that the next one has its number."""


class MlflowRegistry(Registry):
    """The registered policies of one MLflow connection."""

    def __init__(self, store: MlflowConnection) -> None:
        self._store = store

    def register(
        self,
        name: str,
        model_id: str,
        run_id: str,
        bundle_digest: str,
        tags: Mapping[str, str],
        *,
        number: int | None = None,
    ) -> VersionRecord:
        """Return the version of a bundle, which is created where there is none.

        MLflow counts deleted versions too, and gives each version the number after the highest one. So a
        number is reached by place-holders, which are deleted at once.
        """
        check_texts(f"policy '{name}'", tags)
        present = self.versions(name)
        if (found := check_number(present, name, bundle_digest, number)) is not None:
            return found
        self._ensure_registered(name)
        tags = {BUNDLE_TAG: bundle_digest, **tags}
        new = _NewVersion(name, f"models:/{model_id}", run_id, tags, model_id)
        if number is None:
            made = self._create(new)
        elif present and number < present[-1].version:
            raise _no_longer(name, number, present[-1].version + 1)
        else:
            made = self._create_as(new, number)
        return self.version(name, made)

    def versions(self, name: str) -> list[VersionRecord]:
        """Return every version of a policy, oldest first; none where the name is unknown."""
        with self._store.mlflow_errors():
            model = self._registered(name)
            found = [] if model is None else self._search(name)
        aliases = _by_version({} if model is None else model.aliases)
        records = [_version(item, aliases) for item in found if _PLACE_HOLDER_TAG not in item.tags]
        return sorted(records, key=lambda record: record.version)

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
        check_texts(f"policy '{name}' version {version}", tags)
        with self._store.mlflow_errors():
            for key, value in tags.items():
                self._store.client.set_model_version_tag(name, str(version), key, value)

    def set_description(self, name: str, version: int, text: str) -> None:
        """Set the description of a version."""
        check_texts(f"policy '{name}' version {version}", {"description": text}, MAX_DESCRIPTION_CHARS)
        with self._store.mlflow_errors():
            self._store.client.update_model_version(name, str(version), description=text)

    def model_tags(self, name: str) -> dict[str, str]:
        """Return the tags of a registered model; none where the name is unknown."""
        with self._store.mlflow_errors():
            model = self._registered(name)
        return {} if model is None else dict(model.tags)

    def set_model_tags(self, name: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags of a registered model, which is created where it is missing."""
        check_texts(f"policy '{name}'", tags)
        self._ensure_registered(name)
        with self._store.mlflow_errors():
            for key, value in tags.items():
                self._store.client.set_registered_model_tag(name, key, value)

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version. MLflow keeps its row, and so its number."""
        check_unnamed(self.version(name, version))
        self._delete(name, version)

    def restore_files(self, record: VersionRecord, bundle_folder: Path) -> None:
        """Write the files of a version's logged model again, MLflow's own among them."""
        check_bundle(record, digest_of(bundle_folder, follow_cache_links=True))
        self._store.restore_bundle(record.model_id, record.run_id, bundle_folder)

    def exclusive(self, name: str) -> AbstractContextManager[bool]:
        """Hold a lock of the database: a file beside SQLite's, or an advisory lock of PostgreSQL."""
        return exclude(name, self._store.tracking_uri, self._store.lock_address)

    def is_remote(self) -> bool:
        """Return whether the store is a server."""
        return self._store.tracking_uri.startswith("http")

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        """Copy a version's files; return its bundle's folder and the SHA-256 of MLflow's `model.onnx`."""
        fetched = self._store.download(f"models:/{record.model_id}", folder)
        if not (fetched / "model.onnx").is_file():
            raise StoreError(
                f"model {record.model_id}: its model.onnx is missing. `sacpipe ledger rebuild` logs it "
                "again.",
                MISSING_FILES,
            )
        return fetched / "bundle", sha256_file(fetched / "model.onnx")

    def smoke_load(self, name: str, which: int | str, bundle: Bundle) -> float:
        """Load a version by MLflow's own loader, and run it on the bundle's golden observations."""
        uri = str(Address(name, str(which), isinstance(which, str)))
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

    def _ensure_registered(self, name: str) -> None:
        """Create the registered model where it is missing; another client may create it meanwhile."""
        with self._store.mlflow_errors():
            from mlflow.exceptions import MlflowException

            if self._registered(name) is not None:
                return
            try:
                self._store.client.create_registered_model(name)
            except MlflowException as exc:
                if exc.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def _search(self, name: str) -> list[Any]:
        """Return MLflow's records of all versions, those of place-holders among them."""
        found: list[Any] = []
        token: str | None = ""
        while token is not None:
            page = self._store.client.search_model_versions(
                f"name = '{name}'", max_results=_PAGE, page_token=token or None
            )
            found.extend(page)
            token = page.token or None
        return found

    def _create(self, new: "_NewVersion") -> int:
        """Create a version and return its number."""
        with self._store.mlflow_errors():
            made = self._store.client.create_model_version(
                new.name,
                source=new.source,
                run_id=new.run_id,
                tags=new.tags,
                model_id=new.model_id,
            )
        return int(made.version)

    def _delete(self, name: str, version: int) -> None:
        with self._store.mlflow_errors():
            self._store.client.delete_model_version(name, str(version))

    def _create_as(self, new: "_NewVersion", number: int) -> int:
        """Create a version with a number. It is a place-holder until its number is known.

        Raises:
            StoreError: MLflow gives it a higher number.
        """
        marked = new._replace(tags={**new.tags, _PLACE_HOLDER_TAG: _PLACE_HOLDER})
        made = self._left(new, number) or self._create(marked)
        if made < number:
            self._delete(new.name, made)
            # Of the run, not of the model: a server lists a model's versions in one of its tags, permanently.
            other = marked._replace(source=f"runs:/{new.run_id}/none", model_id=None)
            while made < number - 1:
                made = self._create(other)
                self._delete(new.name, made)
            made = self._create(marked)
        if made != number:
            self._delete(new.name, made)
            raise _no_longer(new.name, number, made + 1)
        with self._store.mlflow_errors():
            self._store.client.delete_model_version_tag(new.name, str(made), _PLACE_HOLDER_TAG)
        return made

    def _left(self, new: "_NewVersion", number: int) -> int | None:
        """Delete what a process that was killed left here, but for this version with this number."""
        with self._store.mlflow_errors():
            left = [item for item in self._search(new.name) if _PLACE_HOLDER_TAG in item.tags]
        found = None
        for item in left:
            if (int(item.version), item.source) == (number, new.source):
                found = number
            else:
                self._delete(new.name, int(item.version))
        return found


class _NewVersion(NamedTuple):
    """A version that is to be created."""

    name: str
    source: str
    run_id: str
    tags: dict[str, str]
    model_id: str | None


def _no_longer(name: str, number: int, following: int) -> StoreError:
    return StoreError(
        f"policy '{name}': MLflow can no longer give the number {number}: its next version is {following}, "
        f"because it counts deleted versions too. Register the bundle without a number, or use another name."
    )


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
        description=item.description or "",
    )
