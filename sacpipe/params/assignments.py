"""Values that a command line gives, `KEY=VALUE`, as a tree of chosen values for a new params.yaml."""

from collections.abc import Iterable, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sacpipe.core.errors import ConfigError

_BY_ARGUMENT = {
    "task.suite": "TASK",
    "task.id": "TASK",
    "algorithm.name": "--algorithm",
    "training.total_steps": "--steps",
}
"""Keys that decide what all presets are, and the argument of `sacpipe params` that has them."""


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Return the tree of some `KEY=VALUE`; a key is a path joined by dots, a value is YAML 1.2.

    Raises:
        ConfigError: a text is no assignment, its value is no YAML, or two texts give the same key.
    """
    tree: dict[str, Any] = {}
    for text in texts:
        key, found, value = text.partition("=")
        path = key.strip().split(".")
        if not (found and all(path)):
            raise ConfigError(f"--set: expected KEY=VALUE, as training.batch_size=128, found '{text}'.")
        _put(tree, path, _read(key, value))
    for key, argument in _BY_ARGUMENT.items():
        section, _, name = key.partition(".")
        if not isinstance(tree.get(section, {}), Mapping):
            raise ConfigError(f"--set {section}: expected keys of the section, as {section}.KEY=VALUE.")
        if name in tree.get(section, {}):
            raise ConfigError(f"--set {key}: its place is the argument {argument}.")
    return tree


def _read(key: str, value: str) -> Any:
    try:
        return YAML(typ="safe").load(value)
    except YAMLError as exc:
        raise ConfigError(f"--set {key}: '{value}' is not valid YAML: {' '.join(str(exc).split())}") from exc


def _put(tree: dict[str, Any], path: list[str], value: Any) -> None:
    section = tree
    for name in path[:-1]:
        section = section.setdefault(name, {})
        if not isinstance(section, dict):
            break
    if not isinstance(section, dict) or path[-1] in section:
        raise ConfigError(f"--set {'.'.join(path)}: given twice, or inside a value that is given as a whole.")
    section[path[-1]] = value
