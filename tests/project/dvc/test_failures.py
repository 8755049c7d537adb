"""The errors that an operator reads after a stage or an operation of DVC failed."""

import json

import pytest

from sacpipe.core.errors import ConfigError, StageError, StoreError
from sacpipe.project.dvc.failures import Answer


def answer(*stderr, **fields):
    answer = Answer()
    for line in stderr:
        answer("stderr", line)
    answer("answer", '{"started": true}')
    answer("answer", json.dumps(fields))
    return answer


def exited(status, *stderr):
    return answer(*stderr, error="stage", status=status).stage_failure("train", b"")


@pytest.mark.parametrize(("status", "retryable"), [(1, False), (2, False), (3, False), (3, True)])
def test_the_error_is_what_the_stage_reported(status, retryable):
    reported = json.dumps(
        {"message": "bad seed\nand more", "exit_code": status, "retryable": retryable}
    ).encode()
    error = answer("10 %", error="stage", status=status).stage_failure("train", reported)
    assert isinstance(error, StageError)
    assert (str(error), error.exit_code, error.retryable) == ("bad seed\nand more", status, retryable)


def test_a_stage_that_reported_nothing_shows_its_last_lines():
    error = exited(1, *map(str, range(20)), "Traceback (most recent call last):", "RuntimeError: a bug")
    assert (error.exit_code, error.retryable) == (3, False)
    expected = "stage 'train' failed with exit code 1. Its last lines:\n14\n15\n16\n17\n18\n19\n"
    assert str(error) == expected + "Traceback (most recent call last):\nRuntimeError: a bug"
    assert str(exited(1)) == "stage 'train' failed with exit code 1."  # a terminal has shown them


@pytest.mark.parametrize("status", [-9, 137])
def test_a_kill_is_named_with_and_without_a_shell_between(status):
    error = exited(status)
    assert str(error).startswith("stage 'train' was killed (SIGKILL); the machine may be out of memory")
    assert error.retryable


def test_another_signal_is_named_by_its_number():
    assert str(exited(-11)).startswith("stage 'train' was ended by signal 11")


def test_an_error_of_dvc_has_its_advice_and_one_of_params_is_the_operators():
    error = answer(error="dvc", message="it is busy", advice="Wait.").stage_failure("train", b"")
    assert isinstance(error, StoreError)
    assert str(error) == "stage 'train': `dvc repro` failed: it is busy Wait."
    error = answer(error="params", message="seed is missing.", advice="").stage_failure("train", b"")
    assert isinstance(error, ConfigError)
    assert str(error) == "seed is missing. `sacpipe params TASK` prints a complete file."


def test_a_process_that_was_killed_before_it_answered_is_an_error_of_the_store():
    silent = Answer()
    silent("stderr", "MemoryError")
    error = silent.stage_failure("train", b"")
    assert isinstance(error, StoreError)
    assert str(error) == "stage 'train': `dvc repro` failed: its process ended without an answer: MemoryError"
