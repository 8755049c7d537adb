"""The contract tests of a tracker and its registry: run both on a member before you record a run with it.

Each rule is read by another object than the one that wrote, as another process would. Stage keys and names
are new ones in each test, so that the store may hold other records.
"""

import secrets
from collections.abc import Mapping

from sacpipe.core.errors import BundleError, StoreError
from sacpipe.core.files import sha256_bytes
from sacpipe.testing.registry_rules import REGISTRY_RULES
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.testing.tracker_trial import Trial, require, require_error, trial_of
from sacpipe.tracking.tracker import COMMAND_TAG, COMMIT_TAG, TrackerConfig

_PARAMS = {
    "seed": 1,
    "training.tau": 5.0e-3,
    "training.sizes": [1, 2],
    "task.options.a[0]/b": None,
    "task.id": "Arm-v0",
    "long": "x" * 10_000,
}
_ROWS = [{"env_steps": 10 * number, "gradient_steps": number, "loss": number / 4} for number in range(4)]
_RECORD = {"cmd": "python -m train", "outs": [{"md5": "ab", "path": "out/\u00fc"}]}


def check_tracker(config: TrackerConfig, variables: Mapping[str, str] | None = None) -> None:
    """Record runs, and test every rule of a tracker.

    Args:
        config: The tracker's section.
        variables: Environment variables that name its store; a new folder of local files is given too.

    Raises:
        ContractError: a rule is broken. The message has the tracker, the rule and what was found.
    """
    with trial_of(config, variables) as trial:
        _check_identity(trial)
        _check_rows(trial)
        _check_records(trial)
        _check_models(trial)
        _check_end(trial)


def check_registry(config: TrackerConfig, variables: Mapping[str, str] | None = None) -> None:
    """Register bundles, move aliases, read them as a robot does, and test every rule of a registry.

    Args:
        config: The tracker's section.
        variables: As for `check_tracker`.

    Raises:
        ContractError: a rule is broken. The message has the tracker, the rule and what was found.
    """
    with trial_of(config, variables) as trial:
        for rule in REGISTRY_RULES:
            rule(trial)


def _check_identity(trial: Trial) -> None:
    """One run for each key, with all parameters and tags."""
    tracker, key = trial.writer, sha256_bytes(secrets.token_bytes(8))
    require("describe: a text", expected=True, found=bool(tracker.describe()))
    tracker.check()
    require("find_run of an unknown key", None, trial.open().find_run(key))
    tags = {COMMIT_TAG: "a" * 40, COMMAND_TAG: "python -m train", "sacpipe.out.out/a": "1"}
    run_id = tracker.ensure_run(key, "train", _PARAMS, tags)
    run = trial.run(key)
    require("find_run", (run_id, key, "train"), (run.run_id, run.stage_key, run.stage))
    require("status of a new run", "RUNNING", run.status)
    shown = tracker.shown_params(_PARAMS)
    require("shown_params: a name for each parameter", len(_PARAMS), len(shown))
    require("shown_params: a text for each value", ("1", "Arm-v0"), (shown["seed"], shown["task.id"]))
    require("params of the run", shown, run.params)
    require("tags of the run", tags, {name: run.tags.get(name) for name in tags})
    again = trial.open().ensure_run(key, "train", _PARAMS, {COMMIT_TAG: "b" * 40})
    require("ensure_run again: the id", run_id, again)
    tags[COMMIT_TAG] = "b" * 40
    run = trial.run(key)
    require("ensure_run again: tags", tags, {name: run.tags.get(name) for name in tags})
    other, _ = trial.begin()
    require("another key: another run", expected=True, found=other != run_id)


def _check_rows(trial: Trial) -> None:
    """Rows are appended once, and other rows are refused."""
    tracker, (run_id, key) = trial.writer, trial.begin()
    require("log_rows: the number of new rows", 2, tracker.log_rows(run_id, _ROWS[:2]))
    require("log_rows again", 0, trial.open().log_rows(run_id, _ROWS[:2]))
    require("log_rows of more", 2, trial.open().log_rows(run_id, _ROWS))
    others = [*_ROWS[:1], {**_ROWS[1], "loss": 9.0}, *_ROWS[2:]]
    for rows, agree in ((_ROWS, True), ([*_ROWS, *_ROWS], True), (others, False), (_ROWS[:3], False)):
        require("rows_agree", agree, trial.open().rows_agree(run_id, rows))
    require_error("log_rows of others", StoreError, lambda: tracker.log_rows(run_id, others))
    tracker.discard_run(run_id)
    require("find_run after discard_run", None, trial.open().find_run(key))
    again = tracker.ensure_run(key, "export", {"seed": 1}, {})
    require("a run after discard_run has no rows", expected=True, found=tracker.rows_agree(again, []))
    require("log_rows after discard_run", len(_ROWS), tracker.log_rows(again, _ROWS))


def _check_records(trial: Trial) -> None:
    """Summary, pools and the stage's entry come back as they were."""
    tracker, (run_id, key) = trial.writer, trial.begin()
    pools = {"out/train/pool": ("1" * 32 + ".dir", "training"), "data/pool": ("2" * 64, "initial")}
    for _ in range(2):
        tracker.log_metrics(run_id, {"bundle/return_mean": 3.5, "parity": 0.0})
        for path, (digest, context) in pools.items():
            tracker.log_pool(run_id, path, digest, context=context)
        tracker.log_record(run_id, _RECORD)
    run = trial.run(key)
    found = {name: run.metrics.get(name) for name in ("bundle/return_mean", "parity")}
    require("metrics", {"bundle/return_mean": 3.5, "parity": 0.0}, found)
    require("datasets", {path: digest for path, (digest, _) in pools.items()}, run.datasets)
    require("record", _RECORD, trial.open().record(run_id))
    empty, _ = trial.begin()
    require_error("record of a run without one", StoreError, lambda: tracker.record(empty))


def _check_models(trial: Trial) -> None:
    """A bundle is logged once, and a damaged one not at all."""
    tracker, (run_id, key) = trial.writer, trial.begin()
    model_id = tracker.log_model(run_id, trial.bundles[0])
    require("log_model again: the id", model_id, trial.open().log_model(run_id, trial.bundles[0]))
    require("model_ids", (model_id,), trial.run(key).model_ids)
    other = tracker.log_model(run_id, trial.bundles[1])
    require("log_model of another bundle: ids", {model_id, other}, set(trial.run(key).model_ids))
    damaged = example_bundle(trial.folder / "damaged", 0.75)
    (damaged / "contract.json").write_text("{}")
    require_error("log_model of a damaged bundle", BundleError, lambda: tracker.log_model(run_id, damaged))


def _check_end(trial: Trial) -> None:
    """A run that failed may be finished later."""
    run_id, key = trial.begin()
    for is_complete, status in ((False, "FAILED"), (True, "FINISHED"), (True, "FINISHED")):
        trial.writer.finish_run(run_id, is_complete=is_complete)
        require("status after finish_run", status, trial.run(key).status)
