"""The values of a new params.yaml, collected from the presets of its sections' models.

A model has a classmethod `preset(spec, budget)`, which returns the values of its keys; a nested section that
it leaves out, or gives in part, is completed from the nested model's own preset. So a value is in one place:
beside the field it belongs to. docs/decisions/0015.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from sacpipe.core.config import Config, types_in
from sacpipe.core.errors import ConfigError
from sacpipe.core.members import MemberKey
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

Tree = dict[str, Any]
_TAGS = ("name", "mode")
"""Keys that say which of several models a section has."""


def preset_tree(model: type[Config], chosen: Mapping[str, Any], spec: EnvSpec, budget: Budget) -> Tree:
    """Return a value for every key of a section, and of the sections below it.

    Args:
        model: The section's model.
        chosen: Values that go before those of presets, e.g. `{"algorithm": {"name": "td3"}}`.
        spec: Specification of the task.
        budget: Length of the training.

    Raises:
        ConfigError: a key has no value, or a table has no such member.
    """
    return _Presets(spec, budget).tree(model, chosen, model.__name__)


class _Presets:
    def __init__(self, spec: EnvSpec, budget: Budget) -> None:
        self._spec, self._budget = spec, budget

    def tree(self, model: type[Config], chosen: Mapping[str, Any], where: str) -> Tree:
        """Return all values of one model, in the order of its fields, then unknown keys of `chosen`."""
        preset = getattr(model, "preset", None)
        values = merged({} if preset is None else preset(self._spec, self._budget), chosen)
        found = {name: self._value(name, field, values, where) for name, field in model.model_fields.items()}
        return found | {name: value for name, value in values.items() if name not in found}

    def _value(self, name: str, field: FieldInfo, values: Mapping[str, Any], where: str) -> Any:
        if name in values:
            return self._completed(field, values[name], f"{where}.{name}")
        if not field.is_required():
            return _plain(field.get_default(call_default_factory=True))
        literal = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        if len(literal) == 1:
            return literal[0]
        if isinstance(field.annotation, type) and issubclass(field.annotation, Config) and not field.metadata:
            return self.tree(field.annotation, {}, f"{where}.{name}")
        raise ConfigError(
            f"{where}: the preset has no value for the key '{name}'. Return one from the classmethod "
            "`preset(spec, budget)` of the model, or give one with the others of the section."
        )

    def _completed(self, field: FieldInfo, value: Any, where: str) -> Any:
        """Return a value in which sections that are given in part have all keys."""
        if isinstance(value, (list, tuple)):
            return [self._completed(field, one, where) for one in value]
        if not isinstance(value, Mapping):
            return value
        model = _model(field, value)
        return dict(value) if model is None else self.tree(model, value, where)


def merged(preset: Mapping[str, Any], chosen: Mapping[str, Any]) -> Tree:
    """Return the preset with the chosen values; sections in both are merged, but not of two members."""
    found = dict(preset)
    for key, value in chosen.items():
        before = found.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping) and not _is_other(before, value):
            found[key] = merged(before, value)
        else:
            found[key] = value
    return found


def _is_other(before: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    return any(chosen.get(tag, before.get(tag)) != before.get(tag) for tag in _TAGS)


def models_in(field: FieldInfo) -> list[type[Config]]:
    """Return the models of the sections that a field may hold, except those of a table."""
    parts = [part for part in types_in(field.annotation) if isinstance(part, type)]
    return [part for part in parts if issubclass(part, Config) and part is not Config]


def _model(field: FieldInfo, value: Mapping[str, Any]) -> type[Config] | None:
    """Return the model of a section: of a table, of a union by its tag, or the only one."""
    for part in (*field.metadata, *types_in(field.annotation)):
        if isinstance(part, MemberKey):
            found: type[Config] = part.members.find_or_import(str(value.get(part.key)))
            return found
    models = models_in(field)
    if len(models) > 1:
        models = [model for model in models if _has_tag(model, value)]
    return models[0] if len(models) == 1 else None


def _has_tag(model: type[Config], value: Mapping[str, Any]) -> bool:
    tags = {
        name: get_args(field.annotation)
        for name, field in model.model_fields.items()
        if get_origin(field.annotation) is Literal
    }
    return any(value.get(name) in allowed for name, allowed in tags.items())


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.as_tree()
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
