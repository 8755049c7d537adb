"""An error passes from a child process to its parent with its class, message and whether a retry may succeed."""

import json

import pytest

from sacpipe.core.error_fields import error_fields, error_of
from sacpipe.core.errors import ConfigError, GateError, SacpipeError, SimulatorError, UnknownTaskError


class ArmError(SimulatorError):
    """An error of another package."""


def test_an_error_of_another_package_comes_back_as_the_nearest_of_ours() -> None:
    found = error_of(json.loads(json.dumps(error_fields(ArmError("no contact", retryable=True)))))
    assert (type(found), str(found), found.retryable) == (SimulatorError, "no contact", True)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("a key is wrong"),
        SimulatorError("no answer", retryable=True),
        SimulatorError("no contact"),
        UnknownTaskError("suite/task", ["suite/tusk"]),
        GateError("too large", "size"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_it_was(error: SacpipeError) -> None:
    found = error_of(json.loads(json.dumps(error_fields(error))))
    assert (type(found), str(found), found.retryable) == (type(error), str(error), error.retryable)
    assert found.exit_code == error.exit_code
