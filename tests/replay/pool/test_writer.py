"""Writing a pool: seals, durable positions, the running episode, full disks."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from folder_digest import sha256_tree
from pool_fixtures import append, contents, names, straight

from sacpipe.core.errors import StorageError
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.manifest import PoolPosition
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

Walk = Callable[..., list[Transition]]
MakeConfig = Callable[..., PoolConfig]


def record_bytes(spec: EnvSpec) -> int:
    """Vectors, action, reward, two flags, episode id; two images."""
    return 4 * (3 + 2 + 1 + 3 + 1 + 1) + 8 + (2 * 18 if spec.layout.image_terms else 0)


def test_segments_are_sealed_at_their_size(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    writer = PoolWriter.create(tmp_path, spec, make_config(4))
    append(writer, walk(10))
    manifest = writer.finish()
    assert [(s.file, s.first_step, s.transitions) for s in manifest.segments] == [
        ("segment-0000000000.safetensors", 0, 4),
        ("segment-0000000004.safetensors", 4, 4),
        ("segment-0000000008.safetensors", 8, 2),
    ]
    assert manifest.transitions == 10
    assert names(tmp_path) == ["manifest.json", *(s.file for s in manifest.segments)]
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("segment-*")} == {0o444}


def test_flush_writes_only_what_is_new(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    transitions, journal = walk(10), tmp_path / "journal-0000000000.bin"
    writer = PoolWriter.create(tmp_path, spec, make_config(100))
    append(writer, transitions[:4])
    assert not journal.exists()
    writer.flush()
    assert journal.stat().st_size == 4 * record_bytes(spec)
    with journal.open("r+b") as file:
        file.write(b"\x00" * record_bytes(spec))  # a flush that wrote old records again would undo this
    append(writer, transitions[4:])
    writer.flush()
    data = journal.read_bytes()
    assert len(data) == 10 * record_bytes(spec)
    assert data[: record_bytes(spec)] == b"\x00" * record_bytes(spec)
    before = journal.stat().st_mtime_ns
    assert writer.flush().transitions == 10
    assert journal.stat().st_mtime_ns == before


def test_flush_seals_a_full_segment_and_needs_no_journal(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    writer = PoolWriter.create(tmp_path, spec, make_config(4))
    append(writer, walk(4))
    assert names(tmp_path) == []
    position = writer.flush()
    assert names(tmp_path) == ["segment-0000000000.safetensors"]
    assert (len(position.segments), position.open_transitions) == (1, 0)


def test_position_survives_json(tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk) -> None:
    writer = PoolWriter.create(tmp_path, spec, make_config(4))
    append(writer, walk(6))
    position = writer.flush()
    assert (position.sealed_transitions, position.open_transitions, position.transitions) == (4, 2, 6)
    assert PoolPosition.parse(json.loads(json.dumps(position.as_tree()))) == position


def test_finished_pool_can_be_extended(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    config, transitions = make_config(4), walk(15)
    writer = PoolWriter.create(tmp_path / "pool", spec, config)
    append(writer, transitions[:6])
    position = writer.flush()
    writer.finish()
    extended = PoolWriter.resume(tmp_path / "pool", spec, config, position)
    append(extended, transitions[6:])
    extended.finish()
    assert sha256_tree(tmp_path / "pool") == straight(tmp_path / "straight", spec, config, transitions)


def test_resumed_buffer_holds_the_same(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    config, transitions = make_config(4, "compact"), walk(30)
    writer = PoolWriter.create(tmp_path, spec, config)
    buffers = [ReplayBuffer(spec, capacity=9) for _ in range(2)]
    for transition in transitions[:23]:
        writer.append(transition)
        buffers[0].add(transition)
    buffers[1].load(PoolWriter.resume(tmp_path, spec, config, writer.flush()).parts())
    for transition in transitions[23:]:
        for buffer in buffers:
            buffer.add(transition)
    assert contents(buffers[0]) == contents(buffers[1])


def test_tail_is_the_running_episode_wherever_it_lies(
    memory_folder: Path, spec: EnvSpec, make_config: MakeConfig, walk: Walk
) -> None:
    for size in (1, 2, 3, 100):
        writer, running = PoolWriter.create(memory_folder, spec, make_config(size, "compact")), []
        for transition in walk(30):
            assert len(writer.tail(transition.episode_id)) == len(running)
            writer.append(transition)
            running.append(transition)
            if transition.reward > 0:  # a flush may seal, which leaves no open transition
                writer.flush()
            actions = writer.tail(transition.episode_id).actions
            np.testing.assert_array_equal(actions, np.array([t.action for t in running]))
            if transition.terminated or transition.truncated:
                running = []


def test_full_disk_at_a_flush_keeps_earlier_positions(
    tmp_path: Path,
    spec: EnvSpec,
    make_config: MakeConfig,
    walk: Walk,
    file_size_limit: Callable[[int], AbstractContextManager[None]],
) -> None:
    config, transitions = make_config(100), walk(30)
    writer = PoolWriter.create(tmp_path / "pool", spec, config)
    append(writer, transitions[:5])
    position = writer.flush()
    append(writer, transitions[5:20])
    with file_size_limit(7 * record_bytes(spec) + 11), pytest.raises(StorageError, match="size limit"):
        writer.flush()
    shutil.copytree(tmp_path / "pool", tmp_path / "copy")
    assert PoolWriter.resume(tmp_path / "copy", spec, config, position).transitions == 5
    again = writer.flush()  # the disk has room again, but the journal has half a flush
    writer = PoolWriter.resume(tmp_path / "pool", spec, config, again)
    append(writer, transitions[20:])
    writer.finish()
    assert sha256_tree(tmp_path / "pool") == straight(tmp_path / "straight", spec, config, transitions)


def test_full_disk_at_a_seal_loses_no_transition(
    tmp_path: Path,
    spec: EnvSpec,
    make_config: MakeConfig,
    walk: Walk,
    file_size_limit: Callable[[int], AbstractContextManager[None]],
) -> None:
    config, transitions = make_config(10), walk(30)
    writer = PoolWriter.create(tmp_path / "pool", spec, config)
    append(writer, transitions[:8])
    position = writer.flush()
    append(writer, transitions[8:10])
    with file_size_limit(700), pytest.raises(StorageError, match=r"segment-0000000000.*size limit"):
        writer.append(transitions[10])
    assert names(tmp_path / "pool") == ["journal-0000000000.bin"]
    assert position.open_transitions == 8
    append(writer, transitions[10:])
    writer.finish()
    assert sha256_tree(tmp_path / "pool") == straight(tmp_path / "straight", spec, config, transitions)


def test_folder_that_cannot_be_made_is_a_storage_error(
    tmp_path: Path, spec: EnvSpec, make_config: MakeConfig
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="a file exists where a folder is needed"):
        PoolWriter.create(tmp_path / "file" / "pool", spec, make_config())
