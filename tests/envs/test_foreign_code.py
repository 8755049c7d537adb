"""What a task's own code raises while it is made becomes one error."""

import pytest

from sacpipe.core.errors import ConfigError, SimulatorError, UnknownTaskError
from sacpipe.envs import find_task
from sacpipe.envs.foreign_code import retryable_errors, task_errors


def test_refusal_carries_the_words_and_the_options():
    with (
        pytest.raises(ConfigError, match=r"task 't' refuses gain='a', mass=1: TypeError: no such gain"),
        task_errors("t", {"mass": 1, "gain": "a"}),
    ):
        raise TypeError("no such\n gain")


def test_refusal_without_options_blames_the_machine():
    with (
        pytest.raises(ConfigError, match="task 't' cannot be made here: OSError: no box"),
        task_errors("t", {}),
    ):
        raise OSError("no box")


def test_own_errors_pass_unchanged():
    with pytest.raises(UnknownTaskError), task_errors("t", {}):
        raise UnknownTaskError("t", ())


def test_a_task_that_ends_the_process_is_refused():
    with pytest.raises(ConfigError, match="cannot be made here: SystemExit: 0"), task_errors("t", {}):
        raise SystemExit(0)


def test_interruption_passes():
    with pytest.raises(KeyboardInterrupt), task_errors("t", {}):
        raise KeyboardInterrupt


class Remote:
    retryable_errors = (LookupError,)


@pytest.mark.parametrize(
    "error", [ConnectionRefusedError("port 5"), TimeoutError("port 5"), KeyError("port 5")]
)
def test_a_simulator_that_does_not_answer_now_may_answer_later(error):
    with (
        pytest.raises(SimulatorError, match="task 't' cannot be made now: .*port 5") as caught,
        task_errors("t", {"port": 5}, Remote),
    ):
        raise error
    assert caught.value.retryable


@pytest.mark.parametrize("value", [[OSError], (OSError, "EOFError"), (KeyboardInterrupt,), OSError])
def test_retryable_errors_are_a_tuple_of_exceptions(value):
    owner = type("Task", (), {"retryable_errors": value})
    with pytest.raises(
        ConfigError, match="task 't': retryable_errors: expected a tuple of exception classes"
    ):
        retryable_errors("t", owner)


def test_an_error_of_the_module_is_not_blamed_on_the_options_and_names_the_line(tmp_path, monkeypatch):
    (tmp_path / "arm_with_a_fault.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught, task_errors("t", {"gain": 1}):
        __import__("arm_with_a_fault")
    expected = "ModuleNotFoundError: No module named 'no_such_package' (arm_with_a_fault.py, line 1)"
    assert str(caught.value) == f"task 't' cannot be made here: {expected}"


def test_a_module_that_is_nowhere_says_where_modules_are_found():
    with pytest.raises(
        ConfigError, match="No module named 'no_such_task'; modules are found in the project's folder"
    ):
        find_task("gymnasium/no_such_task:Arm-v0")
