"""Members of a table by name: ours, those of installed packages, and those that params.yaml names by path.

A table is a family of interchangeable parts: task suites, algorithms, trunks, policy kinds, samplers,
engines, guards. Entry points are declared in a package's metadata under the table's group, e.g.
`sacpipe.algorithms`. A file that comes from another machine (pool, policy, bundle, checkpoint) chooses among
registered members only, never by an import path.
"""

import contextlib
import difflib
import importlib
import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from importlib.metadata import entry_points
from typing import Annotated, Any, NamedTuple

from pydantic import PlainSerializer, PlainValidator, ValidationError

from sacpipe.core.config import Config, MemberNameError, SectionError
from sacpipe.core.errors import ConfigError

_REGISTERED_ONLY: ContextVar[bool] = ContextVar("_REGISTERED_ONLY", default=False)


@contextlib.contextmanager
def registered_only() -> Iterator[None]:
    """Refuse import paths meanwhile, at any depth: what is read may come from another machine."""
    token = _REGISTERED_ONLY.set(True)
    try:
        yield
    finally:
        _REGISTERED_ONLY.reset(token)


class Members:
    """The table of one family.

    Args:
        what: Noun for messages, e.g. `algorithm`.
        group: Group of the entry points, e.g. `sacpipe.algorithms`.
        ours: `module:attribute` of each of the product's members, by name.
        base: Class of which each member is a subclass; a section of params.yaml by default.
    """

    def __init__(self, what: str, group: str, ours: Mapping[str, str], *, base: type = Config) -> None:
        self.what, self.group, self.ours, self.base = what, group, dict(ours), base

    def names(self) -> tuple[str, ...]:
        """List the registered names: the product's, then those of installed packages, sorted."""
        installed = {entry.name for entry in entry_points(group=self.group)}
        return (*self.ours, *sorted(installed - self.ours.keys()))

    def __contains__(self, name: str) -> bool:
        return name in self.ours or name in self.names()

    def find(self, name: str) -> Any:
        """Import a registered member. A name of the product's is never another package's.

        Raises:
            ConfigError: no such member, with all names, the nearest first; its package fails at import; or it
                is no subclass of `base`.
        """
        if name in self.ours:
            return self._load(name, self.ours[name])
        for entry in entry_points(group=self.group, name=name):
            return self._load(name, entry.value)
        near = difflib.get_close_matches(name, self.names(), n=3, cutoff=0.5)
        offer = near + [other for other in self.names() if other not in near]
        raise ConfigError(
            f"{self.what} '{name}': expected one of {', '.join(offer)}, or a member of an installed package "
            f"(entry points '{self.group}'){_colon_hint(name)}."
        )

    def find_or_import(self, name: str) -> Any:
        """Import a registered member, or `module:attribute`. For values of params.yaml and options only.

        Raises:
            ConfigError: as `find`, or the module has no such attribute.
        """
        if ":" not in name:
            return self.find(name)
        if _REGISTERED_ONLY.get():
            raise ConfigError(
                f"{self.what} '{name}': expected a registered name, because this file names no import path. "
                f"Declare it as an entry point of the group '{self.group}'."
            )
        return self._load(name, name)

    def _load(self, name: str, path: str) -> Any:
        found = import_named(self.what, name, path)
        if isinstance(found, type) and issubclass(found, self.base):
            if lacks := ", ".join(sorted(getattr(found, "__abstractmethods__", ()))):
                raise ConfigError(f"{self.what} '{name}': its class `{path}` lacks the methods {lacks}.")
            return found
        section = "the class of its section, a subclass of sacpipe.core.config.Config"
        expected = section if self.base is Config else "a class"
        raise ConfigError(f"{self.what} '{name}': expected {expected}, not {repr(found)[:100]}.")


class MemberKey(NamedTuple):
    """Metadata of the type that `member_field` returns."""

    members: Members
    key: str
    """Key of the section that names the member."""


def member_field(members: Members, key: str = "name") -> Any:
    """Return the type of a params section that one of its keys makes a member of a table.

    Args:
        members: The table. A member is a subclass of `Config`.
        key: The key that names the member, by registered name or by import path.
    """

    def parse(value: Any) -> Any:
        if isinstance(value, Config):
            return value
        name = value.get(key) if isinstance(value, Mapping) else None
        if not isinstance(name, str):
            raise MemberNameError(key, f"expected one of {', '.join(members.names())}")
        try:
            member = members.find_or_import(name)
        except ConfigError as exc:
            raise MemberNameError(key, str(exc).removesuffix(".")) from exc
        try:
            return member.model_validate_json(json.dumps(value))
        except ValidationError as exc:
            if ":" in name and any(fault["loc"] == (key,) for fault in exc.errors(include_url=False)):
                expected = f"an import path needs a class with the field `{key}: str`, not a `Literal`"
                raise MemberNameError(key, f"{members.what}: {expected}") from exc
            raise SectionError(member, exc) from exc

    return Annotated[Config, MemberKey(members, key), PlainValidator(parse), PlainSerializer(Config.as_tree)]


def import_named(what: str, name: str, path: str) -> Any:
    """Return what an import path `module:attribute` names.

    Args:
        what: Kind of thing, for the message.
        name: Under which the path is known.
        path: From the code of a member, never from a file of others.

    Raises:
        ConfigError: the import fails.
    """
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as exc:
        reason = " ".join(f"{type(exc).__name__}: {exc}".split())[:300]
        raise ConfigError(f"{what} '{name}': `{path}` cannot be imported: {reason}.") from exc


def _colon_hint(name: str) -> str:
    """Return a note for a name that was meant as an import path."""
    module, _, attribute = name.rpartition(".")
    return f"; an import path has a colon, as `{module}:{attribute}`" if module and ":" not in name else ""
