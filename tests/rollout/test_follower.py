"""The bundle of a source becomes active and is rolled back without an operator, while requests go on."""

import json
import shutil
import threading

import pytest
from follow_fixtures import name, stopping

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.errors import GateError, StoreError, StoreUnavailableError
from sacpipe.core.files import sha256_bytes
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout import follower as follower_module
from sacpipe.rollout import stored_policies as stored_module
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.follower import Follower
from sacpipe.rollout.sources import PathSource, ResolvedBundle, Source, read_source
from sacpipe.rollout.stored_policies import load_starting_policy
from sacpipe.server.__main__ import main
from sacpipe.server.service import Service

SETTINGS = FollowSettings.parse(FollowSettings.DEFAULT)
GATE = SETTINGS.gate
pytestmark = pytest.mark.usefixtures("load_gate_here")


@pytest.mark.slow
def test_a_promotion_and_a_rollback_in_the_registry_are_followed(following, named, bundles, capsys):
    digests = [bundle_digest(bundle) for bundle in bundles]
    with following() as robot:
        name(bundles[1], named)
        robot.until(lambda state: state.counts.get("accepted") == 1)
        assert robot.kinds == ["started", "noticed", "shadow", "watch", "accepted"]
        assert robot.ask()["parameters"]["bundle_sha256"] == digests[1]
        assert (robot.store.current().bundle_digest, robot.store.current().source) == (digests[1], str(named))
        name(bundles[0], named)
        robot.until(lambda state: state.counts.get("accepted") == 2)
        assert robot.ask()["outputs"][0]["data"] == [1.25, 2.5]
        assert robot.follower.status().source == str(named)
    said = capsys.readouterr().err
    assert (
        f"sacpipe: noticed: {named}, bundle {digests[1][:12]}: differs from the bundle in service\n" in said
    )
    assert f"sacpipe: accepted: {named}, bundle {digests[0][:12]}: watched for 0 s\n" in said


@pytest.mark.slow
def test_what_stops_a_robot_goes_back_and_is_not_taken_again(following, named, bundles, tmp_path):
    first, bundle = bundle_digest(bundles[0]), open_bundle(bundles[1])
    write_bundle(tmp_path / "stops", bundle.policy_onnx, stopping(bundle.contract), bundle.golden)
    bad = bundle_digest(tmp_path / "stops")
    with following(watch_s=60.0) as robot:
        robot.ask(sequence_id=1, sequence_start=True)
        name(tmp_path / "stops", named)
        robot.until(lambda state: state.phase == "watch")
        assert robot.follower.status().source == str(named)
        assert robot.ask(2.0, 0.0, 0.0, sequence_id=1)["parameters"]["verdict"] == "stopped"
        robot.until(lambda state: "rolled_back" in state.counts)
        assert robot.store.bad == {bad: "the robot was stopped"}
        assert robot.ask()["parameters"]["bundle_sha256"] == first
        robot.looked()
        assert robot.kinds[-2:] == ["rolled_back", "refused"]  # said once, however often it is looked
        assert (
            robot.follower.status().events[0].text.startswith("refused by the rule 'store': it is marked bad")
        )
    with following() as robot:
        assert robot.ask()["parameters"]["bundle_sha256"] == first
        robot.looked()
        assert robot.kinds == ["started", "noticed", "refused"]


def test_what_is_taken_back_before_it_serves_is_withdrawn(following, named, bundles):
    with following(min_shadow_steps=10**9) as robot:
        name(bundles[1], named)
        robot.until(lambda state: state.phase == "shadow" and state.divergence.steps > 0)
        assert robot.follower.status().candidate == bundle_digest(bundles[1])
        name(bundles[0], named)
        robot.until(lambda state: "withdrawn" in state.counts)
        assert robot.follower.status().phase == "idle"
        assert (dict(robot.store.bad), robot.service.metrics.swaps) == ({}, 0)
        name(bundles[1], named)
        robot.until(lambda state: state.phase == "shadow")


@pytest.mark.slow
def test_what_cannot_be_reached_or_is_refused_is_said_once_each(following, named, bundles, tmp_path):
    torn = shutil.copytree(bundles[1], tmp_path / "torn")
    (torn / "policy.onnx").write_bytes(b"torn")
    with following() as robot:
        robot.source.fault = StoreUnavailableError("MLflow at there does not answer.")
        robot.looked()
        assert (robot.kinds, robot.follower.status().is_reachable) == (["started", "unreachable"], False)
        name(torn, named)
        robot.source.fault = None
        robot.looked()
        robot.looked()
        assert robot.kinds[2:] == ["noticed", "reachable", "refused"]
        assert "refused by the rule 'digest': policy.onnx: " in robot.follower.status().events[0].text
        assert robot.ask()["outputs"][0]["data"] == [1.25, 2.5]
        shutil.copyfile(bundles[1] / "policy.onnx", torn / "policy.onnx")
        robot.until(lambda state: state.counts.get("accepted") == 1)  # what was refused is looked at again


def test_a_source_that_answers_something_else_failed_and_is_reachable(following, named):
    with following() as robot:
        robot.source.fault = StoreError("MLflow at there refuses: 403 not you.")
        robot.looked()
        assert (robot.kinds, robot.follower.status().is_reachable) == (["started", "failed"], True)
        assert robot.follower.status().events[-1].text == "in service since the start"


def test_what_cannot_be_pulled_is_asked_for_again_after_a_while(following, named, bundles, monkeypatch):
    pulls = []

    def fail(_):
        pulls.append(1)
        raise StoreError("MLflow at there refuses: 404 gone.")

    with following(retry_s=1e6) as robot:
        monkeypatch.setattr(ResolvedBundle, "pull", fail)
        name(bundles[1], named)
        robot.looked()
        robot.looked()
        assert (robot.kinds, len(pulls)) == (["started", "noticed", "failed"], 1)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["shadow", "watch"])
def test_a_bundle_that_is_no_longer_named_does_not_become_active(following, named, bundles, tmp_path, phase):
    torn = shutil.copytree(bundles[1], tmp_path / "torn")
    manifest = json.loads((torn / "manifest.json").read_bytes())
    (torn / "manifest.json").write_text(json.dumps(manifest))  # a third digest, and refused
    with following(**({"watch_s": 1e6} if phase == "watch" else {"shadow_s": 1e6})) as robot:
        name(bundles[1], named)
        robot.until(lambda state: state.phase == phase)
        name(torn, named)
        robot.until(lambda state: state.counts.get("refused") == 1)
        assert robot.kinds[-3:] == ["withdrawn", "noticed", "refused"]
        assert (
            f"the source names bundle {bundle_digest(torn)[:12]} now, {named}"
            in robot.follower.status().events[2].text
        )
        assert robot.ask()["parameters"]["bundle_sha256"] == bundle_digest(bundles[0])
        assert dict(robot.store.bad) == {}


class NoSource(Source):
    """A network that is not there."""

    def resolve(self):
        raise StoreUnavailableError("MLflow at there does not answer.")

    def bars(self, known):
        return self.resolve()


@pytest.fixture
def served(tmp_path, bundles):
    """A store in which both bundles served, the second one last."""
    with BundleStore(tmp_path / "store") as store:
        for bundle in bundles:
            files = read_source(bundle, allow_hard_links=False)
            store.set_current(store.add(run_load_gate(files, GATE, p99_us=1.0)), str(bundle))
        yield store


def test_where_the_last_one_passes_no_longer_the_one_before_serves_and_is_current(
    served, bundles, monkeypatch
):
    first, second = (bundle_digest(bundle) for bundle in bundles)

    def only_the_first(files, settings):
        if sha256_bytes(files["manifest.json"]) == second:
            raise GateError("not on this machine.", "golden")
        return run_load_gate(files, settings, p99_us=1.0)

    monkeypatch.setattr(stored_module, "run_load_gate_in_child", only_the_first)
    assert load_starting_policy(NoSource(), served, GATE).digest == first
    assert (served.current().bundle_digest, served.current().source) == (first, str(bundles[0]))


def test_a_stored_bundle_that_was_too_slow_once_is_checked_again(served, bundles, monkeypatch):
    slow = [1e9, 1.0]
    monkeypatch.setattr(
        stored_module,
        "run_load_gate_in_child",
        lambda files, settings: run_load_gate(files, settings, p99_us=slow.pop(0)),
    )
    assert load_starting_policy(NoSource(), served, GATE).digest == bundle_digest(bundles[1])


def test_a_bundle_that_passes_while_the_follower_ends_begins_no_rollout(
    served, bundles, tmp_path, monkeypatch
):
    service = Service(load_starting_policy(NoSource(), served, GATE))
    follower = Follower(PathSource(bundles[0], allow_hard_links=False), service, served, SETTINGS)

    def pass_at_the_end(files, settings):
        follower._is_ending.set()
        return run_load_gate(files, settings, p99_us=1.0)

    monkeypatch.setattr(follower_module, "run_load_gate_in_child", pass_at_the_end)
    follower._poll()
    assert (follower.status().phase, list(follower.status().counts)) == ("idle", ["noticed"])


@pytest.mark.slow
@pytest.mark.parametrize("what", ["bars", "names another", "refuses"])
def test_an_answer_that_comes_after_the_end_changes_nothing(following, named, bundles, tmp_path, what):
    has_begun, is_over, threads = threading.Event(), threading.Event(), []
    method = "bars" if what == "bars" else "resolve"
    first = PathSource(bundles[0], allow_hard_links=False)
    with following(watch_s=60.0) as robot:
        ask = getattr(robot.source, method)

        def answer_late(*arguments):
            threads.append(threading.current_thread())
            has_begun.set()
            assert is_over.wait(60)
            if what == "refuses":
                raise GateError("there: it is barred.", "store")
            return first.resolve() if what == "names another" else ask(*arguments)

        name(bundles[1], named)
        robot.until(lambda state: state.phase == "watch")
        setattr(robot.source, method, answer_late)
        assert has_begun.wait(60)
        robot.source.barred = {bundle_digest(bundles[1]): "it shook"}
    before = sorted(path.name for path in (tmp_path / "store").iterdir())
    is_over.set()
    threads[0].join(60)
    assert not threads[0].is_alive()
    assert robot.service.policy.digest == bundle_digest(bundles[1])
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == before


def test_a_bundle_of_another_task_is_refused(following, named, bundles, tmp_path):
    bundle = open_bundle(bundles[1])
    other = bundle.contract.replace(spec=bundle.contract.spec.as_tree() | {"task": "example/Push-v0"})
    write_bundle(tmp_path / "push", bundle.policy_onnx, other, bundle.golden)
    with following() as robot:
        name(tmp_path / "push", named)
        robot.until(lambda state: "refused" in state.counts)
        assert "found one of example/Push-v0" in robot.follower.status().events[0].text
        assert not robot.store.path(bundle_digest(tmp_path / "push")).exists()


@pytest.mark.parametrize("option", ["--follow", "--store=there"])
def test_a_robot_that_follows_has_a_store_and_no_other_has(bundles, capsys, option):
    assert main([str(bundles[0]), option]) == 2
    assert "--follow, --store: expected both or none" in capsys.readouterr().err


def test_offline_the_last_good_one_serves_and_a_damaged_one_does_not(following, named, bundles, capsys):
    with following() as robot:
        kept = robot.store.path(bundle_digest(bundles[0]))
    named.unlink()
    with following() as robot:
        robot.looked()
        assert robot.ask()["outputs"][0]["data"] == [1.25, 2.5]
        assert robot.kinds == ["started", "refused"]
    (kept / "policy.onnx").write_bytes(b"")
    with pytest.raises(GateError, match="expected a bundle's folder or a tar file, found none"), following():
        pass
