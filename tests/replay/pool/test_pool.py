"""Opening, checking, filling from, evicting from and publishing a finished pool; and yesterday's files."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from folder_digest import sha256_tree
from golden_pool import write_golden
from pool_fixtures import contents

from sacpipe.core.errors import PoolCorruptError, StorageError
from sacpipe.core.files import sha256_file
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.config import PoolConfig, PoolFormat
from sacpipe.replay.pool.reader import PoolReport, ReplayPool
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

Walk = Callable[..., list[Transition]]
Stack = Callable[[list[Transition]], Transitions]
Write = Callable[..., Path]

SECOND = "segment-0000000004.safetensors"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.mark.parametrize("form", ["full", "compact"])
def test_pool_gives_back_every_transition(form: str, write: Write, walk: Walk, stack: Stack) -> None:
    pool = ReplayPool.open(write(walk(30), form))
    found = Transitions.joined(pool.read(segment) for segment in pool.segments)
    expected = stack(walk(30))
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array, strict=True)
    assert pool.transitions == 30
    assert pool.spec.task == "toy/walk"


def test_check_counts_what_is_there(write: Write, walk: Walk) -> None:
    transitions = walk(30)
    pool = ReplayPool.open(write(transitions, "compact"))
    assert pool.check() == PoolReport(
        segments=8,  # of 4, the last one of 2
        transitions=30,
        episodes=len({t.episode_id for t in transitions}),
        terminations=sum(t.terminated for t in transitions),
        truncations=sum(t.truncated for t in transitions),
        size_bytes=sum(path.stat().st_size for path in pool.folder.glob("segment-*")),
    )


def test_empty_pool_is_a_pool(write: Write, spec: EnvSpec) -> None:
    pool = ReplayPool.open(write([]))
    buffer = ReplayBuffer(spec, capacity=5)
    pool.fill(buffer)
    assert (pool.transitions, pool.check().episodes, len(buffer)) == (0, 0, 0)
    assert pool.observations(5).vector.shape == (0, 3)


def test_manifest_tells_nothing_volatile(write: Write, walk: Walk) -> None:
    folders = [write(walk(11), name=name) for name in ("here", "there")]
    assert sha256_tree(folders[0]) == sha256_tree(folders[1])
    manifest = json.loads((folders[0] / "manifest.json").read_text())
    assert sorted(manifest) == [
        "format", "format_version", "observation_columns", "segments", "spec", "transition_fields",
        "transitions",
    ]  # fmt: skip
    segment = folders[0] / SECOND
    assert manifest["segments"][1] == {
        "file": SECOND,
        "first_step": 4,
        "transitions": 4,
        "size_bytes": segment.stat().st_size,
        "sha256": sha256_file(segment),
    }


def test_opening_reads_no_segment(write: Write, walk: Walk) -> None:
    folder = write(walk(11))
    flip(folder / SECOND, -1)
    assert ReplayPool.open(folder).transitions == 11


def test_check_names_the_changed_segment_and_both_digests(write: Write, walk: Walk) -> None:
    folder = write(walk(11))
    expected = sha256_file(folder / SECOND)
    flip(folder / SECOND, -1)
    found = sha256_file(folder / SECOND)
    with pytest.raises(
        PoolCorruptError, match=f"{SECOND}: expected SHA-256 {expected}, found {found}.*dvc pull"
    ):
        ReplayPool.open(folder).check()


def test_check_survives_a_segment_that_went_away(write: Write, walk: Walk) -> None:
    pool = ReplayPool.open(write(walk(11)))
    (pool.folder / SECOND).unlink()
    with pytest.raises(PoolCorruptError, match=f"{SECOND}: expected SHA-256 .*, found no file"):
        pool.check()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "manifest.json").unlink(), "expected the manifest of a replay pool, found no file"),
        (lambda p: (p / "manifest.json").write_text("{"), "cannot be read as JSON"),
        (lambda p: (p / SECOND).unlink(), rf"{SECOND}: expected \d+ bytes, found no file"),
        (lambda p: (p / SECOND).write_bytes(b"torn"), rf"{SECOND}: expected \d+ bytes, found 4 bytes"),
    ],
)
def test_missing_and_torn_files_are_found_at_once(
    write: Write, walk: Walk, damage: Callable[[Path], object], message: str
) -> None:
    folder = write(walk(11))
    for path in folder.iterdir():
        path.chmod(0o644)
    damage(folder)
    with pytest.raises(PoolCorruptError, match=message):
        ReplayPool.open(folder)


@pytest.mark.parametrize("capacity", [3, 11, 12, 50])
def test_filled_buffer_equals_one_that_saw_every_step(
    write: Write, walk: Walk, spec: EnvSpec, capacity: int
) -> None:
    filled, seen = (ReplayBuffer(spec, capacity) for _ in range(2))
    ReplayPool.open(write(walk(23), "compact")).fill(filled)
    for transition in walk(23):
        seen.add(transition)
    assert contents(filled) == contents(seen)


def test_observations_are_spread_over_the_pool(write: Write, walk: Walk, stack: Stack) -> None:
    pool, recorded = ReplayPool.open(write(walk(10))), stack(walk(10)).observations
    assert pool.observations(4).equals(recorded.rows([0, 2, 5, 7]))
    assert pool.observations(99).equals(recorded)


def test_range_is_that_of_the_float32_entries(write: Write, walk: Walk, stack: Stack) -> None:
    low, high = ReplayPool.open(write(walk(10))).observation_range()
    vectors = stack(walk(10)).observations.vector
    np.testing.assert_array_equal(low, vectors.min(axis=0))
    np.testing.assert_array_equal(high, vectors.max(axis=0))


def test_evicting_changes_the_manifest_and_no_file(write: Write, walk: Walk) -> None:
    folder = write(walk(11))
    before = {path: sha256_file(path) for path in folder.glob("segment-*")}
    assert ReplayPool.open(folder).evict(keep_transitions=12).transitions == 11
    pool = ReplayPool.open(folder).evict(keep_transitions=6)
    assert [segment.first_step for segment in pool.segments] == [4, 8]  # 7 left: without the next, 3
    assert {path: sha256_file(path) for path in folder.glob("segment-*")} == before
    again = ReplayPool.open(folder)
    assert again.manifest == pool.manifest
    assert again.check().transitions == 7
    assert again.evict(keep_transitions=0).transitions == 0


def test_published_pool_holds_its_segments_and_nothing_else(write: Write, walk: Walk, tmp_path: Path) -> None:
    folder = write(walk(11))
    (folder / "journal-0000000011.bin").touch()
    ReplayPool.open(folder).evict(keep_transitions=6)
    ReplayPool.open(folder).publish(tmp_path / "out" / "pool")
    names = sorted(path.name for path in (tmp_path / "out" / "pool").iterdir())
    assert names == ["manifest.json", SECOND, "segment-0000000008.safetensors"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["pool"]
    assert (tmp_path / "out" / "pool" / SECOND).stat().st_ino != (folder / SECOND).stat().st_ino
    ReplayPool.open(tmp_path / "out" / "pool").check()


def test_publishing_overwrites_nothing(write: Write, walk: Walk, tmp_path: Path) -> None:
    pool = ReplayPool.open(write(walk(11)))
    pool.publish(tmp_path / "out")
    before = sha256_tree(tmp_path / "out")
    with pytest.raises(StorageError, match="out: it exists already. Remove it first"):
        pool.publish(tmp_path / "out")
    assert sha256_tree(tmp_path / "out") == before


def test_publishing_on_a_full_disk_leaves_nothing(
    write: Write,
    walk: Walk,
    tmp_path: Path,
    file_size_limit: Callable[[int], AbstractContextManager[None]],
) -> None:
    pool = ReplayPool.open(write(walk(11)))
    with file_size_limit(900), pytest.raises(StorageError, match="size limit"):
        pool.publish(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_unfinished_pool_is_not_published(
    tmp_path: Path, spec: EnvSpec, make_config: Callable[..., PoolConfig], walk: Walk
) -> None:
    writer = PoolWriter.create(tmp_path / "pool", spec, make_config())
    writer.append(walk(1)[0])
    writer.flush()
    with pytest.raises(PoolCorruptError, match="expected the manifest"):
        writer.publish(tmp_path / "out")


@pytest.mark.parametrize("form", ["full", "compact"])
def test_a_pool_written_in_format_2_is_read(form: str) -> None:
    pool = ReplayPool.open(Path(__file__).parent / "pool_v2" / form)
    report = pool.check()
    assert (report.segments, report.transitions, report.episodes, report.truncations) == (2, 5, 2, 1)
    found = Transitions.joined(pool.read(segment) for segment in pool.segments)
    places = [[0, 0.5], [1, 1.5], [10, 10.5], [11, 11.5], [12, 12.5]]
    assert found.observations["place"].tolist() == places
    assert found.observations["load"].tolist() == [0, 0, 7, 7, 7]
    assert found.observations["camera"].ravel().tolist() == [0, 200, 1, 201, 10, 210, 11, 211, 12, 212]
    assert found.next_observations["place"].tolist() == [
        [1, 1.5],
        [2, 2.5],
        [11, 11.5],
        [12, 12.5],
        [13, 13.5],
    ]
    assert found.next_observations["camera"].ravel().tolist() == [1, 201, 2, 202, 11, 211, 12, 212, 13, 213]
    assert found.actions.tolist() == [[0.125], [0.25], [0.375], [0.5], [0.625]]
    assert found.rewards.tolist() == [-1, -2, -3, -4, -5]
    assert found.terminations.tolist() == [0, 0, 0, 0, 0]
    assert found.truncations.tolist() == [0, 1, 0, 0, 0]
    assert found.episode_ids.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("form", ["full", "compact"])
def test_the_same_steps_give_the_bytes_of_the_stored_pool(form: PoolFormat, tmp_path: Path) -> None:
    stored = Path(__file__).parent / "pool_v2" / form
    write_golden(tmp_path / "pool", form)
    assert sha256_tree(tmp_path / "pool") == sha256_tree(stored)
