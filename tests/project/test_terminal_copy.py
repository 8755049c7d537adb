"""A terminal shows a command's bytes as they come, except lines that another message replaces."""

import os

import pytest

from sacpipe.project.dvc.messages import DVC_LINES, STAGE_LINES
from sacpipe.project.terminal_copy import TerminalCopy, TerminalRules

BAR = b"\x1b[?25l\r\x1b[2Ktrain \x1b[90m---\x1b[0m  1%\r\x1b[2Ktrain \x1b[90m---\x1b[0m  2%"
STOPPED = BAR + (
    b"\r\r\n\x1b[?25hsacpipe: training was asked to stop at step 7.\r\nA checkpoint is kept.\r\n"
    b"\x1b[31mERROR\x1b[39m: failed to reproduce 'train': failed to run: python, exited with 3\r\n"
)
KILLED = BAR + (
    b"\r\n\x1b[31mERROR\x1b[39m: failed to reproduce 'train': failed to run: python, exited with -9\r\n"
    b"\x1b[33mHaving any troubles?\x1b[0m Hit us up\r\n"
)


def shown(data, rules, size):
    """Copy some bytes in pieces of a size, and return what arrives."""
    read, write = os.pipe()
    copy = TerminalCopy(write, rules)
    for start in range(0, len(data), size):
        copy.write(data[start : start + size])
    copy.close()
    os.close(write)
    with os.fdopen(read, "rb") as file:
        return file.read()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
class TestShown:
    def test_all_bytes_of_a_progress_bar_are(self, size):
        whole = BAR + b"\x1b[?25h\r\nWARNING: a library's line\r\nERROR: failed to load a texture\r\nE\r\nsac"
        assert shown(whole, STAGE_LINES, size) == whole

    def test_a_stages_error_and_what_follows_is_not_and_the_cursor_comes_back(self, size):
        seen = shown(STOPPED, STAGE_LINES, size)
        assert seen.startswith(BAR)
        assert b"sacpipe" not in seen
        assert b"checkpoint" not in seen
        assert b"ERROR" not in seen
        assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l")

    def test_dvcs_lines_after_a_killed_stage_are_not(self, size):
        seen = shown(KILLED, STAGE_LINES, size)
        assert b"ERROR" not in seen
        assert b"troubles" not in seen
        assert seen.endswith(b"\x1b[?25h\r\n")

    def test_dvcs_own_error_is_not(self, size):
        assert shown(b"10%\rERROR: failed to push\r\nnext\r\n", DVC_LINES, size) == b"10%\rnext\r\n"

    def test_everything_is_without_rules(self, size):
        assert shown(STOPPED, TerminalRules(), size) == STOPPED


def test_the_begin_of_a_bar_is_shown_before_its_line_ends():
    read, write = os.pipe()
    copy = TerminalCopy(write, STAGE_LINES)
    for part in (b"\x1b[?25l\r\x1b[2K", b"train 1%", b" 12 steps/s"):
        copy.write(part)
        assert os.read(read, 100) == part
    os.close(read)
    os.close(write)
