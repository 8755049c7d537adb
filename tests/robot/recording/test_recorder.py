"""What a loop saw becomes transitions, worked out by hand; and nothing of it ever holds a step up."""

import shutil
import threading

import numpy as np
import pytest
from bundle_factories import make_bundle, make_spec, term_tree
from guard_factories import make_settings
from onnx import TensorProto, helper, numpy_helper

from sacpipe.bundle.contract import contract_sha256
from sacpipe.core.errors import BusyError, ConfigError
from sacpipe.core.files import canonical_json
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.recording import recorder as recorder_module
from sacpipe.robot.recording.folder import RecorderSettings, RecordingsFolder
from sacpipe.robot.recording.format import NO_CAUSE, Recording, transition_bytes
from sacpipe.robot.recording.recorder import Recorder
from sacpipe.robot.runtime import Runtime

SETTINGS = RecorderSettings(
    max_bytes=1 << 20, recording_transitions=1000, segment_transitions=100, flush_s=0.001
)


class Loop:
    """A runtime, its recorder and a clock that goes on by a millisecond a step."""

    def __init__(self, bundle, folder, settings=SETTINGS, **guards):
        """`guards`: changed thresholds by guard."""
        self.now_ns = 10**9
        own = make_settings({"deadline_missed": {"deadline_periods": 1e6}} | guards)
        self.runtime = Runtime(OnnxPolicy(bundle), settings=own, clock_ns=lambda: self.now_ns)
        self.folder = folder
        self.recorder = Recorder(self.runtime, folder, settings)

    def step(self, *observation, **outcome):
        self.now_ns += 1_000_000
        decision = self.runtime.step(np.array(observation, np.float32), self.now_ns)
        if outcome:
            self.recorder.outcome(**outcome)
        return decision

    def end(self, *observation, **flags):
        self.now_ns += 1_000_000
        flags = {"terminated": False, "truncated": False} | flags
        self.recorder.end_episode(np.array(observation, np.float32), self.now_ns, **flags)
        self.runtime.begin_episode()

    def recorded(self):
        """Close, check every byte, and return the one recording with its transitions and steps."""
        self.recorder.close()
        (path,) = self.folder.glob("recording-*")
        recording = Recording.open(path)
        recording.check()
        pool = recording.pool
        return recording, Transitions.joined(pool.read(entry) for entry in pool.segments), recording.steps()


@pytest.fixture
def loop(bundles, tmp_path):
    loop = Loop(bundles[0], tmp_path / "seen")
    yield loop
    if loop.recorder._thread.is_alive():
        loop.recorder.close()


def test_two_observations_that_follow_each_other_make_a_transition(loop):
    """At (x, 0, 0) the actions are x + 1 of [-2, 3] and 2 (x + 1) of [-4, 4]."""
    loop.step(0.0, 0.0, 0.0, reward=1.5)
    loop.step(0.5, 0.0, 0.25, reward=-2.0)
    loop.end(1.0, 0.0, 0.0, terminated=True)
    loop.step(-1.0, 0.0, 0.0, reward=0.5)
    loop.end(0.0, 0.0, 9.0, truncated=True)
    recording, seen, steps = loop.recorded()
    assert seen.observations.vector.tolist() == [[0.0, 0.0, 0.0], [0.5, 0.0, 0.25], [-1.0, 0.0, 0.0]]
    assert seen.next_observations.vector.tolist() == [[0.5, 0.0, 0.25], [1.0, 0.0, 0.0], [0.0, 0.0, 9.0]]
    np.testing.assert_allclose(seen.actions, [[0.2, 0.5], [0.4, 0.75], [-0.2, 0.0]], rtol=1e-6)
    assert (
        steps["executed_action"].tolist()
        == steps["policy_action"].tolist()
        == [[1.0, 2.0], [1.5, 3.0], [0.0, 0.0]]
    )
    assert seen.rewards.tolist() == [1.5, -2.0, 0.5]
    assert steps["has_reward"].all()
    assert seen.terminations.tolist() == [0.0, 1.0, 0.0]
    assert seen.truncations.tolist() == [0.0, 0.0, 1.0]
    assert seen.episode_ids.tolist() == [0, 0, 1]
    assert np.diff(steps["stamp_ns"]).tolist() == [1_000_000, 2_000_000]
    (policy,) = recording.header.policies
    assert policy.bundle_sha256 == loop.runtime.policy.digest
    assert policy.contract_sha256 == contract_sha256(loop.runtime.policy.contract)


def test_a_robot_without_a_reward_says_so(loop):
    loop.step(0.0, 0.0, 0.0)
    loop.step(0.5, 0.0, 0.0, reward=3.0)
    loop.step(0.0, 0.0, 0.0)
    _, seen, steps = loop.recorded()
    assert seen.rewards.tolist() == [0.0, 3.0]
    assert steps["has_reward"].tolist() == [0, 1]


@pytest.mark.parametrize("bad", ["nan", "late", "repeated"])
def test_an_observation_that_was_refused_leaves_a_gap(loop, bad):
    loop.step(0.0, 0.0, 0.0)
    loop.step(0.5, 0.0, 0.0)
    if bad == "nan":
        assert loop.step(np.nan, 0.0, 0.0).verdict == "fallback"
    else:
        stamp_ns = loop.now_ns
        loop.now_ns += {"late": 10**9, "repeated": 0}[bad]
        shown = np.array([7.0, 0.0, 0.0], np.float32)
        assert loop.runtime.step(shown, stamp_ns + (bad == "late")).verdict == "fallback"
    loop.step(0.25, 0.0, 0.0)
    loop.step(0.75, 0.0, 0.0)
    _, seen, _ = loop.recorded()
    assert seen.observations.vector[:, 0].tolist() == [0.0, 0.25]
    assert seen.next_observations.vector[:, 0].tolist() == [0.5, 0.75]
    assert seen.episode_ids.tolist() == [0, 1]
    assert not seen.terminations.any()
    assert not seen.truncations.any()
    assert loop.recorder.status.gaps == 1


def test_what_was_asked_and_what_was_executed_are_both_kept(bundles, tmp_path):
    loop = Loop(bundles[0], tmp_path / "seen", action_change={"max_change": 0.1})
    loop.step(0.0, 0.0, 0.0)
    limited = loop.step(1.0, 0.0, 0.0)
    loop.step(1.0, 0.0, 0.0, executed_action=np.array([-2.0, 4.0], np.float32))
    loop.end(0.0, 0.0, 0.0)
    recording, seen, steps = loop.recorded()
    assert limited.verdict == "limited"
    np.testing.assert_allclose(steps["policy_action"], [[1.0, 2.0], [2.0, 4.0], [2.0, 4.0]])
    np.testing.assert_allclose(steps["executed_action"], [[1.0, 2.0], [1.5, 2.8], [-2.0, 4.0]], rtol=1e-6)
    assert seen.actions[2].tolist() == [-1.0, 1.0]
    assert (recording.header.verdicts, recording.header.causes) == (("ok", "limited"), ("action_change",))
    assert steps["verdict"].tolist() == [0, 1, 1]
    assert steps["cause"].tolist() == [NO_CAUSE, 0, 0]


def test_what_no_pool_may_hold_leaves_a_gap_and_nothing_worse(loop):
    for executed_action in ([9.0, 0.0], [np.nan, 0.0], [1.0], "one", {"elbow": 1.0}):
        loop.step(0.0, 0.0, 0.0, executed_action=executed_action)
    for reward in (float("inf"), float("nan"), 1e39):
        loop.step(0.0, 0.0, 0.0, reward=reward)
    loop.step(0.125, 0.0, 0.0)
    loop.end(7.0)
    loop.recorder.end_episode({"position": 1.0}, loop.now_ns, terminated=True, truncated=False)
    loop.step(0.25, 0.0, 0.0)
    loop.step(0.5, 0.0, 0.0)
    _, seen, _ = loop.recorded()
    assert seen.observations.vector[:, 0].tolist() == [0.25]


def test_what_a_robot_gives_is_copied(loop):
    mine = np.array([1.0, 2.0], np.float32)
    loop.step(0.0, 0.0, 0.0, executed_action=mine)
    mine[:] = 0.0
    loop.step(0.0, 0.0, 0.0)
    _, _, steps = loop.recorded()
    assert steps["executed_action"][0].tolist() == [1.0, 2.0]


def test_every_policy_that_acted_is_named(loop, bundles):
    loop.step(0.0, 0.0, 0.0)
    loop.runtime.swap(OnnxPolicy(bundles[1]))
    loop.step(0.0, 0.0, 0.0)
    loop.step(0.0, 0.0, 0.0)
    recording, _, steps = loop.recorded()
    assert steps["policy"].tolist() == [0, 1]
    digests = [policy.bundle_sha256 for policy in recording.header.policies]
    assert digests == [OnnxPolicy(bundle).digest for bundle in bundles]


def test_an_episode_never_runs_on_into_another(loop):
    loop.step(0.0, 0.0, 0.0)
    loop.step(0.5, 0.0, 0.0)
    loop.runtime.begin_episode()
    loop.step(-1.0, 0.0, 0.0)
    loop.step(-0.5, 0.0, 0.0)
    _, seen, _ = loop.recorded()
    assert seen.next_observations.vector[:, 0].tolist() == [0.5, -0.5]
    assert seen.episode_ids.tolist() == [0, 1]


def test_a_disk_that_hangs_holds_no_step_up(bundles, tmp_path, monkeypatch):
    monkeypatch.setattr(recorder_module, "_MAX_WAITING", 6)
    hanging, begin = threading.Event(), RecordingsFolder.begin
    monkeypatch.setattr(
        RecordingsFolder, "begin", lambda folder, **kind: (hanging.wait(), begin(folder, **kind))[1]
    )
    loop = Loop(bundles[0], tmp_path / "seen")
    for x in range(6):
        loop.step(x / 10, 0.0, 0.0, reward=1.0)
    assert loop.recorder.status.dropped == 3
    assert loop.recorder._waiting.qsize() == 6
    hanging.set()
    recording, seen, _ = loop.recorded()
    assert (len(seen), recording.header.dropped) == (2, 3)


def test_a_disk_that_fails_ends_the_recording_and_nothing_else(loop):
    loop.step(0.0, 0.0, 0.0)
    loop.step(0.1, 0.0, 0.0)
    while not loop.recorder.status.transitions:
        pass
    loop.folder.rename(loop.folder.with_name("gone"))
    while loop.recorder.status.failure is None:
        assert loop.step(0.2, 0.0, 0.0).verdict == "ok"
    assert loop.step(0.3, 0.0, 0.0).verdict == "ok"
    loop.recorder.close()
    assert "cannot write" in loop.recorder.status.failure


def test_the_oldest_recordings_go_when_the_budget_is_used_up(bundles, tmp_path):
    spec = OnnxPolicy(bundles[0]).contract.spec
    headers = (1 << 16) + 4 * len(canonical_json(spec.as_tree()))
    one = headers + (1 << 11) * 3 + transition_bytes(spec) * 15
    settings = SETTINGS.replace(max_bytes=one + 24_000, recording_transitions=10, segment_transitions=5)
    loop = Loop(bundles[0], tmp_path / "seen", settings)
    for x in range(45):
        loop.step(x / 100, 0.0, 0.0)
    loop.recorder.close()
    assert loop.recorder.status.recordings == 5
    kept = sorted(loop.folder.glob("recording-*"))
    assert kept[-1].name == "recording-000005"
    assert 1 < len(kept) < 5
    sizes = [file.stat().st_size for path in kept for file in path.rglob("*") if file.is_file()]
    assert sum(sizes) < settings.max_bytes
    seen = [Recording.open(path).pool for path in kept]
    assert [pool.transitions for pool in seen] == [10] * (len(kept) - 1) + [4]
    # An episode that runs on from one recording into the next loses no step.
    firsts = [pool.read(pool.segments[0]).observations.vector[0, 0] for pool in seen]
    lasts = [pool.read(pool.segments[-1]).next_observations.vector[-1, 0] for pool in seen]
    assert firsts[1:] == lasts[:-1]


def test_what_is_no_recording_is_left_alone_and_what_holds_nothing_goes(loop, bundles):
    loop.recorder.close()
    assert list(loop.folder.glob("recording-*")) == []
    (loop.folder / "recording-000001").mkdir()  # killed before it had a header
    (loop.folder / "recording-000007-keep").mkdir()
    again = Loop(bundles[0], loop.folder)
    again.step(0.0, 0.0, 0.0)
    again.step(0.0, 0.0, 0.0)
    again.recorder.close()
    kept = sorted(path.name for path in loop.folder.glob("recording-*"))
    assert kept == ["recording-000001", "recording-000007-keep"]
    assert Recording.open(loop.folder / kept[0]).check().transitions == 1


def test_a_budget_too_small_for_one_recording_is_refused(bundles, tmp_path):
    with pytest.raises(ConfigError, match=r"max_bytes: expected at least \d+, .*found 1000"):
        Loop(bundles[0], tmp_path / "seen", SETTINGS.replace(max_bytes=1000))


def test_a_folder_has_one_recorder(loop, bundles):
    with pytest.raises(BusyError, match="another recorder has it"):
        Loop(bundles[0], loop.folder)


def test_what_a_kill_left_open_is_closed_by_the_next(loop, bundles):
    for x in range(4):
        loop.step(x / 10, 0.0, 0.0)
    first = loop.folder / "recording-000001"
    loop.recorder.close()
    killed = loop.folder / "recording-000002"
    shutil.copytree(first, killed)
    header = killed / "recording.json"
    seal = header.read_text().index('"seal"')
    end = header.read_text().index("}", seal) + 1
    header.write_text(header.read_text()[:seal] + '"seal": null' + header.read_text()[end:])
    again = Loop(bundles[0], loop.folder)
    again.recorder.close()
    assert Recording.open(killed).check().transitions == 3
    assert sorted(path.name for path in loop.folder.glob("recording-*")) == [first.name, killed.name]


class TestTerms:
    """A robot with a camera, whose terms have stamps of their own."""

    @pytest.fixture
    def loop(self, tmp_path):
        spec = make_spec(
            observation=[term_tree("state", 1), term_tree("camera", 2, 2, 3, dtype="uint8")],
            bounds=((-9.0, 9.0),),
        )
        camera = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
        golden = {"state": np.float32([[0.5]]), "camera": camera}
        folder = make_bundle(tmp_path / "seeing", make_seeing_onnx(), spec, golden, [[0.5]])
        loop = Loop(folder, tmp_path / "seen")
        yield loop
        if loop.recorder._thread.is_alive():
            loop.recorder.close()

    def step(self, loop, x, camera_age_ns=None):
        loop.now_ns += 1_000_000
        terms = {"state": np.float32([x]), "camera": np.full((2, 2, 3), round(10 * x), np.uint8)}
        stamps = loop.now_ns
        if camera_age_ns is not None:
            stamps = {"state": loop.now_ns, "camera": loop.now_ns - camera_age_ns}
        assert loop.runtime.step(terms, stamps).verdict == "ok"
        return terms

    def test_images_are_recorded(self, loop):
        for x in (0.1, 0.2):
            self.step(loop, x)
        last = {"state": np.float32([0.3]), "camera": np.full((2, 2, 3), 3, np.uint8)}
        loop.now_ns += 1_000_000
        loop.recorder.end_episode(last, loop.now_ns, terminated=True, truncated=False)
        _, seen, _ = loop.recorded()
        assert seen.observations["camera"][:, 0, 0, 0].tolist() == [1, 2]
        assert seen.next_observations["camera"][:, 0, 0, 0].tolist() == [2, 3]
        assert seen.observations["state"][:, 0].tolist() == pytest.approx([0.1, 0.2])

    def test_the_last_observation_of_an_episode_is_copied(self, loop):
        self.step(loop, 0.1)
        last = {"state": np.float32([0.3]), "camera": np.full((2, 2, 3), 3, np.uint8)}
        loop.recorder.end_episode(last, loop.now_ns + 1, terminated=True, truncated=False)
        last["camera"][:] = 9
        _, seen, _ = loop.recorded()
        assert seen.next_observations["camera"][0, 0, 0, 0] == 3

    def test_the_stamp_of_each_term_is_kept(self, loop):
        self.step(loop, 0.1, camera_age_ns=400)
        self.step(loop, 0.2, camera_age_ns=300)
        self.step(loop, 0.3, camera_age_ns=0)
        recording, _, steps = loop.recorded()
        assert recording.header.has_term_stamps
        assert (steps["stamp_ns"][:, None] - steps["term_stamps_ns"]).tolist() == [[0, 400], [0, 300]]

    def test_the_next_recording_has_them_where_they_come_later(self, loop):
        for x in (0.1, 0.2):
            self.step(loop, x)
        for x in (0.3, 0.4):
            self.step(loop, x, camera_age_ns=5)
        self.step(loop, 0.5)
        self.step(loop, 0.6)
        loop.recorder.close()
        first, second = (Recording.open(path) for path in sorted(loop.folder.glob("recording-*")))
        assert (first.check().transitions, second.check().transitions) == (2, 3)
        assert (first.header.has_term_stamps, second.header.has_term_stamps) == (False, True)
        steps = second.steps()
        assert (steps["stamp_ns"] - steps["term_stamps_ns"][:, 1]).tolist() == [5, 5, 0]
        assert loop.recorder.status.recordings == 2

    def test_a_step_whose_stamps_are_no_numbers_leaves_a_gap_and_nothing_worse(self, loop):
        self.step(loop, 0.1)
        terms = {"state": np.float32([0.1]), "camera": np.zeros((2, 2, 3), np.uint8)}
        for stamps in ("now", {}, {"state": "now", "camera": 1}, None):
            loop.runtime.step(terms, stamps)
            loop.recorder.end_episode(terms, stamps, terminated=False, truncated=False)
            loop.runtime.clear_stop()
        for x in (0.2, 0.3):
            self.step(loop, x)
        _, seen, _ = loop.recorded()
        assert seen.observations["state"][:, 0].tolist() == pytest.approx([0.2])
        assert loop.recorder.status.failure is None


def make_seeing_onnx():
    """action = state, of a policy that has an image too and multiplies it with zero."""
    nodes = [
        helper.make_node("Cast", ["camera"], ["light"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["light"], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "dark"], ["nothing"]),
        helper.make_node("Add", ["state", "nothing"], ["action"]),
    ]
    inputs = [
        helper.make_tensor_value_info("state", TensorProto.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("camera", TensorProto.UINT8, ["batch", 2, 2, 3]),
    ]
    output = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])
    dark = numpy_helper.from_array(np.zeros((12, 1), np.float32), "dark")
    graph = helper.make_graph(nodes, "policy", inputs, [output], [dark])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
