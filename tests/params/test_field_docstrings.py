"""What describes a field, whichever class has it and wherever that class is defined."""

import inspect

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.params.field_docstrings import field_docstring


class Base(Config):
    first: int
    """Number of the
    base."""
    second: int
    """Another one."""
    third: int = Field(description="Described.")
    """Not this."""


class Derived(Base):
    second: int
    fourth: int
    """Number of the derived class."""


class Base2:
    class Derived(Config):
        fourth: int
        """Of an inner class of the same name."""


def test_a_field_has_its_string_or_description_and_an_inherited_one_that_of_its_class():
    assert [field_docstring(Derived, name) for name in Derived.model_fields] == [
        "Number of the\nbase.", "", "Described.", "Number of the derived class.",
    ]  # fmt: skip
    assert field_docstring(Base2.Derived, "fourth") == "Of an inner class of the same name."


def test_a_class_without_source_has_none():
    typed = type("Typed", (Config,), {"__module__": "nowhere", "__annotations__": {"value": int}})
    assert field_docstring(typed, "value") == ""


def test_defining_a_model_reads_no_source(monkeypatch):
    """Reading it took a third of the start of every command."""

    def refuse(*_):
        raise AssertionError

    for name in ("findsource", "getsource", "getsourcelines", "getmodule"):
        monkeypatch.setattr(inspect, name, refuse)

    class Small(Config):
        value: int
        """A value."""

    assert Small(value=1).value == 1
