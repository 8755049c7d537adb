"""Runs in MLflow: one for each stage key. docs/ledger.md lists the tags."""

import json
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import StoreError
from sacpipe.core.files import canonical_json, sha256_bytes
from sacpipe.tracking.mlflow.address import hide_password
from sacpipe.tracking.mlflow.connection import MetricPoint, MlflowConnection
from sacpipe.tracking.mlflow.registry import MlflowRegistry
from sacpipe.tracking.registry import BUNDLE_TAG
from sacpipe.tracking.tracker import (
    COMMAND_TAG,
    COMMIT_TAG,
    RECORD_TAG,
    STAGE_KEY_TAG,
    Row,
    Run,
    Tracker,
    param_text,
)

STAGE_TAG = "sacpipe.stage"
ROWS_TAG = "sacpipe.metric_rows"
ROWS_DIGEST_TAG = "sacpipe.metric_rows_sha256"

_RECORD_FILE = "stage.json"
_REFUSED_IN_NAMES = re.compile(r"[^\w.\-: ]")
_MAX_NAME_CHARS, _MAX_VALUE_CHARS, _DIGEST_CHARS = 250, 6000, 16
_NATIVE = {COMMAND_TAG: "mlflow.source.name", COMMIT_TAG: "mlflow.source.git.commit"}
"""Tags of MLflow's own that its UI shows; the command has no other one."""
_STEP_FIELDS = ("env_steps", "gradient_steps")


class MlflowLedger(Tracker):
    """The runs of one experiment, and the registry beside them."""

    def __init__(self, store: MlflowConnection) -> None:
        self._store = store
        self._registry = MlflowRegistry(store)

    @property
    def registry(self) -> MlflowRegistry:
        """MLflow's model registry at the same address."""
        return self._registry

    @property
    def tracking_uri(self) -> str:
        """Address of the ledger."""
        return self._store.tracking_uri

    def describe(self) -> str:
        """Return the kind of the store."""
        uri = hide_password(self.tracking_uri)
        return "MLflow on the embedded SQLite store" if uri.startswith("sqlite") else f"MLflow at {uri}"

    def check(self) -> None:
        """Check that the ledger can record; see `MlflowConnection.check` for the errors."""
        self._store.check()

    def ensure_run(
        self, stage_key: str, stage: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> str:
        """Return the id of a stage key's run, which is created where there is none."""
        native = {shown: tags[name] for name, shown in _NATIVE.items() if name in tags}
        own = {STAGE_KEY_TAG: stage_key, STAGE_TAG: stage, **tags, **native}
        own.pop(COMMAND_TAG, None)
        with self._store.mlflow_errors():
            run = self._find(stage_key)
            if run is None:
                name = f"{stage}-{stage_key[:8]}"
                run = self._store.client.create_run(self._store.experiment_id, tags=own, run_name=name)
            self._store.batch(
                run.info.run_id,
                params=_differing(self.shown_params(params), run.data.params),
                tags=_differing(own, run.data.tags),
            )
        return str(run.info.run_id)

    def find_run(self, stage_key: str) -> Run | None:
        """Return the run of a stage key, or None."""
        with self._store.mlflow_errors():
            run = self._find(stage_key)
        return None if run is None else _record(run)

    def run(self, run_id: str) -> Run:
        """Return a run.

        Raises:
            StoreError: there is no such run, or MLflow failed.
        """
        return _record(self._get(run_id))

    def discard_run(self, run_id: str) -> None:
        """Delete a run of the ledger."""
        with self._store.mlflow_errors():
            self._store.client.delete_run(run_id)

    def log_rows(self, run_id: str, rows: Sequence[Row]) -> int:
        """Log the rows of a metrics.jsonl that the run lacks; return their number.

        A row's time stamp is the run's start plus the row's index in milliseconds, so that a row sent twice
        stays one row in MLflow.
        """
        run, start_ms = self._started(run_id)
        if not _rows_agree(run, rows):
            raise StoreError(
                f"run {run_id}: expected the {run.tags[ROWS_TAG]} rows of metrics it holds, found others. "
                "`sacpipe ledger rebuild` writes the run from the start."
            )
        done = _rows_held(run)
        points = [
            MetricPoint(name, float(value), start_ms + number, int(row["env_steps"]))
            for number, row in enumerate(rows[done:], start=done)
            for name, value in row.items()
            if name not in _STEP_FIELDS and isinstance(value, (int, float))
        ]
        if len(rows) > done:
            with self._store.mlflow_errors():
                self._store.batch(run_id, metrics=points)
                self._store.batch(run_id, tags={ROWS_TAG: str(len(rows)), ROWS_DIGEST_TAG: _digest(rows)})
        return len(rows) - done

    def rows_agree(self, run_id: str, rows: Sequence[Row]) -> bool:
        """Return whether the rows that a run holds are the first of these rows."""
        return _rows_agree(self.run(run_id), rows)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Log a summary: each metric once, at step 0."""
        run, start_ms = self._started(run_id)
        points = [
            MetricPoint(name, float(value), start_ms, 0)
            for name, value in metrics.items()
            if run.metrics.get(name) != float(value)
        ]
        with self._store.mlflow_errors():
            self._store.batch(run_id, metrics=points)

    def log_pool(self, run_id: str, path: str, digest: str, *, context: str) -> None:
        """Log a replay pool as an input of the run; its path is the dataset's name."""
        self._store.log_dataset(run_id, path, digest, context)

    def log_record(self, run_id: str, record: Mapping[str, Any]) -> None:
        """Store a stage's entry of dvc.lock as an artifact of the run, and its digest as a tag."""
        text = canonical_json(record)
        digest = sha256_bytes(text.encode())
        if self.run(run_id).tags.get(RECORD_TAG) == digest:
            return
        with self._store.mlflow_errors():
            self._store.client.log_text(run_id, text, _RECORD_FILE)
            self._store.batch(run_id, tags={RECORD_TAG: digest})

    def record(self, run_id: str) -> dict[str, Any]:
        """Return the entry that `log_record` stored, after a check of its digest."""
        expected = self.run(run_id).tags.get(RECORD_TAG)
        with self._store.mlflow_errors(), tempfile.TemporaryDirectory() as folder:
            data = Path(self._store.client.download_artifacts(run_id, _RECORD_FILE, folder)).read_bytes()
        if sha256_bytes(data) != expected:
            raise StoreError(
                f"{_RECORD_FILE} of run {run_id}: expected SHA-256 {expected}, found other bytes. "
                "`sacpipe ledger rebuild` writes it again."
            )
        return dict(json.loads(data))

    def log_model(self, run_id: str, bundle_folder: Path) -> str:
        """Log a bundle as a model of the run that exported it; the same bundle is logged once."""
        digest = bundle_digest(bundle_folder, follow_cache_links=True)
        for model_id in self.run(run_id).model_ids:
            with self._store.mlflow_errors():
                tags = self._store.client.get_logged_model(model_id).tags
            if tags.get(BUNDLE_TAG) == digest:
                return model_id
        return self._store.log_bundle(run_id, bundle_folder)

    def finish_run(self, run_id: str, *, is_complete: bool = True) -> None:
        """Close a run. A run with the same status already is not changed."""
        status = "FINISHED" if is_complete else "FAILED"
        if self.run(run_id).status != status:
            with self._store.mlflow_errors():
                self._store.client.set_terminated(run_id, status, end_time=int(time.time() * 1000))

    def shown_params(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Return parameters as MLflow's runs show them.

        In names that MLflow would refuse, such as those of nested task options, characters are escaped. A
        name or a value beyond MLflow's limits is cut, and ends in a digest of the whole.
        """
        texts = {}
        for name, value in params.items():
            shown = _REFUSED_IN_NAMES.sub(lambda found: f"_x{ord(found[0]):02x}_", name)
            texts[_cut(shown, _MAX_NAME_CHARS)] = _cut(param_text(value), _MAX_VALUE_CHARS)
        return texts

    def _get(self, run_id: str) -> Any:
        with self._store.mlflow_errors():
            return self._store.client.get_run(run_id)

    def _started(self, run_id: str) -> tuple[Run, int]:
        """Return a run, and the time of its start in milliseconds."""
        found = self._get(run_id)
        return _record(found), int(found.info.start_time)

    def _find(self, stage_key: str) -> Any:
        runs = self._store.client.search_runs(
            [self._store.experiment_id],
            f"tags.`{STAGE_KEY_TAG}` = '{stage_key}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return runs[0] if runs else None


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    return f"{text[: limit - _DIGEST_CHARS]}{sha256_bytes(text.encode())[:_DIGEST_CHARS]}"


def _record(run: Any) -> Run:
    datasets = [item.dataset for item in run.inputs.dataset_inputs] if run.inputs else []
    models = run.outputs.model_outputs if run.outputs else []
    tags = dict(run.data.tags)
    if _NATIVE[COMMAND_TAG] in tags:
        tags[COMMAND_TAG] = tags[_NATIVE[COMMAND_TAG]]
    return Run(
        run_id=run.info.run_id,
        stage_key=tags.get(STAGE_KEY_TAG, ""),
        stage=tags.get(STAGE_TAG, ""),
        status=run.info.status,
        params=dict(run.data.params),
        tags=tags,
        metrics=dict(run.data.metrics),
        datasets={dataset.name: _whole_digest(dataset) for dataset in datasets},
        model_ids=tuple(model.model_id for model in models),
    )


def _whole_digest(dataset: Any) -> str:
    """Return a dataset's digest: MLflow cuts its own copy, so its source has all of it."""
    whole = str(json.loads(dataset.source).get("digest", ""))
    return whole if whole.startswith(dataset.digest) else str(dataset.digest)


def _differing(wanted: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in wanted.items() if present.get(name) != text}


def _rows_held(run: Run) -> int:
    return int(run.tags.get(ROWS_TAG, "0"))


def _rows_agree(run: Run, rows: Sequence[Row]) -> bool:
    held = _rows_held(run)
    return held <= len(rows) and (held == 0 or _digest(rows[:held]) == run.tags.get(ROWS_DIGEST_TAG))


def _digest(rows: Sequence[Row]) -> str:
    return sha256_bytes("".join(canonical_json(row) + "\n" for row in rows).encode())
