"""Runs in MLflow: made once, completed as often as one likes, and never twice the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mlflow.data.dataset_source_registry import DatasetSourceRegistry
from mlflow.exceptions import MlflowException

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import StoreError
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.dvc_dataset_source import DvcDatasetSource
from sacpipe.tracking.mlflow.ledger import ROWS_TAG, MlflowLedger

KEY = "ab" * 32
PARAMS = {"training.total_steps": 10, "algorithm.tau": 0.005, "task.id": "Reach-v0", "task.dims": [1, 2.5]}
POOL_MD5 = "0" * 32 + ".dir"


@pytest.fixture
def ledger(store: MlflowConnection) -> MlflowLedger:
    return MlflowLedger(store)


@pytest.fixture
def run_id(ledger: MlflowLedger) -> str:
    return ledger.ensure_run(KEY, "train", PARAMS, {"a": "1"})


def rows(number: int, scale: float = 1.0) -> list[dict[str, float]]:
    return [
        {"env_steps": 10 * n, "gradient_steps": n, "critic/loss": scale * n, "episode/return": -n}
        for n in range(number)
    ]


def history(store: MlflowConnection, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in store.client.get_metric_history(run_id, name)]


def test_a_stage_key_has_one_run_with_its_parameters_as_text(ledger: MlflowLedger, run_id: str) -> None:
    again = ledger.ensure_run(KEY, "train", PARAMS, {"a": "2", "b": "3"})
    other = ledger.ensure_run("cd" * 32, "train", PARAMS, {})
    run = ledger.run(run_id)
    assert again == run_id != other
    assert run == ledger.find_run(KEY)
    assert ledger.find_run("ef" * 32) is None
    assert (run.stage_key, run.stage, run.tags["a"], run.tags["b"]) == (KEY, "train", "2", "3")
    texts = {"training.total_steps": "10", "algorithm.tau": "0.005", "task.id": "Reach-v0"}
    assert run.params == texts | {"task.dims": "[1, 2.5]"}


@pytest.mark.parametrize("name", ["limits.joint[0]", "a$b", "/left//knee/", "ümlaut", "k" * 400, "a\nb"])
def test_a_parameter_of_any_name_is_logged_once_and_apart_from_its_neighbour(
    ledger: MlflowLedger, name: str
) -> None:
    params = {f"task.options.{name}": 1, f"task.options.{name}!": "v" * 7000}
    run_id = ledger.ensure_run(KEY, "train", params, {})
    assert ledger.ensure_run(KEY, "train", params, {}) == run_id
    assert ledger.run(run_id).params == ledger.shown_params(params)
    assert len(ledger.shown_params(params)) == 2


def test_more_parameters_than_one_call_takes_are_all_there(ledger: MlflowLedger) -> None:
    params = {f"a.b{number}": number for number in range(150)}
    run_id = ledger.ensure_run(KEY, "train", params, {})
    assert ledger.run(run_id).params == {name: str(value) for name, value in params.items()}


def test_rows_sent_in_parts_and_again_are_there_once(
    store: MlflowConnection, ledger: MlflowLedger, run_id: str
) -> None:
    every = rows(603)  # two values a row: more than two calls take
    assert ledger.log_rows(run_id, every[:350]) == 350
    assert ledger.log_rows(run_id, every[:350]) == 0
    store.batch(run_id, tags={ROWS_TAG: "0"})  # the sender was killed after its values and before its count
    assert ledger.log_rows(run_id, every) == 603
    assert history(store, run_id, "critic/loss") == [(10 * n, float(n)) for n in range(603)]
    assert history(store, run_id, "episode/return") == [(10 * n, float(-n)) for n in range(603)]
    assert "gradient_steps" not in ledger.run(run_id).metrics


def test_rows_at_the_same_step_are_kept_apart(
    store: MlflowConnection, ledger: MlflowLedger, run_id: str
) -> None:
    clones = [{"env_steps": 5, "gradient_steps": 0, "episode/return": 1.0}] * 2
    ledger.log_rows(run_id, clones)
    assert history(store, run_id, "episode/return") == [(5, 1.0), (5, 1.0)]


def test_rows_that_are_not_the_ones_held_are_refused(ledger: MlflowLedger, run_id: str) -> None:
    ledger.log_rows(run_id, rows(3))
    other = rows(5, scale=2.0)
    assert ledger.rows_agree(run_id, rows(5))
    assert not ledger.rows_agree(run_id, rows(2))
    assert not ledger.rows_agree(run_id, other)
    with pytest.raises(StoreError, match="expected the 3 rows of metrics it holds, found others"):
        ledger.log_rows(run_id, other)
    ledger.discard_run(run_id)
    assert ledger.find_run(KEY) is None


def test_a_summary_and_a_record_are_logged_once(
    store: MlflowConnection, ledger: MlflowLedger, run_id: str
) -> None:
    entry = {"cmd": "x", "deps": [{"path": "ü", "md5": "1"}]}
    for _ in range(2):
        ledger.log_metrics(run_id, {"bundle/return_mean": 3.5})
        ledger.log_record(run_id, entry)
        ledger.finish_run(run_id)
    run = ledger.run(run_id)
    assert run.metrics == {"bundle/return_mean": 3.5}
    assert history(store, run_id, "bundle/return_mean") == [(0, 3.5)]
    assert run.status == "FINISHED"
    assert ledger.record(run_id) == entry


def test_a_record_that_was_changed_is_refused(ledger: MlflowLedger, run_id: str, tmp_path: Path) -> None:
    ledger.log_record(run_id, {"cmd": "x"})
    next((tmp_path / "artifacts").rglob("stage.json")).write_text('{"cmd":"y"}')
    with pytest.raises(StoreError, match=r"expected SHA-256 .* found other bytes"):
        ledger.record(run_id)


def test_a_pool_is_an_input_under_the_digest_dvc_gave_it(
    store: MlflowConnection,
    ledger: MlflowLedger,
    run_id: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # the path is relative to the project's folder
    for _ in range(2):
        ledger.log_pool(run_id, "out/train/pool", POOL_MD5, context="training")
    assert ledger.run(run_id).datasets == {"out/train/pool": POOL_MD5}
    (logged,) = store.client.get_run(run_id).inputs.dataset_inputs
    assert logged.dataset.source_type == "dvc"
    registry = DatasetSourceRegistry()
    registry.register(DvcDatasetSource)  # as the entry point `mlflow.dataset_source` does
    source = registry.get_source_from_json(logged.dataset.source, "dvc")
    assert (source.path, source.digest) == ("out/train/pool", POOL_MD5)
    with pytest.raises(StoreError, match="dvc pull out/train/pool"):
        source.load()
    (tmp_path / "out" / "train" / "pool").mkdir(parents=True)
    assert source.load() == Path("out/train/pool")


def test_a_bundle_is_logged_once_and_mlflow_serves_its_very_bytes(
    store: MlflowConnection,
    ledger: MlflowLedger,
    run_id: str,
    bundle: Callable[[float], Path],
    tmp_path: Path,
) -> None:
    folder = bundle(1.0)
    model_id = ledger.log_model(run_id, folder)
    assert ledger.log_model(run_id, folder) == model_id
    assert ledger.run(run_id).model_ids == (model_id,)
    assert ledger.log_model(run_id, bundle(2.0)) != model_id
    arrived = store.download(f"models:/{model_id}", tmp_path / "arrived")
    assert (arrived / "model.onnx").read_bytes() == (folder / "policy.onnx").read_bytes()
    assert sorted(path.name for path in arrived.iterdir() if path.name.startswith("model")) == ["model.onnx"]
    assert bundle_digest(arrived / "bundle") == bundle_digest(folder)


def test_the_model_takes_the_terms_by_name_and_type_and_nothing_else(
    store: MlflowConnection, ledger: MlflowLedger, run_id: str, bundle: Callable[[float], Path]
) -> None:
    uri = f"models:/{ledger.log_model(run_id, bundle(1.0))}"
    observations = np.array([[0.5, 7.0, 7.0], [9.0, 7.0, 7.0]], np.float32)
    assert store.predict(uri, {"state": observations}).tolist() == [[0.5], [3.0]]
    for inputs in ({"state": observations.astype(np.float64)}, {"stat": observations}):
        with pytest.raises(StoreError, match="Failed to enforce schema") as caught:
            store.predict(uri, inputs)
        assert isinstance(caught.value.__cause__, MlflowException)


def test_a_database_of_another_folder_names_that_folder(store: MlflowConnection, tmp_path: Path) -> None:
    """`sacpipe ledger rebuild` moves no database that MLFLOW_TRACKING_URI names, so it is no advice here."""
    store.check()
    second = MlflowConnection(store.tracking_uri, tmp_path / "second" / "artifacts", experiment=str(tmp_path))
    with pytest.raises(StoreError, match=r"belongs to another folder, /.*: work there, or share") as caught:
        second.check()
    assert "ledger rebuild" not in str(caught.value)


def test_a_deleted_experiment_comes_back(
    store: MlflowConnection, ledger: MlflowLedger, run_id: str, tmp_path: Path
) -> None:
    store.client.delete_experiment(store.experiment_id)
    again = MlflowLedger(
        MlflowConnection(store.tracking_uri, tmp_path / "artifacts", experiment=str(tmp_path))
    )
    assert again.ensure_run(KEY, "train", PARAMS, {}) == run_id
