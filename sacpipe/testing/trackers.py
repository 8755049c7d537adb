"""The contract tests of a tracker and its registry: run both on a member before you record a run with it.

Each rule is read by another object than the one that wrote, as another process would. Stage keys and names
are new ones in each test, so that the store may hold other records.
"""

import contextlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from sacpipe.bundle.files import bundle_digest, read_files
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError, ContractError, SacpipeError, StoreError
from sacpipe.core.files import sha256_bytes, sha256_file
from sacpipe.rollout.registries import Address
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.tracking.registry import Registry, VersionRecord
from sacpipe.tracking.tracker import COMMAND_TAG, COMMIT_TAG, Run, Tracker, TrackerConfig

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
    with _trial(config, variables) as trial:
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
    with _trial(config, variables) as trial:
        _check_versions(trial)
        _check_aliases(trial)
        _check_bundles(trial)
        _check_source(trial)


@contextlib.contextmanager
def _trial(config: TrackerConfig, variables: Mapping[str, str] | None) -> Iterator["_Trial"]:
    """Open a tracker in a new folder, and put its name before what is wrong with it, its own errors too."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield _Trial(config, Path(folder), variables or {})
    except (ContractError, StoreError, BundleError) as exc:
        raise ContractError(f"tracker '{config.name}': {exc}") from exc


class _Trial:
    """One store, whose trackers are opened again for every look, and two bundles."""

    def __init__(self, config: TrackerConfig, folder: Path, variables: Mapping[str, str]) -> None:
        self.config, self.state, self.variables = config, folder / "state", dict(variables)
        self.bundles = [example_bundle(folder / f"bundle-{gain}", gain) for gain in (0.5, 0.25)]
        self.folder = folder
        self.name = f"a policy.v1 {secrets.token_hex(4)}"
        self.writer = self.open()

    def open(self) -> Tracker:
        """Open the tracker again."""
        return self.config.open_tracker(self.state, self.variables)

    @property
    def reader(self) -> Registry:
        """The registry as another object reads it."""
        return self.open().registry

    def run(self, key: str) -> Run:
        """Return a run, read by another object."""
        found = self.open().find_run(key)
        if found is None:
            raise ContractError(f"find_run: expected the run of {key[:8]} after ensure_run, found none.")
        return found

    def begin(self) -> tuple[str, str]:
        """Begin a run of a new stage key; return its id and the key."""
        key = sha256_bytes(secrets.token_bytes(8))
        return self.writer.ensure_run(key, "export", {"seed": 1}, {}), key

    def register(self, number: int) -> VersionRecord:
        """Register one of the bundles."""
        run_id, _ = self.begin()
        bundle = self.bundles[number]
        model_id = self.writer.log_model(run_id, bundle)
        return self.writer.registry.register(
            self.name, model_id, run_id, bundle_digest(bundle), {"note": f"of {number}"}
        )


def _require(what: str, expected: object, found: object) -> None:
    if found != expected:
        raise ContractError(f"{what}: expected {expected!r:.300}, found {found!r:.300}.")


def _require_error(what: str, kind: type[SacpipeError], call: Callable[[], object]) -> None:
    try:
        call()
    except kind:
        return
    raise ContractError(f"{what}: expected a {kind.__name__}, found none.")


def _check_identity(trial: _Trial) -> None:
    """One run for each key, with all parameters and tags."""
    tracker, key = trial.writer, sha256_bytes(secrets.token_bytes(8))
    _require("describe: a text", expected=True, found=bool(tracker.describe()))
    tracker.check()
    _require("find_run of an unknown key", None, trial.open().find_run(key))
    tags = {COMMIT_TAG: "a" * 40, COMMAND_TAG: "python -m train", "sacpipe.out.out/a": "1"}
    run_id = tracker.ensure_run(key, "train", _PARAMS, tags)
    run = trial.run(key)
    _require("find_run", (run_id, key, "train"), (run.run_id, run.stage_key, run.stage))
    _require("status of a new run", "RUNNING", run.status)
    shown = tracker.shown_params(_PARAMS)
    _require("shown_params: a name for each parameter", len(_PARAMS), len(shown))
    _require("shown_params: a text for each value", ("1", "Arm-v0"), (shown["seed"], shown["task.id"]))
    _require("params of the run", shown, run.params)
    _require("tags of the run", tags, {name: run.tags.get(name) for name in tags})
    again = trial.open().ensure_run(key, "train", _PARAMS, {COMMIT_TAG: "b" * 40})
    _require("ensure_run again: the id", run_id, again)
    tags[COMMIT_TAG] = "b" * 40
    run = trial.run(key)
    _require("ensure_run again: tags", tags, {name: run.tags.get(name) for name in tags})
    other, _ = trial.begin()
    _require("another key: another run", expected=True, found=other != run_id)


def _check_rows(trial: _Trial) -> None:
    """Rows are appended once, and other rows are refused."""
    tracker, (run_id, key) = trial.writer, trial.begin()
    _require("log_rows: the number of new rows", 2, tracker.log_rows(run_id, _ROWS[:2]))
    _require("log_rows again", 0, trial.open().log_rows(run_id, _ROWS[:2]))
    _require("log_rows of more", 2, trial.open().log_rows(run_id, _ROWS))
    others = [*_ROWS[:1], {**_ROWS[1], "loss": 9.0}, *_ROWS[2:]]
    for rows, agree in ((_ROWS, True), ([*_ROWS, *_ROWS], True), (others, False), (_ROWS[:3], False)):
        _require("rows_agree", agree, trial.open().rows_agree(run_id, rows))
    _require_error("log_rows of others", StoreError, lambda: tracker.log_rows(run_id, others))
    tracker.discard_run(run_id)
    _require("find_run after discard_run", None, trial.open().find_run(key))
    again = tracker.ensure_run(key, "export", {"seed": 1}, {})
    _require("a run after discard_run has no rows", expected=True, found=tracker.rows_agree(again, []))
    _require("log_rows after discard_run", len(_ROWS), tracker.log_rows(again, _ROWS))


def _check_records(trial: _Trial) -> None:
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
    _require("metrics", {"bundle/return_mean": 3.5, "parity": 0.0}, found)
    _require("datasets", {path: digest for path, (digest, _) in pools.items()}, run.datasets)
    _require("record", _RECORD, trial.open().record(run_id))
    empty, _ = trial.begin()
    _require_error("record of a run without one", StoreError, lambda: tracker.record(empty))


def _check_models(trial: _Trial) -> None:
    """A bundle is logged once, and a damaged one not at all."""
    tracker, (run_id, key) = trial.writer, trial.begin()
    model_id = tracker.log_model(run_id, trial.bundles[0])
    _require("log_model again: the id", model_id, trial.open().log_model(run_id, trial.bundles[0]))
    _require("model_ids", (model_id,), trial.run(key).model_ids)
    other = tracker.log_model(run_id, trial.bundles[1])
    _require("log_model of another bundle: ids", {model_id, other}, set(trial.run(key).model_ids))
    damaged = example_bundle(trial.folder / "damaged", 0.75)
    (damaged / "contract.json").write_text("{}")
    _require_error("log_model of a damaged bundle", BundleError, lambda: tracker.log_model(run_id, damaged))


def _check_end(trial: _Trial) -> None:
    """A run that failed may be finished later."""
    run_id, key = trial.begin()
    for is_complete, status in ((False, "FAILED"), (True, "FINISHED"), (True, "FINISHED")):
        trial.writer.finish_run(run_id, is_complete=is_complete)
        _require("status after finish_run", status, trial.run(key).status)


def _check_versions(trial: _Trial) -> None:
    """Each bundle has one version, with its tags."""
    registry = trial.writer.registry
    _require("versions of an unknown name", [], registry.versions(trial.name))
    _require("alias of an unknown name", None, registry.alias(trial.name, "champion"))
    _require_error("version of an unknown name", StoreError, lambda: registry.version(trial.name, 1))
    made = [trial.register(0), trial.register(1), trial.register(0)]
    _require("register: one version for each bundle", [1, 2, 1], [one.version for one in made])
    found = trial.reader.versions(trial.name)
    _require("versions", [1, 2], [one.version for one in found])
    for record, bundle, number in zip(found, trial.bundles, (0, 1), strict=True):
        _require("bundle_digest", bundle_digest(bundle), record.bundle_digest)
        _require("tags", f"of {number}", record.tags.get("note"))
        _require(
            "run_id and model_id",
            (made[number].run_id, made[number].model_id),
            (record.run_id, record.model_id),
        )
        _require("aliases of a new version", (), record.aliases)
    registry.set_version_tags(trial.name, 1, {"verdict": "accepted"})
    tags = trial.reader.version(trial.name, 1).tags
    _require("tags after set_version_tags", ("accepted", "of 0"), (tags.get("verdict"), tags.get("note")))
    _require_error("an unknown version", StoreError, lambda: registry.version(trial.name, 7))
    _require("versions of another name", [], registry.versions(f"{trial.name}x"))


def _check_aliases(trial: _Trial) -> None:
    """An alias names one version, and moves."""
    registry, name = trial.writer.registry, trial.name
    for version in (1, 2, 1):
        registry.set_alias(name, "champion", version)
        _require("version of a moved alias", version, trial.reader.version(name, "champion").version)
        holders = [one.version for one in trial.reader.versions(name) if "champion" in one.aliases]
        _require("versions with the alias", [version], holders)
    registry.set_alias(name, "candidate", 1)
    _require("two aliases", ("candidate", "champion"), trial.reader.version(name, 1).aliases)
    _require_error("an alias of no version", StoreError, lambda: registry.set_alias(name, "champion", 9))
    _require("the alias after that", 1, trial.reader.version(name, "champion").version)
    registry.delete_alias(name, "candidate")
    _require("aliases after delete_alias", ("champion",), trial.reader.version(name, 1).aliases)
    _require("alias after delete_alias", None, trial.reader.alias(name, "candidate"))


def _check_bundles(trial: _Trial) -> None:
    """The registered bytes come back, and the alias's policy acts as the bundle does."""
    name, bundle = trial.name, trial.bundles[0]
    fetched, policy_sha256 = trial.reader.download(trial.reader.version(name, 1), trial.folder / "down")
    _require("download: the bundle's files", read_files(bundle), read_files(fetched))
    _require("download: the SHA-256 of the policy", sha256_file(bundle / "policy.onnx"), policy_sha256)
    found = trial.reader.fetch_bundle(name, "champion", trial.folder / "fetched")
    _require("fetch_bundle", bundle_digest(bundle), found.digest)
    error = trial.reader.smoke_load(name, "champion", open_bundle(bundle))
    _require("smoke_load: a small difference", expected=True, found=0.0 <= error < 1e-5)
    other = open_bundle(trial.bundles[1])
    try:
        trial.reader.smoke_load(name, "champion", other)
    except (StoreError, BundleError):
        return
    raise ContractError("smoke_load with another bundle: expected a StoreError or a BundleError, found none.")


def _check_source(trial: _Trial) -> None:
    """A reader that follows an alias is given the version that it names at each look."""
    registry, name = trial.writer.registry, trial.name
    source = trial.config.source(Address(name, "champion", is_alias=True), trial.state, trial.variables)
    first = source.resolve()
    registry.set_alias(name, "champion", 2)
    second = source.resolve()
    for resolved, bundle in ((first, trial.bundles[0]), (second, trial.bundles[1])):
        _require("source: the digest", bundle_digest(bundle), resolved.digest)
        _require("source: the bundle's files", read_files(bundle), resolved.pull())
    numbered = trial.config.source(Address(name, "1", is_alias=False), trial.state, trial.variables)
    _require("source of a version", first.digest, numbered.resolve().digest)
    unknown = trial.config.source(Address(name, "nobody", is_alias=True), trial.state, trial.variables)
    _require_error("source of an unknown alias", StoreError, unknown.resolve)
