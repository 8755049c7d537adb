"""A robot's recordings become the pool of the next training, each once, or are refused and change nothing."""

import json
import shutil

import numpy as np
import pytest
from folder_digest import sha256_tree
from ruamel.yaml import YAML

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.files import sha256_file
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.params.model import Params
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.robot.recording.format import STEPS_NAME, Recording, step_dtype

RATE = ["--rate", "2000", "--seconds", "0.1", "--actuator-noise", "0.3"]


@pytest.fixture(scope="session")
def recordings(finished, tmp_path_factory):
    """Two recordings of the finished project's robot, with some hundred transitions each."""
    folder = tmp_path_factory.mktemp("robot")
    for seed in ("1", "2"):
        record(finished, "--seed", seed, "--record", str(folder / "recordings"))
    return folder / "recordings"


def record(project, *arguments):
    from small_project import sacpipe

    sacpipe(project, "drive", *RATE, *arguments, check=0)


def ingested(call, project, *arguments):
    seen = call(project, "pool", "ingest", "--json", *(str(word) for word in arguments))
    assert seen.code == 0, seen.err
    return json.loads(seen.out)


def test_a_recording_becomes_a_pool_that_dvc_tracks(project, call, recordings):
    one = recordings / "recording-000001"
    found = ingested(call, project, one)
    pool = ReplayPool.open(project / "data" / "pool")
    assert pool.check().transitions == found["pool_transitions"] == Recording.open(one).pool.transitions
    assert found["pool_sha256"] == sha256_file(pool.folder / "manifest.json")
    tracked = YAML(typ="safe").load(project / "data" / "pool.dvc")["outs"][0]
    assert (tracked["path"], tracked["nfiles"]) == ("pool", 2)
    (entry,) = json.loads((project / "data" / "ingested.json").read_text())["recordings"]
    assert entry["recording_sha256"] == sha256_file(one / "recording.json")
    assert entry["policies"][0]["bundle_sha256"] == bundle_digest(project / "out" / "export" / "bundle")
    assert call(project, "pool", "check", str(one)).code == 0
    checked = call(project, "pool", "check", "data/pool")
    assert f"no damage found. {pool.transitions} transitions" in checked.out


def test_the_task_computes_the_rewards_again(project, call, recordings):
    """The point mass pays minus the distance and a little; the robot's own rewards are not used."""
    found = ingested(call, project, recordings / "recording-000001")
    assert found["recordings"][0]["rewards"] == "task"
    pool = ReplayPool.open(project / "data" / "pool")
    seen = pool.read(pool.segments[0])
    distance = np.hypot(*seen.next_observations["position"].T)
    assert np.abs(seen.rewards + distance - (seen.rewards + distance).mean()).max() < 1e-5
    assert (seen.terminations == (distance < 0.15)).all()


def test_later_recordings_add_segments_and_change_none(project, call, recordings):
    ingested(call, project, recordings / "recording-000001")
    pool = project / "data" / "pool"
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in pool.glob("segment-*")}
    first = ReplayPool.open(pool)
    ingested(call, project, recordings / "recording-000002")
    for name, (inode, data) in before.items():
        assert ((pool / name).stat().st_ino, (pool / name).read_bytes()) == (inode, data)
    both = ReplayPool.open(pool)
    assert both.check().episodes > first.check().episodes
    assert both.segments[: len(first.segments)] == first.segments


def test_both_at_once_are_the_same_pool_as_one_after_the_other(project, call, recordings, tmp_path):
    ones = [recordings / f"recording-00000{number}" for number in (1, 2)]
    together = ingested(call, project, *ones)["pool_sha256"]
    shutil.rmtree(project / "data")
    for one in ones:
        apart = ingested(call, project, one)["pool_sha256"]
    assert apart == together


def test_share_names_the_pool_in_params_yaml_and_keeps_every_comment(project, call, recordings):
    path = project / "params.yaml"
    before = path.read_text().splitlines()
    found = ingested(call, project, recordings / "recording-000001", "--share", "0.25")
    (changed,) = (now for old, now in zip(before, path.read_text().splitlines(), strict=True) if old != now)
    assert "# earlier experience: null, or {sha256" in changed
    config = Params.load(path).replay.initial_pool
    assert (config.sha256, config.share) == (found["pool_sha256"], 0.25)


def test_an_ingestion_cut_off_before_the_pool_changed_is_done_again(project, call, recordings):
    one, two = (recordings / f"recording-00000{number}" for number in (1, 2))
    first = ingested(call, project, one)
    kept, pool = project / "kept", project / "data" / "pool"
    shutil.copytree(pool, kept)
    after = ingested(call, project, two)
    segment = ReplayPool.open(pool).segments[-1].file
    shutil.copy(pool / segment, kept / segment)  # the history and a segment are ahead, as after a kill
    (kept / segment.replace("segment-", "segment-9")).touch()
    shutil.rmtree(pool)
    kept.rename(pool)
    assert sha256_file(pool / "manifest.json") == first["pool_sha256"]
    assert ingested(call, project, two) == after
    assert len(list(pool.iterdir())) == 1 + len(ReplayPool.open(pool).segments)


def test_a_recording_is_ingested_once_and_a_cut_off_dvc_add_is_done_again(project, call, recordings):
    one = recordings / "recording-000001"
    first = ingested(call, project, one, one)
    assert (len(first["recordings"]), first["passed_over"]) == (1, 1)
    pointer = (project / "data" / "pool.dvc").read_text()
    (project / "data" / "pool.dvc").unlink()  # as after a kill before DVC was through
    again = ingested(call, project, one, "--share", "0.5")
    assert (again["recordings"], again["passed_over"]) == ([], 1)
    assert again["pool_sha256"] == first["pool_sha256"]
    assert (project / "data" / "pool.dvc").read_text() == pointer
    assert Params.load(project / "params.yaml").replay.initial_pool.share == 0.5


@pytest.fixture
def mine(recordings, tmp_path):
    """A recording to damage."""
    shutil.copytree(recordings / "recording-000001", tmp_path / "mine")
    return tmp_path / "mine"


def refused(call, project, *arguments):
    """Return the message of a refusal, which changes no file."""
    before = sha256_tree(project / "data") if (project / "data").exists() else None
    params = (project / "params.yaml").read_text()
    seen = call(project, "pool", "ingest", *(str(word) for word in arguments))
    assert (seen.code, seen.out) == (2, "")
    assert before == (sha256_tree(project / "data") if (project / "data").exists() else None)
    assert params == (project / "params.yaml").read_text()
    return seen.err


def test_a_pool_of_another_task_is_refused(project, call, recordings):
    one, two = (recordings / f"recording-00000{number}" for number in (1, 2))
    ingested(call, project, one)
    manifest = project / "data" / "pool" / "manifest.json"
    tree = json.loads(manifest.read_text())
    tree["spec"]["max_episode_steps"] = 99
    manifest.write_text(json.dumps(tree))
    assert "max_episode_steps: expected 50, found 99" in refused(call, project, two)


def test_params_whose_value_takes_several_lines_are_not_changed(project, call, recordings):
    params = project / "params.yaml"
    text = params.read_text()
    digest = f"sha256: '{'a' * 64}'"
    block = text.replace("  initial_pool: null", f"  initial_pool:\n    {digest}\n    share: 0.5\n ")
    assert block != text
    params.write_text(block)
    message = refused(call, project, recordings / "recording-000001", "--share", "0.25")
    assert "with its value on the same line" in message
    assert not (project / "data").exists()


def test_a_damaged_recording_is_refused(project, call, mine):
    path = mine / STEPS_NAME
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert "steps.bin: expected SHA-256" in refused(call, project, mine)


def test_a_recording_of_another_task_is_refused(project, call, mine):
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("options: {}", "options: {force_limit_n: 3.0}"))
    assert "expected a recording of point_mass/point-mass-v0 as params.yaml has it" in refused(
        call, project, mine
    )


def test_a_recording_of_an_unknown_policy_is_refused_unless_allowed(project, call, mine):
    header = json.loads((mine / "recording.json").read_text())
    header["policies"][0]["bundle_sha256"] = "d" * 64
    (mine / "recording.json").write_text(json.dumps(header))
    assert f"found bundle {'d' * 64}" in refused(call, project, mine)
    ingested(call, project, mine, "--any-policy")


def test_a_recording_without_rewards_is_refused_where_the_task_cannot_compute_them(
    project, call, mine, monkeypatch
):
    monkeypatch.setattr(TaskEnvironment, "compute_rewards", lambda *_: None)
    assert ingested(call, project, mine)["recordings"][0]["rewards"] == "robot"
    shutil.rmtree(project / "data")
    header = json.loads((mine / "recording.json").read_text())
    dtype = step_dtype(Recording.open(mine).header.spec, has_term_stamps=False)
    steps = np.frombuffer((mine / STEPS_NAME).read_bytes(), dtype).copy()
    steps["has_reward"][3:5] = 0
    (mine / STEPS_NAME).write_bytes(steps.tobytes())
    header["seal"]["steps_sha256"] = sha256_file(mine / STEPS_NAME)
    (mine / "recording.json").write_text(json.dumps(header))
    assert "expected a reward at every step" in refused(call, project, mine)
    assert f"found none at 2 of {len(steps)}" in refused(call, project, mine)


def test_a_share_out_of_range_is_refused(project, call, recordings):
    message = refused(call, project, recordings / "recording-000001", "--share", "1.5")
    assert "--share: expected more than 0 and at most 1, found 1.5" in message


def test_an_open_recording_is_refused(project, call, mine):
    header = json.loads((mine / "recording.json").read_text())
    (mine / "recording.json").write_text(json.dumps(header | {"seal": None}))
    assert "expected a closed recording" in refused(call, project, mine)
