"""The modules of the members that params and policy files choose: task suite, algorithm, trunk, sampler, guards."""

from collections.abc import Iterator, Mapping
from typing import Any

from sacpipe.core.config import Config


def members_of(*sections: Any) -> tuple[str, ...]:
    """Return the modules of sections of params, and of the sections below them, each once.

    A member's config is in the member's own file, so its module is what the run depends on.
    """
    return tuple(dict.fromkeys(name for section in sections for name in _modules(section)))


def _modules(value: Any) -> Iterator[str]:
    if isinstance(value, Config):
        yield type(value).__module__
        for name in type(value).model_fields:
            yield from _modules(getattr(value, name))
    elif isinstance(value, Mapping):
        yield from _modules(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _modules(item)
