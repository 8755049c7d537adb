"""What a task's own code raises while it is made becomes one error."""

from typing import ClassVar

import pytest
from factories import make_spec

from sacpipe.core.errors import ConfigError, SimulatorError, UnknownTaskError
from sacpipe.envs import find_task
from sacpipe.envs.base import TaskSection
from sacpipe.envs.foreign_code import retryable_errors, task_errors
from sacpipe.specs.env_spec import EnvSpec


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


class OwnSuite(TaskSection):
    """A suite of another package, whose specification may be wrong."""

    suite_name: ClassVar[str] = "own"

    def make(self, render_size=None):
        del render_size
        period_s = self.options.get("period_s", 0.1)
        if period_s == "typed":
            raise KeyError("period_s")
        return EnvSpec(**(dict(make_spec(2, [(-1.0, 1.0)])) | {"control_period_s": period_s}))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"period_s": -1.0},
            r"task 'own/arm-v0' refuses period_s=-1\.0: control_period_s: Input should be greater",
        ),
        ({"period_s": "typed"}, r"task 'own/arm-v0' refuses period_s='typed': KeyError: 'period_s' \(test_"),
    ],
)
def test_an_invalid_specification_of_a_foreign_suite_is_refused_by_its_task(options, message):
    task = OwnSuite(suite="own", id="arm-v0", options=options, metrics=())
    with pytest.raises(ConfigError, match=message):
        task.make()


class Derived(OwnSuite):
    """A suite that takes another's `make`."""


def test_an_invalid_specification_of_a_derived_suite_is_refused_too():
    with pytest.raises(ConfigError, match="control_period_s"):
        Derived(suite="own", id="arm-v0", options={"period_s": -1.0}, metrics=()).make()
