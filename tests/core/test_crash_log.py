"""An error that nothing foresaw: one line, and a log file with the traceback."""

import re
import tempfile
from pathlib import Path

import pytest

from sacpipe.core.crash_log import report_crash
from sacpipe.core.fence import first_error


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def raised(error):
    def fail():
        raise error

    return first_error(fail)


def test_the_line_names_the_cause_and_the_log_has_the_traceback(tmp_path):
    line = report_crash("`sacpipe run`", raised(RuntimeError("two\nlines")), tmp_path)
    found = re.fullmatch(
        r"`sacpipe run` ended by an error that was not foreseen: RuntimeError: two lines\. The traceback is in "
        r"(.*/crash-\d{8}T\d{6}Z-\d+\.log); please report it\.",
        line,
    )
    log = Path(found[1])
    assert log.parent == tmp_path
    assert "Traceback (most recent call last)" in log.read_text()
    assert "raise error\nRuntimeError: two\nlines" in log.read_text()


@pytest.mark.parametrize(
    "folder", [None, Path("/none/such"), Path("/proc/self")], ids=["none", "missing", "unwritable"]
)
def test_without_a_folder_the_log_is_in_the_temporary_one(temporary, folder):
    line = report_crash("stage 'train'", raised(KeyError("x")), folder)
    (log,) = temporary.iterdir()
    assert str(log) in line


def test_where_no_folder_can_be_written_the_line_says_so(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/proc/self")
    line = report_crash("stage 'train'", raised(ValueError("x" * 1000)), None)
    assert "The traceback could not be written" in line
    assert len(line) < 500


def test_a_text_that_utf8_cannot_hold_is_written_escaped(tmp_path):
    report_crash("stage 'train'", raised(ValueError("\udcff")), tmp_path)
    (log,) = tmp_path.iterdir()
    assert "ValueError: \\udcff" in log.read_text()
