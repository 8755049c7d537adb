"""Runs in a tracking folder: a folder for each stage key, which is the run's id."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sacpipe.bundle.files import read_files
from sacpipe.bundle.reader import parse_bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import (
    canonical_json,
    check_writable,
    read_json,
    sha256_bytes,
    write_json,
    write_text,
)
from sacpipe.tracking.folder.files import FORMAT_VERSION, REPLACE, RunFile, TrackingFolder, find
from sacpipe.tracking.folder.registry import FolderRegistry
from sacpipe.tracking.tracker import RECORD_TAG, Row, Run, Tracker


class FolderTracker(Tracker):
    """The runs of one tracking folder, and the registry beside them."""

    def __init__(self, folder: TrackingFolder) -> None:
        self._folder = folder
        self._registry = FolderRegistry(folder)

    @property
    def registry(self) -> FolderRegistry:
        """Registry in the same folder."""
        return self._registry

    def describe(self) -> str:
        """Return the folder."""
        return f"the folder {self._folder.root}"

    def check(self) -> None:
        """Check that the folder can be written, and that every record can be read."""
        check_writable(self._folder.root)
        self._folder.check()

    def ensure_run(
        self, stage_key: str, stage: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str:
        """Return the id of a stage key's run, which is its key; create the run where there is none."""
        with self._folder.locked():
            run = self.find_run(stage_key)
            if run is None:
                shutil.rmtree(self._file(stage_key).parent, ignore_errors=True)  # of one half discarded
                run = Run(stage_key, stage_key, stage, "RUNNING", {}, {}, {}, {}, ())
            texts = self.shown_params(params) | run.params
            self._write(replace(run, params=texts, tags={**run.tags, **tags}))
        return stage_key

    def find_run(self, stage_key: str) -> Run | None:
        """Return the run of a stage key, or None."""
        found = find(RunFile, self._file(stage_key))
        return None if found is None else found.run

    def discard_run(self, run_id: str) -> None:
        """Delete a run: its record first, so that no part of it is a run."""
        with self._folder.locked():
            self._file(run_id).unlink(missing_ok=True)
            shutil.rmtree(self._file(run_id).parent, ignore_errors=True)

    def log_rows(self, run_id: str, rows: Sequence[Row]) -> int:
        """Write the rows again where the run lacks some; return the number of those."""
        with self._folder.locked():
            path, held, text = (
                self._file(run_id).with_name("rows.jsonl"),
                self._folder.rows(run_id),
                _text(rows),
            )
            if not text.startswith(held):
                raise StoreError(f"{path}: expected the rows that it holds, found others. {REPLACE}")
            write_text(path, text)
        return text.count("\n") - held.count("\n")

    def rows_agree(self, run_id: str, rows: Sequence[Row]) -> bool:
        """Return whether the rows that a run holds are the first of these rows."""
        return _text(rows).startswith(self._folder.rows(run_id))

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Set the numbers of a summary."""
        self._add(run_id, metrics=dict(metrics))

    def log_pool(self, run_id: str, path: str, digest: str, *, context: str) -> None:
        """Name a pool as an input of the run; its context becomes a tag."""
        self._add(run_id, datasets={path: digest}, tags={f"sacpipe.pool_context.{path}": context})

    def log_record(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Write stage.json, and its digest as a tag."""
        text = canonical_json(record)
        with self._folder.locked():
            write_text(self._file(run_id).with_name("stage.json"), text)
        self._add(run_id, tags={RECORD_TAG: sha256_bytes(text.encode())})

    def record(self, run_id: str) -> dict[str, Any]:
        """Return the entry that `log_record` stored, after a check of its digest."""
        path, expected = self._file(run_id).with_name("stage.json"), self._run(run_id).tags.get(RECORD_TAG)
        found = read_json(path, StoreError)
        if sha256_bytes(canonical_json(found).encode()) != expected:
            raise StoreError(f"{path}: expected SHA-256 {expected}, found other bytes. {REPLACE}")
        return dict(found)

    def log_model(self, run_id: str, bundle_folder: Path) -> str:
        """Copy a bundle; its id is its digest. The same bundle is copied once."""
        files = read_files(bundle_folder, follow_cache_links=True)
        digest = parse_bundle(files).digest
        self._folder.write_bundle(digest, files)
        self._add(run_id, model_ids=tuple(dict.fromkeys([*self._run(run_id).model_ids, digest])))
        return digest

    def finish_run(self, run_id: str, *, is_complete: bool = True) -> None:
        """Set the status of a run."""
        self._add(run_id, status="FINISHED" if is_complete else "FAILED")

    def _file(self, stage_key: str) -> Path:
        return self._folder.path("runs", stage_key) / "run.json"

    def _run(self, run_id: str) -> Run:
        if (run := self.find_run(run_id)) is None:
            raise StoreError(f"{self._file(run_id)} is missing. `sacpipe ledger rebuild` writes it again.")
        return run

    def _add(self, run_id: str, **values: Any) -> None:
        """Set fields of a run; entries of mappings are added."""
        with self._folder.locked():
            run = self._run(run_id)
            merged: dict[str, Any] = {
                name: {**getattr(run, name), **value} if isinstance(value, dict) else value
                for name, value in values.items()
            }
            self._write(replace(run, **merged))

    def _write(self, run: Run) -> None:
        write_json(self._file(run.run_id), RunFile(format_version=FORMAT_VERSION, run=run).as_tree())


def _text(rows: Sequence[Row]) -> str:
    return "".join(f"{canonical_json(row)}\n" for row in rows)
