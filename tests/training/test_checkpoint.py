"""What a checkpoint promises, one damage at a time; faults.py draws them at random."""

import json
import shutil

import pytest
from folder_digest import sha256_tree
from small_run import Onlooker, make_params, run_once

from sacpipe.algorithms.sac import SACConfig
from sacpipe.core.errors import CheckpointError, InterruptedRunError
from sacpipe.core.files import canonical_json, sha256_bytes
from sacpipe.training.resume import open_run


@pytest.fixture
def stopped(tmp_path):
    """A run asked to stop at step 100: its checkpoints are those of steps 90 and 100."""
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, onlooker=Onlooker(stops={100}))
    return tmp_path / "work"


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def newest_state(folder):
    return folder / "checkpoints" / "step-000000000100" / "state.json"


def begin(folder):
    """Return the step a run continues from."""
    run = open_run(make_params(), folder, "k")
    run.close()
    return run.env_steps


DAMAGES = {
    "one digit": lambda text: text.replace('"env_steps": ', '"env_steps": 1'),
    "a list": lambda _: "[1, 2]",
    "another shape": lambda _: '{"format_version": 4}',
    "no digest": lambda text: json.dumps(
        {key: value for key, value in json.loads(text).items() if key != "sha256"}
    ),
    "not a number": lambda text: text.replace('"env_steps": ', '"env_steps": NaN, "was": '),
    "half": lambda text: text[: len(text) // 2],
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_passed_over(stopped, damage, caplog):
    path = newest_state(stopped)
    path.write_text(DAMAGES[damage](path.read_text()))
    assert begin(stopped) == 90
    assert "checkpoint step-000000000100 is torn" in caplog.text


def test_a_whole_state_of_another_format_is_refused(stopped):
    tree = json.loads(newest_state(stopped).read_text()) | {"format_version": 5}
    del tree["sha256"]
    newest_state(stopped).write_text(
        json.dumps(tree | {"sha256": sha256_bytes(canonical_json(tree).encode())})
    )
    with pytest.raises(CheckpointError, match="has format 5; this program reads 4"):
        begin(stopped)


def test_checkpoints_later_than_the_continued_one_are_removed(stopped):
    """Otherwise the last two that are kept could be two that cannot be read."""
    (newest_state(stopped)).write_text("")
    (stopped / "checkpoints" / ".step-000000000120.tmp").mkdir()
    assert begin(stopped) == 90
    assert names(stopped) == ["step-000000000090"]


def test_the_same_checkpoint_asked_for_twice_is_written_once(tmp_path):
    """A run stopped at a step where a checkpoint was due."""
    run = open_run(make_params(), tmp_path, "k")
    run.checkpoint()
    before = (tmp_path / "checkpoints" / "step-000000000000").stat().st_ino
    run.checkpoint()
    run.close()
    assert (tmp_path / "checkpoints" / "step-000000000000").stat().st_ino == before


def test_a_checkpoint_before_the_first_new_row_knows_where_the_rows_end(stopped):
    """Rows behind the checkpoint are cut off; stopped again before the next one, nothing is missing."""
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 125}\n')
    with pytest.raises(InterruptedRunError):
        run_once(stopped.parent, onlooker=Onlooker(stops={1}))
    assert begin(stopped) == 101


@pytest.mark.slow
def test_a_damaged_segment_starts_the_run_over(stopped, tmp_path):
    """Every checkpoint counts on it; the outputs are those of an undisturbed run."""
    segment = stopped / "pool" / "segment-0000000000.safetensors"
    segment.chmod(0o644)
    segment.write_bytes(segment.read_bytes()[:-1])
    run_once(tmp_path)
    run_once(tmp_path / "alone")
    assert sha256_tree(tmp_path / "out") == sha256_tree(tmp_path / "alone" / "out")


@pytest.mark.parametrize("tail", [b'{"env_steps": 1', b"\0\0\0\n", b'{"env_steps": 1}', b"\xff\n"])
def test_the_clock_drops_a_row_that_was_cut(stopped, tail):
    path = stopped / "throughput.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    begin(stopped)
    assert path.read_bytes() == whole


def test_publishing_removes_what_a_kill_left_half_written(tmp_path):
    run_once(tmp_path)
    before = sha256_tree(tmp_path / "out")
    (tmp_path / "out" / ".policy.safetensors.0a1b2c3d.tmp").write_bytes(b"half")
    shutil.rmtree(tmp_path / "out" / "pool")
    (tmp_path / "out" / ".pool.tmp").mkdir()
    run_once(tmp_path)
    assert sha256_tree(tmp_path / "out") == before


def test_checkpoints_write_what_is_new_and_touch_no_older_byte_of_the_pool(tmp_path):
    """Looked at after every step: a sealed segment stays the same file, a journal only grows."""
    seen, journals = {}, {}

    class Watcher(Onlooker):
        def should_stop(self):
            for path in (tmp_path / "work" / "pool").glob("segment-*"):
                status = path.stat()
                assert seen.setdefault(path.name, (status.st_ino, status.st_mtime_ns)) == (
                    status.st_ino,
                    status.st_mtime_ns,
                )
            for path in (tmp_path / "work" / "pool").glob("journal-*"):
                inode, data = journals.get(path.name, (path.stat().st_ino, b""))
                journals[path.name] = path.stat().st_ino, path.read_bytes()
                assert (inode, data) == (path.stat().st_ino, path.read_bytes()[: len(data)])
            return False

    run_once(tmp_path, onlooker=Watcher())
    record_bytes = len(journals["journal-0000000000.bin"][1]) // 30
    assert {name: len(data) // record_bytes for name, (_, data) in journals.items()} == {
        "journal-0000000000.bin": 30,  # at step 30; sealed at 40
        "journal-0000000040.bin": 20,  # at step 60; sealed at 80
        "journal-0000000080.bin": 10,  # at step 90; sealed at 120
        "journal-0000000120.bin": 30,  # at step 150
    }
    assert len(seen) == 3


class OwnSAC(SACConfig):
    """An algorithm that params name by its import path."""

    name: str


def test_a_checkpoint_and_a_policy_hold_no_import_path(tmp_path):
    params = make_params(algorithm__name=f"{__name__}:OwnSAC")
    run_once(tmp_path, params)
    files = [
        path for path in tmp_path.rglob("*") if path.is_file() and path.suffix in (".json", ".safetensors")
    ]
    assert len(files) > 4
    assert not [path for path in files if __name__.encode() in path.read_bytes()]
    digests = json.loads(
        (tmp_path / "work" / "checkpoints" / "step-000000000150" / "state.json").read_text()
    )["params"]
    assert digests["algorithm.discount"] == sha256_bytes(b"0.9")
