"""The base class of every configuration section: frozen, strict, and without unknown keys.

Each section's model is in the package that uses it. Every value is in params.yaml: models hold types,
bounds, units and explanations, but no defaults. YAML is read by ruamel.yaml only (YAML 1.2, as DVC
reads it). The values are then validated as JSON, because pydantic's strict mode turns a list into a
tuple in JSON only.
"""

import copy
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import canonical_json, sha256_bytes


class Config(BaseModel):
    """A frozen section of params.yaml, or a small record stored as JSON. Unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, mapping: Any, *, where: str = "", source: str = "params.yaml") -> Self:
        """Validate a plain mapping.

        Args:
            mapping: Output of a YAML or JSON reader.
            where: Key path of the mapping inside its file, for messages.
            source: Name of that file, for messages.

        Raises:
            ConfigError: a key or a value is wrong. The message has every wrong key path, what was
                expected there and what was found.
        """
        try:
            text = json.dumps(mapping)
        except (TypeError, ValueError) as exc:
            raise ConfigError(
                f"{source}: {where or 'the file'} has a value that JSON cannot hold: {exc}."
            ) from exc
        try:
            return cls.model_validate_json(text)
        except ValidationError as exc:
            raise ConfigError(_explain(exc, cls, where, source)) from exc

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a whole YAML file.

        Raises:
            ConfigError: the file is missing, is not YAML, or does not fit the model.
        """
        return cls.parse(read_yaml(path), source=str(path))

    @classmethod
    def load_sections(cls, path: Path) -> Self:
        """Read only this model's own top-level sections of a YAML file; other sections are not checked.

        Raises:
            ConfigError: the file is missing, is not YAML, lacks a section, or does not fit the model.
        """
        tree = read_yaml(path)
        return cls.parse({key: tree[key] for key in cls.model_fields if key in tree}, source=str(path))

    def replace(self, **changes: Any) -> Self:
        """Return a validated copy with some values changed (pydantic's `model_copy` does not validate)."""
        return self.parse(self.as_tree() | changes)

    def as_tree(self) -> dict[str, Any]:
        """Return the model as plain JSON values."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON."""
        return sha256_bytes(canonical_json(self.as_tree()).encode())


def load_yaml(path: Path) -> Any:
    """Return the tree of a YAML 1.2 file. A command reads the same few files many times: bytes parse once.

    Raises:
        OSError: the file is missing or cannot be read.
        UnicodeDecodeError: the file is no text.
        YAMLError: the file is not YAML.
    """
    return copy.deepcopy(_parsed(path.read_bytes()))


@lru_cache(maxsize=16)
def _parsed(data: bytes) -> Any:
    return YAML(typ="safe").load(data)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        tree = load_yaml(path)
    except FileNotFoundError as exc:
        raise ConfigError(f"{path} is missing. `sacpipe params TASK` prints a complete one.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}.") from exc
    except YAMLError as exc:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(exc).split())}") from exc
    if not isinstance(tree, Mapping):
        raise ConfigError(f"{path}: expected a mapping of sections, found {type(tree).__name__}.")
    return dict(tree)


class SectionError(ValueError):
    """A section whose model another key chose does not fit that model.

    Args:
        model: The chosen model.
        error: What is wrong with the section.
    """

    def __init__(self, model: type[BaseModel], error: ValidationError) -> None:
        super().__init__(str(error))
        self.model, self.error = model, error


class MemberNameError(ValueError):
    """A key of a section names no member of a table.

    Args:
        key: The key.
        message: What was expected.
    """

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def closest_first(name: str, known: Iterable[str]) -> list[str]:
    """Return names in the order of their likeness to a wrong one where any is like it, else sorted."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    return near + [other for other in names if other not in near]


def _explain(exc: ValidationError, model: type[BaseModel], where: str, source: str) -> str:
    """Return one line per fault: the key path, what was expected, what was found, what to do."""
    lines = _faults(exc, model, (where,) if where else ())
    return f"{source}: " + f"\n{source}: ".join(lines)


def _faults(exc: ValidationError, model: type[BaseModel], above: tuple[str, ...]) -> Iterator[str]:
    for error in exc.errors(include_url=False):
        parts = (*above, *(str(part) for part in error["loc"]))
        path = ".".join(parts) or "the file"
        kind, found = error["type"], error.get("input")
        inner = error.get("ctx", {}).get("error")
        if isinstance(inner, SectionError):
            yield from _faults(inner.error, inner.model, parts)
        elif isinstance(inner, MemberNameError):
            value = found.get(inner.key) if isinstance(found, Mapping) else found
            yield f"{'.'.join((*parts, inner.key))}: {inner}, found {_short(value)}"
        elif kind == "extra_forbidden":
            known = closest_first(str(error["loc"][-1]), _known_keys(model, error["loc"][:-1]))
            yield f"{path}: unknown key; expected one of {', '.join(known)}. Remove or rename it"
        elif kind == "missing":
            yield f"{path}: missing. Add it; `sacpipe params TASK` prints a complete file"
        else:
            message = error["msg"].removeprefix("Value error, ")
            is_whole = kind == "value_error" and isinstance(found, Mapping)  # the message names its part
            yield f"{path}: {message}" + ("" if is_whole else f", found {_short(found)}")


def _short(value: Any) -> str:
    text = json.dumps(value) if not isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> set[str]:
    """Return the keys allowed at a location, looking through discriminated unions and tuples."""
    candidates = [model]
    for part in location:
        following: list[type[BaseModel]] = []
        for candidate in candidates:
            fields = candidate.model_fields
            if part in fields:
                following += _models_in(fields[part].annotation)
            elif isinstance(part, str) and any(
                part in get_args(field.annotation) for field in fields.values()
            ):
                following.append(candidate)  # pydantic puts the union's tag into the path
        candidates = following or candidates
    return {key for candidate in candidates for key in candidate.model_fields}


def types_in(annotation: Any) -> Iterator[Any]:
    """Walk the parts of an annotation at any depth: of unions and tuples, and metadata of `Annotated`."""
    yield annotation
    for part in get_args(annotation):
        yield from types_in(part)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    return [part for part in types_in(annotation) if isinstance(part, type) and issubclass(part, BaseModel)]
