"""A lock of a policy's release commands excludes other processes, and ends with the process that holds it."""

import subprocess
import sys
from threading import Timer

import pytest

from sacpipe.core.errors import BusyError, StoreError
from sacpipe.core.locks import hold
from sacpipe.tracking.lock_file import exclude_by_file

HOLD = """
import sys
from pathlib import Path
from sacpipe.tracking.lock_file import exclude_by_file
with exclude_by_file(Path(sys.argv[1]), "Push"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_another_process_is_named_and_its_death_ends_the_lock(tmp_path):
    path = tmp_path / "new" / "Push.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        expected = rf"policy 'Push': .* holds the lock {path}: process {process.pid} on .*Wait until it ends"
        with pytest.raises(BusyError, match=expected), exclude_by_file(path, "Push"):
            pass
    finally:
        process.kill()
        process.communicate()
    with exclude_by_file(path, "Push") as excludes:
        assert excludes


def test_a_process_that_has_just_taken_the_lock_is_waited_for_until_it_has_a_name(tmp_path):
    path = tmp_path / "lock"
    with hold(path):
        timer = Timer(0.03, path.write_text, ["process 7 on robot\n"])
        timer.start()
        with pytest.raises(BusyError, match="holds the lock .*: process 7 on robot"):
            exclude_by_file(path, "Push").__enter__()
        timer.join()


def test_an_error_in_the_block_ends_the_lock(tmp_path):
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), exclude_by_file(tmp_path / "lock", "Push"):
            raise ZeroDivisionError
    assert (tmp_path / "lock").read_text() == ""


def test_a_lock_that_cannot_be_written_is_an_error_of_the_store(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="a file exists where a folder is needed"):
        exclude_by_file(tmp_path / "file" / "lock", "Push").__enter__()
