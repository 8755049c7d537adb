"""Errors of foreign code become one error that names its place; errors of sacpipe and Ctrl-C pass."""

import pytest

from sacpipe.core.errors import ConfigError, StoreError, StoreUnavailableError
from sacpipe.core.fence import fenced
from sacpipe.core.members import Members


class Member:
    """A member of another package, and its registry."""

    name = "theirs"

    @property
    def registry(self):
        return Member()

    @property
    def broken(self):
        raise KeyError("property")

    def give(self, value):
        return value

    def fail(self, error):
        raise error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (KeyError("x"), StoreError, "KeyError: 'x'"),
        (SystemExit(0), StoreError, "SystemExit: 0"),
        (ConnectionRefusedError("no"), StoreUnavailableError, "ConnectionRefusedError: no"),
        (TimeoutError("late"), StoreUnavailableError, "TimeoutError: late"),
    ],
)
def test_an_error_of_a_foreign_member_names_it(error, kind, text):
    member = fenced(Member(), "tracker 'theirs'", parts=("registry",))
    for one in (member, member.registry):
        with pytest.raises(StoreError, match=f"tracker 'theirs' raised {text}") as found:
            one.fail(error)
        assert type(found.value) is kind
        assert found.value.__cause__ is error


def test_values_pass_and_a_property_is_fenced_too():
    member = fenced(Member(), "a place")
    assert (member.give(3), member.name, member.registry.give(None)) == (3, "theirs", None)
    with pytest.raises(StoreError, match="a place raised KeyError"):
        _ = member.broken


@pytest.mark.parametrize("error", [ConfigError("own"), StoreUnavailableError("own"), KeyboardInterrupt()])
def test_errors_of_sacpipe_and_an_interruption_pass(error):
    with pytest.raises(type(error)) as found:
        fenced(Member(), "a place").fail(error)
    assert found.value is error


def test_errors_of_a_module_that_the_member_calls_pass():
    with pytest.raises(KeyError):
        fenced(Member(), "a place", __name__).fail(KeyError("of this module"))


def test_a_member_of_sacpipe_is_returned_as_it_is():
    own = Members("kind", "group", {})
    assert fenced(own, "a place") is own
