"""Runs in a tracking folder: one folder for each stage key, which is the run's id."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import StoreError
from sacpipe.core.files import canonical_json, check_writable, read_json, sha256_bytes, write_text
from sacpipe.tracking.folder.files import (
    FORMAT_VERSION,
    REBUILD,
    PoolEntry,
    RunFile,
    TrackingFolder,
    read_file,
    write_file,
)
from sacpipe.tracking.folder.registry import FolderRegistry
from sacpipe.tracking.tracker import Row, Run, Tracker


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
            path = self._file(stage_key)
            if path.is_file():
                run = read_file(RunFile, path)
            else:
                shutil.rmtree(path.parent, ignore_errors=True)  # of a run that was half discarded
                run = RunFile(
                    format_version=FORMAT_VERSION,
                    stage_key=stage_key,
                    stage=stage,
                    status="RUNNING",
                    params={},
                    tags={},
                    metrics={},
                    pools={},
                    models=[],
                    record_sha256=None,
                )
            texts = self.shown_params(params) | run.params
            write_file(path, run.replace(stage=stage, params=texts, tags={**run.tags, **tags}))
        return stage_key

    def find_run(self, stage_key: str) -> Run | None:
        """Return the run of a stage key, or None."""
        path = self._file(stage_key)
        if not path.is_file():
            return None
        run = read_file(RunFile, path)
        return Run(
            run_id=run.stage_key,
            stage_key=run.stage_key,
            stage=run.stage,
            status=run.status,
            params=run.params,
            tags=run.tags,
            metrics=run.metrics,
            datasets={path: pool.content_digest for path, pool in run.pools.items()},
            model_ids=tuple(run.models),
        )

    def discard_run(self, run_id: str) -> None:
        """Delete a run: its record first, so that no part of it is a run."""
        with self._folder.locked():
            self._file(run_id).unlink(missing_ok=True)
            shutil.rmtree(self._folder.run(run_id), ignore_errors=True)

    def log_rows(self, run_id: str, rows: Sequence[Row]) -> int:
        """Append the rows that the run lacks; return their number."""
        with self._folder.locked():
            read_file(RunFile, self._file(run_id))
            held, lines = self._held(run_id), [_line(row) for row in rows]
            if held != lines[: len(held)]:
                raise StoreError(
                    f"run {run_id}: expected the {len(held)} rows that it holds, found others. {REBUILD}"
                )
            with (self._folder.run(run_id) / "rows.jsonl").open("ab") as file:
                file.truncate(sum(map(len, held)))
                file.write(b"".join(lines[len(held) :]))
        return len(lines) - len(held)

    def rows_agree(self, run_id: str, rows: Sequence[Row]) -> bool:
        """Return whether the rows that a run holds are the first of these rows."""
        held = self._held(run_id)
        return held == [_line(row) for row in rows[: len(held)]]

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Set the numbers of a summary."""
        with self._folder.locked():
            run = read_file(RunFile, self._file(run_id))
            self._write(run.replace(metrics={**run.metrics, **metrics}))

    def log_pool(self, run_id: str, path: str, digest: str, *, context: str) -> None:
        """Name a pool as an input of the run."""
        with self._folder.locked():
            run = read_file(RunFile, self._file(run_id))
            pool = PoolEntry(content_digest=digest, context=context)
            self._write(run.replace(pools={**run.as_tree()["pools"], path: pool.as_tree()}))

    def log_record(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Write stage.json, and its digest to the run."""
        text = canonical_json(record)
        with self._folder.locked():
            run = read_file(RunFile, self._file(run_id))
            write_text(self._folder.run(run_id) / "stage.json", text)
            self._write(run.replace(record_sha256=sha256_bytes(text.encode())))

    def record(self, run_id: str) -> dict[str, Any]:
        """Return the entry that `log_record` stored, after a check of its digest."""
        path, expected = self._folder.run(run_id) / "stage.json", read_file(RunFile, self._file(run_id))
        found = read_json(path, StoreError)
        if sha256_bytes(canonical_json(found).encode()) != expected.record_sha256:
            raise StoreError(
                f"{path}: expected SHA-256 {expected.record_sha256}, found other bytes. "
                "`sacpipe ledger rebuild` writes it again."
            )
        return dict(found)

    def log_model(self, run_id: str, bundle_folder: Path) -> str:
        """Copy a bundle; its id is its digest. The same bundle is copied once."""
        digest = bundle_digest(bundle_folder, follow_cache_links=True)
        with self._folder.locked():
            run = read_file(RunFile, self._file(run_id))
            if digest not in run.models or not self._folder.bundle(digest).exists():
                open_bundle(bundle_folder, follow_cache_links=True)
                self._folder.add_bundle(digest, bundle_folder)
                self._write(run.replace(models=sorted({*run.models, digest})))
        return digest

    def finish_run(self, run_id: str, *, is_complete: bool = True) -> None:
        """Set the status of a run."""
        with self._folder.locked():
            run = read_file(RunFile, self._file(run_id))
            self._write(run.replace(status="FINISHED" if is_complete else "FAILED"))

    def _file(self, stage_key: str) -> Path:
        return self._folder.run(stage_key) / "run.json"

    def _write(self, run: RunFile) -> None:
        write_file(self._file(run.stage_key), run)

    def _held(self, run_id: str) -> list[bytes]:
        """Return the whole lines of a run's rows; what a crash cut short is left out."""
        path = self._folder.run(run_id) / "rows.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        return lines if not lines or lines[-1].endswith(b"\n") else lines[:-1]


def _line(row: Row) -> bytes:
    return json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n"
