"""A lock file belongs to one holder at a time, and a waiting one gets it next."""

import re
from threading import Event, Thread

import pytest
from repository import ROOT

from sacpipe.core.errors import BusyError, StorageError
from sacpipe.core.locks import hold


def test_a_held_lock_is_busy_until_its_file_is_closed(tmp_path):
    with hold(tmp_path / "lock", "busy"), pytest.raises(BusyError, match="^in use$"):
        hold(tmp_path / "lock", "in use")
    hold(tmp_path / "lock", "busy").close()


def test_waiting_ends_when_the_lock_does(tmp_path):
    order, waits = [], Event()

    def take():
        waits.set()
        with hold(tmp_path / "lock"):
            order.append("taken")

    thread = Thread(target=take)
    with hold(tmp_path / "lock"):
        thread.start()
        waits.wait()
        with pytest.raises(BusyError):
            hold(tmp_path / "lock", "busy")
        order.append("released")
    thread.join()
    assert order == ["released", "taken"]


@pytest.mark.parametrize("lock", [hold, lambda path: hold(path, "busy")])
def test_a_folder_that_is_missing_is_an_error_of_storage(tmp_path, lock):
    with pytest.raises(StorageError):
        lock(tmp_path / "missing" / "lock")


def test_no_other_module_locks_files():
    files = [path for folder in ("sacpipe", "pipelines") for path in (ROOT / folder).rglob("*.py")]
    users = [path.name for path in files if re.search(r"\b(flock|lockf)\(", path.read_text())]
    assert sorted(users) == ["locks.py", "temporary.py"]
