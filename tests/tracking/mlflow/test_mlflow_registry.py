"""Versions and aliases: a bundle has one version, and an alias is where it was put."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sacpipe.bundle.files import bundle_digest, read_files
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import BundleError, StoreError
from sacpipe.core.files import sha256_file
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger
from sacpipe.tracking.mlflow.registry import MlflowRegistry
from sacpipe.tracking.registry import VersionRecord

Register = Callable[[Path], VersionRecord]


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A registered name of one's own."""
    return f"Reach-{tmp_path.name}"


@pytest.fixture
def ledger(store: MlflowConnection) -> MlflowLedger:
    return MlflowLedger(store)


@pytest.fixture
def registry(ledger: MlflowLedger) -> MlflowRegistry:
    return ledger.registry


@pytest.fixture
def register(ledger: MlflowLedger, name: str) -> Register:
    run_id = ledger.ensure_run("ab" * 32, "export", {}, {})

    def register_folder(folder: Path) -> VersionRecord:
        model_id = ledger.log_model(run_id, folder)
        return ledger.registry.register(name, model_id, run_id, bundle_digest(folder), {"a": "1"})

    return register_folder


def test_an_unknown_policy_has_no_versions_and_no_aliases(registry: MlflowRegistry) -> None:
    assert registry.versions("missing") == []
    assert registry.alias("missing", "champion") is None
    with pytest.raises(StoreError, match="'missing' has no version or alias '1'; it has none"):
        registry.version("missing", 1)


def test_a_bundle_has_one_version(
    registry: MlflowRegistry, register: Register, name: str, bundle: Callable[[float], Path]
) -> None:
    first, again, second = register(bundle(1.0)), register(bundle(1.0)), register(bundle(2.0))
    assert first == again
    assert (first.version, second.version) == (1, 2)
    assert registry.versions(name) == [first, second]
    assert first.bundle_digest == bundle_digest(bundle(1.0))
    assert first.tags["a"] == "1"


def test_an_alias_moves_and_goes(
    registry: MlflowRegistry, register: Register, name: str, bundle: Callable[[float], Path]
) -> None:
    register(bundle(1.0))
    register(bundle(2.0))
    for number in (1, 2, 1):
        registry.set_alias(name, "champion", number)
        found = registry.alias(name, "champion")
        assert found is not None
        assert (found.version, found.aliases) == (number, ("champion",))
    assert registry.version(name, "champion") == registry.version(name, 1) == registry.version(name, "1")
    with pytest.raises(StoreError, match="has no version or alias 'challenger'; it has 1/champion, 2"):
        registry.version(name, "challenger")
    with pytest.raises(StoreError):
        registry.set_alias(name, "champion", 7)
    assert registry.version(name, "champion").version == 1
    registry.delete_alias(name, "champion")
    assert registry.alias(name, "champion") is None


def test_a_verdict_can_be_written_on_a_version(
    registry: MlflowRegistry, register: Register, name: str, bundle: Callable[[float], Path]
) -> None:
    register(bundle(1.0))
    registry.set_version_tags(name, 1, {"sacpipe.verdict": "accepted", "a": "2"})
    tags = registry.version(name, 1).tags
    assert (tags["sacpipe.verdict"], tags["a"]) == ("accepted", "2")


def test_a_fetched_bundle_is_the_one_that_was_registered(
    registry: MlflowRegistry, register: Register, name: str, bundle: Callable[[float], Path], tmp_path: Path
) -> None:
    register(bundle(1.0))
    registry.set_alias(name, "champion", 1)
    fetched = registry.fetch_bundle(name, "champion", tmp_path / "fetched")
    assert fetched.digest == bundle_digest(tmp_path / "fetched") == bundle_digest(bundle(1.0))


def test_a_bundle_that_was_changed_or_exchanged_is_refused(
    registry: MlflowRegistry, register: Register, name: str, bundle: Callable[[float], Path], tmp_path: Path
) -> None:
    register(bundle(1.0))
    (stored,) = (tmp_path / "artifacts").rglob("bundle")
    shutil.rmtree(stored)
    shutil.copytree(bundle(2.0), stored)
    with pytest.raises(StoreError, match="Its artifacts were changed"):
        registry.fetch_bundle(name, 1, tmp_path / "fetched")
    (stored / "golden.npz").write_bytes(b"")
    with pytest.raises(BundleError):
        registry.fetch_bundle(name, 1, tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_an_alias_is_loaded_and_must_act_like_its_bundle(
    registry: MlflowRegistry, register: Register, name: str, bundle: Callable[[float], Path]
) -> None:
    register(bundle(1.0))
    registry.set_alias(name, "champion", 1)
    assert registry.smoke_load(name, "champion", open_bundle(bundle(1.0))) <= 1e-5
    # 0.5 and 3.0 under gain 1, 1.0 and 3.0 under gain 2: half a newton of a range of five.
    with pytest.raises(StoreError, match=r"within 1e-05 of their range, found 0\.1"):
        registry.smoke_load(name, "champion", open_bundle(bundle(2.0)))
    with pytest.raises(StoreError):
        registry.smoke_load(name, "missing", open_bundle(bundle(1.0)))


DAMAGES = {
    "a flipped byte": lambda folder: flip(folder / "bundle" / "golden.npz"),
    "a flipped byte of the served policy": lambda folder: flip(folder / "model.onnx"),
    "a missing file": lambda folder: (folder / "bundle" / "contract.json").unlink(),
    "a missing policy": lambda folder: (folder / "model.onnx").unlink(),
    "a missing model file": lambda folder: (folder / "MLmodel").unlink(),
    "a missing bundle": lambda folder: shutil.rmtree(folder / "bundle"),
    "another file": lambda folder: (folder / "bundle" / "surprise.py").write_text("1"),
    "nothing": shutil.rmtree,
}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name_of_damage", DAMAGES)
def test_damaged_files_are_restored_and_number_and_id_stay(
    registry: MlflowRegistry,
    register: Register,
    name: str,
    bundle: Callable[[float], Path],
    tmp_path: Path,
    name_of_damage: str,
) -> None:
    record = register(bundle(1.0))
    registry.set_alias(name, "champion", 1)
    (stored,) = {path.parent for path in (tmp_path / "artifacts").rglob("MLmodel")}
    DAMAGES[name_of_damage](stored)
    registry.restore_files(record, bundle(1.0))
    fetched, policy_sha256 = registry.download(record, tmp_path / "fetched")
    assert read_files(fetched) == read_files(bundle(1.0))
    assert policy_sha256 == sha256_file(bundle(1.0) / "policy.onnx")
    assert registry.smoke_load(name, "champion", open_bundle(bundle(1.0))) <= 1e-5
    again = registry.version(name, 1)
    assert (again.version, again.model_id, again.run_id) == (1, record.model_id, record.run_id)


def test_mlflow_gives_no_number_again_and_says_which_is_next(
    registry: MlflowRegistry, register: Register, name: str, bundle: Callable[[float], Path]
) -> None:
    record = register(bundle(1.0))
    registry.delete_version(name, 1)
    assert registry.versions(name) == []
    again = (name, record.model_id, record.run_id, record.bundle_digest, {})
    with pytest.raises(StoreError, match="MLflow can no longer give the number 1: its next version is 3,"):
        registry.register(*again, number=1)
    assert registry.versions(name) == []
    assert registry.register(*again, number=3).version == 3
    other = register(bundle(2.0))
    with pytest.raises(StoreError, match=f"found it as version {other.version}"):
        registry.register(
            name, other.model_id, other.run_id, other.bundle_digest, {}, number=other.version + 1
        )


def test_a_place_holder_of_a_killed_process_is_no_version_and_goes(
    store: MlflowConnection,
    registry: MlflowRegistry,
    register: Register,
    name: str,
    bundle: Callable[[float], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = register(bundle(1.0))
    registry.delete_version(name, 1)
    with monkeypatch.context() as killed:
        killed.setattr(MlflowRegistry, "_delete", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            registry.register(name, record.model_id, record.run_id, record.bundle_digest, {}, number=4)
    assert registry.versions(name) == []
    with monkeypatch.context() as killed:
        killed.setattr(store.client, "delete_model_version_tag", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            registry.register(name, record.model_id, record.run_id, record.bundle_digest, {}, number=4)
    assert registry.versions(name) == []
    made = registry.register(name, record.model_id, record.run_id, record.bundle_digest, {}, number=4)
    assert made.version == 4
    left = store.client.search_model_versions(f"name = '{name}'")
    assert [int(item.version) for item in left] == [4]
