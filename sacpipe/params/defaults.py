"""A complete params.yaml for any task. `sacpipe params` prints it, and the committed params.yaml is one.

Keys, order and comments are those of the models; values are those of their presets (presets.py).
"""

import shlex
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from sacpipe.algorithms import ALGORITHMS
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.engines import ENGINES
from sacpipe.envs import find_task, suggested_metrics
from sacpipe.params import DEFAULT_ALGORITHM, DEFAULT_SEED
from sacpipe.params.assignments import parse_assignments
from sacpipe.params.budgets import budget_of
from sacpipe.params.model import Params
from sacpipe.params.presets import merged, preset_tree
from sacpipe.params.yaml_text import yaml_text
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_HEADER = """\
# All values of the pipeline; no other file has defaults. `dvc repro` runs the stages that a change affects.
# Made by `sacpipe params {command}`.
# Change a value by hand or with `dvc exp run -S training.total_steps=...`.
{tuned}
"""
_TUNED = """\
# Some values are tuned for this task; docs/environments.md has them with their sources.
"""


def params_text(
    name: str,
    *,
    steps: int | None = None,
    seed: int = DEFAULT_SEED,
    algorithm: str = DEFAULT_ALGORITHM,
    preset: str | None = None,
    assignments: Sequence[str] = (),
) -> str:
    """Return the text of a complete params.yaml.

    Args:
        name: Task suite and id, e.g. `gymnasium/Ant-v5`.
        steps: Environment steps, or None for the task's budget.
        seed: Seed of the run.
        algorithm: Registered name or import path (`module:attribute`).
        preset: One of the algorithm's variants, or None for its first.
        assignments: Values that go before those of presets, as `replay.sampler.name=n_step`. A section that
            they give in part has its other values from its own preset.

    Raises:
        UnknownTaskError: no such task.
        ConfigError: the task cannot be trained, there is no such algorithm or preset, a number is out of
            range, or an assignment has no key or no value of params.yaml.
    """
    changes = parse_assignments(assignments)
    source = "--set" if changes else "preset"
    variant = _variant(algorithm, preset)
    task = find_task(name)
    budget = budget_of(task.name)._replace(variant=variant)
    tuned = budget.tuned if algorithm == DEFAULT_ALGORITHM else {}
    values = merged(tuned, changes)
    task = task.parse(task.as_tree() | values.get("task", {}), where="task", source=source)
    with closing(task.make()) as environment:
        spec = environment.spec
    if steps is not None:
        budget = budget._replace(total_steps=steps)
    _check(budget, seed)
    if "metrics" not in values.get("task", {}):
        task = task.replace(metrics=list(suggested_metrics(task)))
    chosen = merged({"seed": seed, "algorithm": {"name": algorithm}}, values | {"task": task.as_tree()})
    engine = engine_for(chosen["algorithm"], spec, budget, source)
    chosen = merged({"engine": {"name": engine}}, chosen)
    command = " ".join([f"{task.suite}/{task.id}", *_options(algorithm, preset, assignments)])
    params = Params.parse(preset_tree(Params, chosen, spec, budget), source=source)
    return _HEADER.format(command=command, tuned=_TUNED if tuned else "") + yaml_text(params)


def engine_for(algorithm: dict[str, Any], spec: EnvSpec, budget: Budget, source: str = "preset") -> str:
    """Return the name of the engine in a new params.yaml: the fastest of ours that suits an algorithm.

    Args:
        algorithm: The chosen keys of the `algorithm` section, at least `name`.
        spec: Specification of the task.
        budget: Length of the training.
        source: Where the chosen keys come from, for messages.
    """
    model: type[Config] = ALGORITHMS.find_or_import(str(algorithm["name"]))
    config = model.parse(preset_tree(model, algorithm, spec, budget), where="algorithm", source=source)
    return next(name for name in reversed(ENGINES.ours) if ENGINES.find(name).suits(config))


def _variant(algorithm: str, preset: str | None) -> str:
    known: tuple[str, ...] = getattr(ALGORITHMS.find_or_import(algorithm), "variants", ())
    if preset is None:
        return known[0] if known else ""
    if preset not in known:
        expected = f"expected one of {', '.join(known)}" if known else f"{algorithm} has none"
        raise ConfigError(f"--preset: {expected}; found {preset}.")
    return preset


def _check(budget: Budget, seed: int) -> None:
    if budget.total_steps < 2:
        raise ConfigError(f"--steps: expected at least 2, found {budget.total_steps}.")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"--seed: expected 0 to {2**31 - 1}, found {seed}.")


def _options(algorithm: str, preset: str | None, assignments: Sequence[str]) -> list[str]:
    return [
        *[f"--algorithm {algorithm}"] * (algorithm != DEFAULT_ALGORITHM),
        *[f"--preset {preset}"] * (preset is not None),
        *(f"--set {shlex.quote(text)}" for text in assignments),
    ]
