"""A recording that contradicts itself is refused; synced transitions survive a kill."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crash_points import SPEC, transition
from recording_kills import POLICY, step
from repository import ROOT

import sacpipe
from sacpipe.core.errors import PoolCorruptError, PoolFormatError, StorageError
from sacpipe.core.files import sha256_bytes
from sacpipe.robot.recording.format import NO_CAUSE, Recording, step_dtype
from sacpipe.robot.recording.writer import RecordingWriter


@pytest.fixture
def folder(tmp_path):
    """Eleven steps in three segments, closed."""
    writer = RecordingWriter.create(tmp_path / "recording", SPEC, 4, 1.5)
    for number in range(10):
        writer.append(transition(number), step(number)._replace(verdict="ok", cause=None))
    refused = step(10)._replace(
        verdict="limited", cause="action_change", has_reward=False, policy_action=None
    )
    writer.append(transition(10), refused)
    writer.close(3)
    return tmp_path / "recording"


def edit_header(folder, **changes):
    path = folder / "recording.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_steps(folder, field, row, value):
    """Change a record and the digest with it, as an attacker who knows the format."""
    path = folder / "steps.bin"
    steps = np.frombuffer(path.read_bytes(), step_dtype(SPEC, has_term_stamps=False)).copy()
    steps[field][row] = value
    path.write_bytes(steps.tobytes())
    seal = json.loads((folder / "recording.json").read_text())["seal"]
    edit_header(folder, seal=seal | {"steps_sha256": sha256_bytes(steps.tobytes())})


def test_it_holds_the_transitions_and_how_they_came_about(folder):
    recording = Recording.open(folder)
    report = recording.check()
    assert (report.segments, report.transitions, report.episodes) == (3, 11, 3)
    steps = recording.steps()
    assert steps["stamp_ns"].tolist() == [1000 * number for number in range(11)]
    assert steps["executed_action"][:, 0].tolist() == pytest.approx([number / 100 for number in range(11)])
    assert steps["verdict"].tolist() == [0] * 10 + [1]
    assert steps["cause"].tolist() == [NO_CAUSE] * 10 + [0]
    assert steps["has_reward"].tolist() == [1] * 10 + [0]
    assert np.isnan(steps["policy_action"][:, 0]).tolist() == [False] * 10 + [True]
    header = recording.header
    assert (header.policies, header.dropped) == ((POLICY,), 3)
    assert (header.verdicts, header.causes) == (("ok", "limited"), ("action_change",))


def test_steps_bin_has_the_layout_of_the_page(folder):
    """Eight, eight, two, two, one, one, and two numbers of four bytes: 30 bytes a step of one action."""
    data = (folder / "steps.bin").read_bytes()
    assert len(data) == 11 * 30
    first = data[30:60]
    assert int.from_bytes(first[:8], "little") == 1000
    assert int.from_bytes(first[8:16], "little") == 2000
    assert first[16:22] == bytes([0, 0, 255, 255, 0, 1])
    assert np.frombuffer(first[22:], "<f4").tolist() == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize(
    ("field", "row", "value", "said"),
    [
        ("policy", 5, 1, "the index of a policy in the header, found another at step 5"),
        ("verdict", 0, 2, "the index of a verdict in the header, found another at step 0"),
        ("cause", 9, 1, "the index of a cause in the header, found another at step 9"),
        ("has_reward", 1, 2, "0 or 1 in has_reward"),
        ("next_stamp_ns", 4, 4000, "a stamp before the next one, found another at step 4"),
        ("executed_action", 8, 0.5, "the pool's action where it was executed, found another at step 8"),
        ("executed_action", 8, np.nan, "the pool's action where it was executed, found another at step 8"),
        ("stamp_ns", 7, 6999, "the stamp at which the step before ended, found another at step 7"),
    ],
)
def test_steps_that_contradict_the_pool_are_refused(folder, field, row, value, said):
    edit_steps(folder, field, row, value)
    with pytest.raises(PoolCorruptError, match=said):
        Recording.open(folder).check()


def test_a_changed_byte_is_found_wherever_it_is(folder):
    for name in ("steps.bin", "pool/manifest.json", "pool/segment-0000000004.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        with pytest.raises((PoolCorruptError, PoolFormatError), match=path.name):
            Recording.open(folder).check()
        path.write_bytes(whole)
    Recording.open(folder).check()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"format_version": 1}, PoolFormatError, "expected format_version 2, found 1"),
        ({"verdicts": ["ok", "perhaps"]}, PoolFormatError, "verdicts"),
        ({"causes": ["my_robot.guards:Tilt"]}, PoolFormatError, "causes"),
        ({"colour": "red"}, PoolFormatError, "colour: unknown key"),
        ({"seal": None}, PoolCorruptError, "expected a closed recording"),
    ],
)
def test_a_header_of_another_kind_is_refused(folder, changes, error, said):
    edit_header(folder, **changes)
    with pytest.raises(error, match=said):
        Recording.open(folder)


def test_a_pool_of_another_task_is_refused(folder):
    spec = json.loads((folder / "recording.json").read_text())["spec"]
    edit_header(folder, spec=spec | {"task": "toy/other"})
    with pytest.raises(PoolCorruptError, match=r"manifest.json: expected the task of recording.json"):
        Recording.open(folder).check()


@pytest.mark.parametrize("transitions", [1, 5], ids=["header", "full segment"])
def test_a_folder_that_was_moved_away_is_not_made_again(tmp_path, transitions):
    writer = RecordingWriter.create(tmp_path / "recording", SPEC, 4, 0.0)
    (tmp_path / "recording").rename(tmp_path / "moved")

    def write():
        for number in range(transitions):
            writer.append(transition(number), step(number))
        writer.flush(0)

    with pytest.raises(StorageError, match="recording"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]


def test_what_was_not_synced_is_cut_off_and_what_was_is_not_taken_damaged(tmp_path):
    writer = RecordingWriter.create(tmp_path / "recording", SPEC, 4, 0.0)
    for number in range(7):
        writer.append(transition(number), step(number))
        if number == 5:
            writer.flush(0)
    del writer
    path = tmp_path / "recording" / "steps.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x00")
    with pytest.raises(PoolCorruptError, match=r"steps.bin: expected 180 bytes with CRC-32"):
        RecordingWriter.resume(tmp_path / "recording")
    path.write_bytes(whole + b"torn")
    again = RecordingWriter.resume(tmp_path / "recording")
    assert again.transitions == 6
    again.close()
    assert Recording.open(tmp_path / "recording").check().transitions == 6


@pytest.mark.acceptance
def test_killed_at_any_file_operation_what_was_synced_is_kept(memory_folder):
    """Some seventy kills of the writer, each followed by two of the one that closes the recording."""
    root = Path(sacpipe.__file__).parents[1]
    script = ROOT / "tests" / "recording_kills.py"
    result = subprocess.run(
        [sys.executable, str(script), str(memory_folder)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{root}:{script.parent}", "PATH": "/usr/bin"},
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["lost"] == []
    assert report["whole"] == 14
    assert report["kills"] > 50
