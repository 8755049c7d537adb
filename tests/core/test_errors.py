"""The tree in the docstring is the tree in the code."""

import inspect
import re

from sacpipe.core import errors
from sacpipe.core.errors import SacpipeError


def drawn():
    """Read (name, parent) pairs off the drawing."""
    parents: dict[int, str] = {}
    for line in errors.__doc__.splitlines():
        match = re.match(r"^(    [│ ├└─]*)([A-Z]\w+Error)\b", line)
        if match:
            depth = (len(match.group(1)) - 4) // 3
            parents[depth] = match.group(2)
            yield match.group(2), parents.get(depth - 1)


def test_drawing_matches_the_classes():
    classes = [
        item for _, item in inspect.getmembers(errors, inspect.isclass) if issubclass(item, SacpipeError)
    ]
    expected = {(item.__name__, None if item is SacpipeError else item.__base__.__name__) for item in classes}
    assert set(drawn()) == expected


def test_exit_codes_and_retries():
    assert errors.ConfigError("x").exit_code == 2
    assert errors.StoreError("x").exit_code == 3
    assert errors.StageError("x").exit_code == 3
    assert errors.SimulatorError("x").exit_code == 3
    assert errors.SimulatorError("x", retryable=True).retryable
    retryable = {
        item.__name__
        for _, item in inspect.getmembers(errors, inspect.isclass)
        if getattr(item, "retryable", False)
    }
    assert retryable == {"StoreUnavailableError"}


def test_an_unknown_task_offers_the_nearest():
    message = str(errors.UnknownTaskError("gymnasium/HalfChetah-v5", ["gymnasium/HalfCheetah-v5"]))
    assert "Did you mean gymnasium/HalfCheetah-v5?" in message
    assert "of your own" not in message
    message = str(errors.UnknownTaskError("gymnasium/Dot-v0", (), may_be_own=True))
    assert message.endswith("A task of your own has the name `gymnasium/MODULE:ID`.")


def test_the_message_of_a_bundle_controls_no_terminal():
    for error in (errors.BundleError("a\x1b[2J\nb"), errors.GateError("a\x1b[2J\nb", "contract")):
        assert str(error).endswith("a\\x1b[2J\\nb")
