"""A tracker and registry in one JSON file; bundles are kept as text in it."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sacpipe.bundle.files import read_files
from sacpipe.bundle.reader import parse_bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import sha256_bytes, write_json
from sacpipe.tracking.registry import BUNDLE_TAG, MAX_DESCRIPTION_CHARS, Registry, VersionRecord
from sacpipe.tracking.registry_checks import check_bundle, check_number, check_texts, check_unnamed
from sacpipe.tracking.tracker import Row, Run, Tracker, TrackerConfig

EMPTY = {"runs": {}, "rows": {}, "records": {}, "bundles": {}, "policies": {}}


class OneFileTracking(TrackerConfig):
    """Everything in the file one_file.json of the project's local files."""

    name: str

    def open_tracker(self, state: Path | None, variables: Mapping[str, str]) -> "OneFileTracker":
        """Return the tracker."""
        return OneFileTracker(Path(variables.get("ONE_FILE") or (state or Path()) / "one_file.json"))


class OneFileTracker(Tracker):
    """Runs in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._registry = OneFileRegistry(self)

    @property
    def registry(self) -> "OneFileRegistry":
        return self._registry

    def load(self) -> dict[str, Any]:
        return json.loads(self.path.read_text()) if self.path.exists() else json.loads(json.dumps(EMPTY))

    def describe(self) -> str:
        return f"one file, {self.path}"

    def check(self) -> None:
        write_json(self.path, self.load())

    def change(self, section: str, key: str, value: Any) -> None:
        tree = self.load()
        tree[section][key] = value
        write_json(self.path, tree)

    def ensure_run(
        self, stage_key: str, stage: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str:
        run = self.find_run(stage_key) or Run(stage_key, stage_key, stage, "RUNNING", {}, {}, {}, {}, ())
        texts = self.shown_params(params) | run.params
        self.change("runs", stage_key, asdict(replace(run, params=texts, tags={**run.tags, **tags})))
        return stage_key

    def find_run(self, stage_key: str) -> Run | None:
        found = self.load()["runs"].get(stage_key)
        return None if found is None else Run(**found | {"model_ids": tuple(found["model_ids"])})

    def discard_run(self, run_id: str) -> None:
        tree = self.load()
        for section in ("runs", "rows", "records"):
            tree[section].pop(run_id, None)
        write_json(self.path, tree)

    def log_rows(self, run_id: str, rows: Sequence[Row]) -> int:
        if not self.rows_agree(run_id, rows):
            raise StoreError(f"run {run_id} holds other rows.")
        held = len(self.load()["rows"].get(run_id, []))
        self.change("rows", run_id, list(rows))
        return len(rows) - held

    def rows_agree(self, run_id: str, rows: Sequence[Row]) -> bool:
        held = self.load()["rows"].get(run_id, [])
        return held == list(rows[: len(held)])

    def update(self, run_id: str, **values: Any) -> None:
        self.change("runs", run_id, self.load()["runs"][run_id] | values)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        self.update(run_id, metrics=self.load()["runs"][run_id]["metrics"] | dict(metrics))

    def log_pool(self, run_id: str, path: str, digest: str, *, context: str) -> None:
        self.update(run_id, datasets=self.load()["runs"][run_id]["datasets"] | {path: digest})

    def log_record(self, run_id: str, record: Mapping[str, Any]) -> None:
        self.change("records", run_id, dict(record))

    def record(self, run_id: str) -> dict[str, Any]:
        found = self.load()["records"].get(run_id)
        if found is None:
            raise StoreError(f"run {run_id} has no record.")
        return found

    def keep(self, digest: str, files: Mapping[str, bytes]) -> None:
        texts = {name: base64.b64encode(data).decode() for name, data in files.items()}
        self.change("bundles", digest, texts)

    def log_model(self, run_id: str, bundle_folder: Path) -> str:
        files = read_files(bundle_folder, follow_cache_links=True)
        digest = parse_bundle(files).digest
        self.keep(digest, files)
        self.update(run_id, model_ids=sorted({*self.load()["runs"][run_id]["model_ids"], digest}))
        return digest

    def finish_run(self, run_id: str, *, is_complete: bool = True) -> None:
        self.update(run_id, status="FINISHED" if is_complete else "FAILED")


class OneFileRegistry(Registry):
    """Versions in the file."""

    def __init__(self, tracker: OneFileTracker) -> None:
        self._tracker = tracker

    def _read(self, name: str) -> dict[str, Any]:
        return self._tracker.load()["policies"].get(name, {"versions": [], "tags": {}, "last": 0})

    def _write(self, name: str, **values: Any) -> None:
        self._tracker.change("policies", name, self._read(name) | values)

    def _write_versions(self, name: str, versions: Sequence[VersionRecord]) -> None:
        self._write(name, versions=[asdict(one) for one in versions])

    def versions(self, name: str) -> list[VersionRecord]:
        found = self._read(name)["versions"]
        return [VersionRecord(**one | {"aliases": tuple(one["aliases"])}) for one in found]

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
        check_texts(name, tags)
        found = check_number(present := self.versions(name), name, bundle_digest, number)
        if found is not None:
            return found
        last = self._read(name)["last"]
        if number is not None and number <= last:
            raise StoreError(f"policy '{name}': version {number} can no longer be given.")
        all_tags = {BUNDLE_TAG: bundle_digest, **tags}
        made = VersionRecord(name, number or last + 1, run_id, model_id, all_tags, ())
        self._write(name, versions=[asdict(one) for one in [*present, made]], last=made.version)
        return made

    def _point(self, name: str, alias: str, version: int | None) -> None:
        for one in (moved := self.versions(name)):
            kept = {*one.aliases} - {alias} | ({alias} if one.version == version else set())
            moved[moved.index(one)] = replace(one, aliases=tuple(sorted(kept)))
        self._write_versions(name, moved)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self.version(name, version)
        self._point(name, alias, version)

    def delete_alias(self, name: str, alias: str) -> None:
        self._point(name, alias, None)

    def _change(self, name: str, version: int, **values: Any) -> None:
        changed = replace(self.version(name, version), **values)
        present = self.versions(name)
        self._write_versions(name, [changed if one.version == version else one for one in present])

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        check_texts(name, tags)
        self._change(name, version, tags=self.version(name, version).tags | dict(tags))

    def set_description(self, name: str, version: int, text: str) -> None:
        check_texts(name, {"description": text}, MAX_DESCRIPTION_CHARS)
        self._change(name, version, description=text)

    def model_tags(self, name: str) -> dict[str, str]:
        return self._read(name)["tags"]

    def set_model_tags(self, name: str, tags: Mapping[str, str]) -> None:
        check_texts(name, tags)
        self._write(name, tags=self.model_tags(name) | dict(tags))

    def delete_version(self, name: str, version: int) -> None:
        check_unnamed(gone := self.version(name, version))
        self._write_versions(name, [one for one in self.versions(name) if one != gone])

    def restore_files(self, record: VersionRecord, bundle_folder: Path) -> None:
        files = read_files(bundle_folder, follow_cache_links=True)
        check_bundle(record, parse_bundle(files).digest)
        self._tracker.keep(record.model_id, files)

    def download(self, record: VersionRecord, folder: Path) -> tuple[Path, str]:
        (folder / "bundle").mkdir(parents=True)
        for name, text in self._tracker.load()["bundles"][record.model_id].items():
            (folder / "bundle" / name).write_bytes(base64.b64decode(text))
        return folder / "bundle", sha256_bytes((folder / "bundle" / "policy.onnx").read_bytes())
