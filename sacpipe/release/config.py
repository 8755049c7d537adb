"""The `release` section of params.yaml: name, mode, and the rules of the release gate."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from sacpipe.core.config import Config, read_yaml
from sacpipe.envs import TaskConfig
from sacpipe.release.rules.rule import RULES, RuleField
from sacpipe.release.verdict import Mode
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

MAX_RULES = 100
"""Maximum number of rules."""


_OF_CERTAIN_ROBOTS = {"smoothness", "saturation", "delay"}
"""Rules that a new file lacks: the best policy of some tasks breaks any threshold of theirs."""


def _as_tuple(rules: Any) -> Any:
    """Return a list as the tuple of strict validation: the section's own validator came before it."""
    return tuple(rules) if isinstance(rules, list) else rules


ModelName = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""Name of a registered model."""


class ReleaseConfig(Config):
    """Name of the registered model, and the gate of its releases."""

    model_name: ModelName
    """Name of the registered model."""
    mode: Mode
    """What a verdict does: enforce, dry_run (say it only) or off (judge nothing)."""
    auto: bool
    """Whether `sacpipe run` promotes an accepted candidate itself."""
    rules: Annotated[tuple[RuleField, ...], BeforeValidator(_as_tuple)] = Field(max_length=MAX_RULES)
    """Rules of the release gate, each once; one that is not listed is off."""

    @model_validator(mode="before")
    @classmethod
    def _replaced_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "min_return_mean" in values:
            raise ValueError(
                "min_return_mean is a rule now: replace the key by `mode: enforce`, `auto: false` and "
                "`rules:` with `- {name: floor, min_return_mean: ...}`. `sacpipe params TASK` prints a whole "
                "section"
            )
        return values

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [rule.name for rule in self.rules]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(f"rules: expected each rule once, found '{name}' twice")
        return self

    @classmethod
    def preset(cls, spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the rules whose thresholds are sound for any task."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", spec.task.partition("/")[2])
        rules = [{"name": rule} for rule in RULES.ours if rule not in _OF_CERTAIN_ROBOTS]
        return {"model_name": name, "mode": "enforce", "auto": False, "rules": rules}


class ReleaseParams(Config):
    """The sections of params.yaml that the release gate depends on."""

    seed: int
    task: TaskConfig
    release: ReleaseConfig


class _ModelName(Config):
    model_name: ModelName


def read_model_name(path: Path) -> str:
    """Return `release.model_name` of params.yaml; an error elsewhere in the file does not stop a rollback.

    Raises:
        ConfigError: the file is missing or is not YAML, or the name is missing or wrong.
    """
    release = read_yaml(path).get("release")
    found = (
        {key: release[key] for key in _ModelName.model_fields if key in release}
        if isinstance(release, Mapping)
        else {}
    )
    return _ModelName.parse(found, source=str(path), where="release").model_name
