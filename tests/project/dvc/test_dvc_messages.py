"""Messages that an operator reads after a stage failed. The surrounding lines are those of DVC 3.67."""

import pytest

from sacpipe.core.errors import ConfigError, SacpipeError, StageError, StoreError
from sacpipe.project.dvc.messages import CommandOutput, stage_failure
from sacpipe.project.stage import RETRY_NOTE


def failure(*stderr: str) -> SacpipeError:
    output = CommandOutput()
    for line in stderr:
        output("stderr", line)
    return stage_failure("train", output)


def exited(status: int) -> str:
    return f"ERROR: failed to reproduce 'train': failed to run: python -m a, exited with {status}"


def test_the_error_is_the_last_message_of_the_stage() -> None:
    error = failure("sacpipe: resuming", "10 %", "sacpipe: bad seed", "and more", exited(2))
    assert isinstance(error, StageError)
    assert str(error) == "bad seed\nand more"
    assert (error.exit_code, error.retryable) == (2, False)


@pytest.mark.parametrize(("status", "retryable"), [(1, False), (2, False), (3, False), (3, True)])
def test_the_stage_says_whether_a_retry_may_help(status: int, retryable: bool) -> None:
    error = failure(f"sacpipe: no{RETRY_NOTE if retryable else ''}", exited(status))
    assert (str(error), error.exit_code, error.retryable) == ("no", status, retryable)


def test_an_unexpected_exception_shows_its_last_lines() -> None:
    error = failure("Traceback (most recent call last):", "RuntimeError: a bug", exited(1))
    assert (error.exit_code, error.retryable) == (3, False)
    expected = "stage 'train' failed with exit code 1. Its last lines:\n"
    assert str(error) == expected + "Traceback (most recent call last):\nRuntimeError: a bug"


@pytest.mark.parametrize("status", [-9, 137])
def test_a_kill_is_named_with_and_without_a_shell_between(status: int) -> None:
    error = failure(exited(status))
    assert str(error).startswith("stage 'train' was killed (SIGKILL); the machine may be out of memory")
    assert error.retryable


def test_another_signal_is_named_by_its_number() -> None:
    assert str(failure(exited(-11))).startswith("stage 'train' was ended by signal 11")


def test_an_error_of_dvc_is_one_line_with_advice() -> None:
    error = failure(
        "WARNING: something else",
        "ERROR: failed to reproduce 'train': '/p/out/pool' is busy, it is being blocked by:",
        "  (PID 7): dvc repro b",
        "Having any troubles? Hit us up",
    )
    assert isinstance(error, StoreError)
    assert "blocked by: (PID 7): dvc repro b Another dvc process uses the same files." in str(error)
    assert "WARNING" not in str(error)
    assert "troubles" not in str(error)


@pytest.mark.parametrize(
    ("complaint", "advice"),
    [
        (
            "unexpected error - [Errno 2] No such file or directory: '/mnt/x'",
            "`dvc remote list` names the remote",
        ),
        ("unexpected error - [Errno 13] Permission denied: '/mnt/x'", "cannot be written"),
        ("/p is not a git repository", "dvc config core.no_scm true"),
        ("failed to push - [Errno 28] No space left on device", "Free some space"),
    ],
)
def test_every_trouble_of_the_outside_world_comes_with_advice(complaint: str, advice: str) -> None:
    message = str(failure(f"ERROR: {complaint}"))
    assert complaint in message
    assert advice in message


def test_a_params_file_that_cannot_be_read_is_the_operators_fault() -> None:
    error = failure(
        "ERROR: unable to read: 'params.yaml', YAML file structure is corrupted: while", "  in line 1"
    )
    assert isinstance(error, ConfigError)
    assert str(error).startswith("unable to read: 'params.yaml', YAML file structure is corrupted")


def test_a_stage_that_prints_dvcs_messages_on_stderr_changes_no_outcome() -> None:
    output = CommandOutput()
    output("stderr", "Running stage 'train':")
    assert not output.ran("train")
    output("stdout", "Running stage 'train':")
    assert output.ran("train")
    assert not output.ran("export")


def test_dvcs_messages_are_kept_however_much_a_stage_prints() -> None:
    output = CommandOutput()
    output("stdout", "Running stage 'train':")
    for number in range(1000):
        output("stdout", f"line {number}")
    assert output.ran("train")
    assert len(output.stdout) < 1000
