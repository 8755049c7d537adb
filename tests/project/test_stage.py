"""How a stage ends: exit code, one message, and whether a retry may help."""

import signal

import pytest
from forked import run_forked
from small_project import environment

from sacpipe.core.fixed_arithmetic import fixed_environment
from sacpipe.project.dvc.failures import Answer
from sacpipe.project.stage import ERROR_FILE

SCRIPT = """
import os, signal, sys
from sacpipe.core.errors import *
from sacpipe.project.stage import run_stage

def body(context):
    {line}

run_stage("toy", body)
"""


def end(folder, line, reported=None):
    """Run a stage whose body is one line; return the process, and the error that the flow makes of it."""
    (folder / "versions.lock").write_text("{}")
    (folder / "dvc.yaml").write_text("stages:\n  toy:\n    cmd: python toy.py\n")
    (folder / "params.yaml").write_text("seed: 1\n")
    (folder / ".sacpipe").mkdir(exist_ok=True)
    (folder / "toy.py").write_text(SCRIPT.format(line=line))
    variables = {} if reported is None else {ERROR_FILE: str(reported)}
    result = run_forked(
        ["toy.py"], folder, fixed_environment(environment() | variables), ("sacpipe.project.stage",)
    )
    answer = Answer(fields={"error": "stage", "status": result.returncode})
    return result, answer.stage_failure(
        "toy", reported.read_bytes() if reported and reported.exists() else b""
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "code", "message", "retryable"),
    [
        ("raise ConfigError('bad seed')", 2, "bad seed", False),
        ("raise SimulatorError('lost')", 3, "lost", False),
        ("raise SimulatorError('busy', retryable=True)", 3, "busy", True),
        ("raise InterruptedRunError('stopped')", 3, "stopped", True),
        ("raise KeyboardInterrupt", 3, "stage 'toy' was interrupted", True),
    ],
)
def test_an_error_is_one_message_with_its_code(tmp_path, line, code, message, retryable):
    result, _ = end(tmp_path, line)
    assert result.returncode == code
    assert result.stderr.startswith(f"sacpipe: {message}")
    assert result.stderr.count("\n") == 1
    assert result.stderr.endswith(" Another try may succeed.\n") is retryable
    result, error = end(tmp_path, line, tmp_path / "reported.json")
    assert (result.returncode, result.stderr) == (code, "")
    assert str(error).startswith(message)
    assert "Another try" not in str(error)
    assert (error.exit_code, error.retryable) == (code, retryable)
    assert list((tmp_path / ".sacpipe").iterdir()) == []


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("raise RuntimeError('a bug')", "RuntimeError: a bug"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("1 / 0", "Zero"),
    ],
)
def test_an_unforeseen_error_is_one_line_and_a_log_and_not_tried_again(tmp_path, line, cause):
    result, _ = end(tmp_path, line)
    assert result.returncode == 3
    assert result.stderr.startswith(f"sacpipe: stage 'toy' ended by an error that was not foreseen: {cause}")
    assert result.stderr.count("\n") == 1
    (log,) = (tmp_path / ".sacpipe").iterdir()
    assert str(log) in result.stderr
    assert "toy.py" in log.read_text()


def test_an_unforeseen_error_is_reported_and_not_tried_again(tmp_path):
    _, error = end(tmp_path, f"raise RuntimeError({ERROR_FILE!r} in os.environ)", tmp_path / "reported.json")
    assert "not foreseen: RuntimeError: False." in str(error)  # programs that a stage runs do not write there
    assert (error.exit_code, error.retryable) == (3, False)


def test_an_error_that_cannot_be_reported_goes_to_stderr(tmp_path):
    result, _ = end(tmp_path, "raise ConfigError('bad seed')", tmp_path / "missing" / "reported.json")
    assert (result.returncode, result.stderr) == (2, "sacpipe: bad seed\n")


def test_a_closed_stderr_keeps_the_exit_code(tmp_path):
    result, _ = end(tmp_path, "os.close(2); raise ConfigError('bad')")
    assert result.returncode == 2


def test_a_killed_stage_is_tried_again(tmp_path):
    result, error = end(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    assert result.returncode == -signal.SIGKILL
    assert error.retryable
