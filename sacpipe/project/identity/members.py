"""The modules of the members that params, policies and contracts choose: suite, algorithm, sampler, ..."""

from collections.abc import Iterator, Mapping
from typing import Any

from sacpipe.core.config import Config
from sacpipe.core.members import registered_only
from sacpipe.networks.policies import POLICY_KINDS, PolicyConfig


def members_of(*sections: Any) -> tuple[str, ...]:
    """Return the modules of sections of params, and of the sections below them, each once.

    A member's config is in the member's own file, so its module is what the run depends on.
    """
    return tuple(dict.fromkeys(name for section in sections for name in _modules(section)))


def policy_members(kind: str, network: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the modules of a policy's kind and of the parts of its network.

    Args:
        kind: Registered name, as in the header of a policy file.
        network: The kind's own config, as in the header.

    Raises:
        ConfigError: a part is no registered member here.
    """
    model: type[PolicyConfig] = POLICY_KINDS.find(kind)
    with registered_only():
        return members_of(model.parse(network, where="network", source="policy"))


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
