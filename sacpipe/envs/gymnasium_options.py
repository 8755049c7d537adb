"""Keyword arguments of a registered Gymnasium task: what its constructor accepts, and in which type.

YAML has no tuples, a task may change the lists that it receives, and a plain Gymnasium task need not accept
`render_mode`.
"""

import copy
import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from sacpipe.envs.base import Options


def find_constructor(gym: Any, task_id: str) -> tuple[Callable[..., Any] | None, Mapping[str, Any]]:
    """Return a registered task's constructor, and the keyword arguments of its registration.

    Args:
        gym: The module gymnasium.
        task_id: Registered id; the module of `module:Id-v0` is imported first.

    Returns:
        None and an empty mapping for an id that is not registered; `gym.make` explains it.
    """
    from gymnasium.envs import registration

    module, _, name = task_id.rpartition(":")
    if module:
        importlib.import_module(module)
    spec = gym.registry.get(name)
    if spec is None:
        namespace, bare, version = registration.parse_env_id(name)
        newest = registration.find_highest_version(namespace, bare) if version is None else version
        spec = gym.registry.get(registration.get_env_id(namespace, bare, newest))
    if spec is None or spec.entry_point is None:
        return None, {}
    entry_point = spec.entry_point
    return (entry_point if callable(entry_point) else registration.load_env_creator(entry_point)), spec.kwargs


class Parameters:
    """Named parameters of a constructor, and of those of its bases that it passes keyword arguments to.

    Args:
        constructor: A class or a function; None accepts every name.
    """

    def __init__(self, constructor: Callable[..., Any] | None) -> None:
        self._defaults: dict[str, Any] = {}
        self._any_name = not _takes_nothing(constructor)
        for function in _functions(constructor):
            try:
                parameters = inspect.signature(function).parameters.values()
            except (TypeError, ValueError):  # of a compiled class
                return
            for parameter in parameters:
                if parameter.kind in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
                    self._defaults.setdefault(parameter.name, parameter.default)
            if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters):
                self._any_name = False
                return

    def accepts(self, name: str) -> bool:
        """Return whether the constructor has a parameter of this name, or takes any name."""
        return self._any_name or name in self._defaults

    def has(self, name: str) -> bool:
        """Return whether the constructor has a parameter of this name."""
        return name in self._defaults

    def convert(self, options: Options, registered: Mapping[str, Any]) -> dict[str, Any]:
        """Return copies of options, with a tuple for a list where the default is a tuple.

        Args:
            options: Keyword arguments from params.yaml.
            registered: Defaults of the registration, which precede those of the constructor.
        """
        defaults = self._defaults | dict(registered)
        return {name: _convert(value, defaults.get(name)) for name, value in options.items()}


def _functions(constructor: Callable[..., Any] | None) -> list[Any]:
    if constructor is None or _takes_nothing(constructor):
        return []
    if not inspect.isclass(constructor):
        return [constructor]
    return [
        kind.__dict__["__init__"]
        for kind in constructor.__mro__
        if kind is not object and "__init__" in kind.__dict__
    ]


def _takes_nothing(constructor: Any) -> bool:
    """Return whether a class has no constructor of its own."""
    return inspect.isclass(constructor) and (
        constructor.__init__ is object.__init__ and constructor.__new__ is object.__new__
    )


def _convert(value: Any, default: Any) -> Any:
    if isinstance(value, list) and isinstance(default, tuple):
        entry = default[0] if default else None
        return tuple(_convert(item, entry) for item in value)
    return copy.deepcopy(value)
