"""Kills, damage and half-done writes: recovered from, or refused; always the same bytes in the end."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from folder_digest import sha256_tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pool_fixtures import append, names, straight
from repository import ROOT

import sacpipe
from sacpipe.core.errors import PoolCorruptError, PoolFormatError
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

Walk = Callable[..., list[Transition]]
MakeConfig = Callable[..., PoolConfig]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 11)),
        st.tuples(st.just("flush"), st.just(0)),
        st.tuples(st.just("kill"), st.integers(0, 3)),  # resume from the last position, or an older one
        st.tuples(st.just("torn"), st.integers(0, 60)),  # the same, followed by bytes of an incomplete flush
    ),
    max_size=10,
)


CONFIGS = st.builds(
    PoolConfig,
    segment_transitions=st.sampled_from([1, 3, 4, 100]),
    format=st.sampled_from(["full", "compact"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, config=CONFIGS)
@pytest.mark.slow
def test_flushes_and_kills_leave_no_trace(
    memory_folder: Path, spec: EnvSpec, walk: Walk, steps: list[tuple[str, int]], config: PoolConfig
) -> None:
    folder, transitions = memory_folder, walk(40)
    writer = PoolWriter.create(folder / "killed", spec, config)
    positions = [writer.flush()]
    for step, number in steps:
        if step == "append":
            append(writer, transitions[writer.transitions : writer.transitions + number])
        elif step == "flush":
            positions.append(writer.flush())
        else:
            if step == "torn":
                for journal in (folder / "killed").glob("journal-*"):
                    journal.write_bytes(journal.read_bytes() + b"\xff" * number)
            positions = positions[: max(1, len(positions) - (number if step == "kill" else 0))]
            writer = PoolWriter.resume(folder / "killed", spec, config, positions[-1])
            assert writer.transitions == positions[-1].transitions
    append(writer, transitions[writer.transitions :])
    writer.finish()
    assert sha256_tree(folder / "killed") == straight(folder / "straight", spec, config, transitions)


@pytest.mark.acceptance
def test_kill_between_any_two_file_operations_is_survived(memory_folder: Path) -> None:
    script = ROOT / "tests" / "crash_points.py"
    result = subprocess.run(
        [sys.executable, str(script), str(memory_folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(sacpipe.__file__).parents[1],
        env={"PYTHONPATH": str(Path(sacpipe.__file__).parents[1])},
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["different"] == []
    assert report["single_kills"] > 40
    assert report["double_kills"] > 100


def test_position_before_sealed_segments_is_resumed_from_the_segment(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    config, transitions = make_config(4, "compact"), walk(11)
    writer = PoolWriter.create(tmp_path / "pool", spec, config)
    append(writer, transitions[:2])
    position = writer.flush()
    append(writer, transitions[2:])
    writer.flush()
    writer.finish()
    resumed = PoolWriter.resume(tmp_path / "pool", spec, config, position)
    assert names(tmp_path / "pool") == ["journal-0000000000.bin"]
    append(resumed, transitions[2:])
    resumed.finish()
    assert sha256_tree(tmp_path / "pool") == straight(tmp_path / "straight", spec, config, transitions)


@pytest.mark.parametrize("name", [b"sacpipe.replay", b"observations", b"rewards"])
def test_position_before_a_segment_with_a_damaged_header_is_corrupt(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk, name: bytes
) -> None:
    """It looks like a file of another program, and yet the run must go back to an older checkpoint."""
    writer = PoolWriter.create(tmp_path, spec, make_config(4))
    append(writer, walk(2))
    position = writer.flush()
    append(writer, walk(4)[2:])
    writer.finish()
    segment = tmp_path / "segment-0000000000.safetensors"
    segment.chmod(0o644)
    segment.write_bytes(segment.read_bytes().replace(name, name[:-1] + b"x", 1))
    with pytest.raises(PoolCorruptError, match="older checkpoint"):
        PoolWriter.resume(tmp_path, spec, make_config(4), position)


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "segment-0000000004.safetensors: expected SHA-256": lambda p: flip(
        p / "segment-0000000004.safetensors", -1
    ),
    "segment-0000000000.safetensors.*found no file": lambda p: (
        p / "segment-0000000000.safetensors"
    ).unlink(),
    r"journal-0000000008.bin: expected \d+ bytes": lambda p: flip(p / "journal-0000000008.bin", 60),
    "found 103 bytes": lambda p: (p / "journal-0000000008.bin").write_bytes(b"\0" * 103),
    "found 0 bytes": lambda p: (p / "journal-0000000008.bin").unlink(),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_before_the_position_is_found_and_nothing_discarded(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk, message: str
) -> None:
    writer = PoolWriter.create(tmp_path, spec, make_config(4))
    append(writer, walk(10))
    position = writer.flush()
    DAMAGES[message](tmp_path)
    before = sha256_tree(tmp_path)
    with pytest.raises(PoolCorruptError, match=f"{message}.*older checkpoint"):
        PoolWriter.resume(tmp_path, spec, make_config(4), position)
    assert sha256_tree(tmp_path) == before


def test_position_of_another_segment_size_is_refused(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    writer = PoolWriter.create(tmp_path, spec, make_config(4))
    append(writer, walk(7))
    position = writer.flush()
    for size in (5, 2):
        with pytest.raises(PoolFormatError, match=rf"segments of {size} transitions.*found \[4\] and 3 open"):
            PoolWriter.resume(tmp_path, spec, make_config(size), position)


def test_creating_discards_an_earlier_attempt_and_nothing_else(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    writer = PoolWriter.create(tmp_path, spec, make_config(4))
    append(writer, walk(7))
    writer.flush()
    (tmp_path / ".manifest.json.0a1b2c3d.tmp").touch()
    (tmp_path / "notes.txt").touch()
    assert PoolWriter.create(tmp_path, spec, make_config(4)).transitions == 0
    assert names(tmp_path) == ["notes.txt"]
