"""A printed params.yaml is complete and valid for every task; each value and each comment is in one place."""

import argparse
import ast
import re

import pytest
from factories import SUITE_TASKS
from repository import ROOT
from ruamel.yaml import YAML

from sacpipe.algorithms import ALGORITHMS
from sacpipe.bundle.guards import GUARDS
from sacpipe.cli.params import add_arguments
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.core.members import MemberKey
from sacpipe.engines import ENGINES
from sacpipe.envs import SUITES, list_tasks
from sacpipe.evaluation.config import DEFAULT_EPISODES, EvaluationConfig
from sacpipe.networks.trunks import TRUNKS
from sacpipe.params.budgets import BUDGETS, budget_of
from sacpipe.params.defaults import engine_for, params_text
from sacpipe.params.model import Params
from sacpipe.params.presets import models_in, preset_tree
from sacpipe.params.yaml_text import comment_of
from sacpipe.replay.samplers import SAMPLERS

POINT_MASS = "point_mass/point-mass-v0"
EXAMPLES = [f"{suite}/{task}" for suite, task in SUITE_TASKS.items() if suite != "robosuite"]
"""One task of each suite; tests/robosuite_environment has those of robosuite."""


def read(text):
    return YAML(typ="safe").load(text)


def check(text, task):
    tree = read(text)
    params = Params.parse(tree)
    assert params.as_tree() == tree
    assert f"{params.task.suite}/{params.task.id}" == task


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS.ours)
@pytest.mark.parametrize("task", EXAMPLES)
def test_the_file_is_complete_for_any_suite_and_algorithm(task, algorithm):
    check(params_text(task, algorithm=algorithm), task)


@pytest.mark.acceptance
def test_the_file_is_complete_for_every_task():
    for task in list_tasks():
        check(params_text(task), task)


@pytest.mark.parametrize("steps", [2, 3, 19, 20, 64, 1000, 10_000_000])
def test_the_file_fits_any_length(steps):
    params = Params.parse(read(params_text(POINT_MASS, steps=steps)))
    assert params.training.total_steps == steps
    assert params.training.random_steps < steps
    assert params.export.golden_steps <= steps
    assert params.replay.capacity <= steps


@pytest.mark.parametrize("preset", ["paper", "softlearning"])
def test_a_preset_is_a_variant_of_the_algorithm(preset):
    algorithm = Params.parse(read(params_text(POINT_MASS, preset=preset))).algorithm
    assert algorithm.actor_q == {"paper": "min", "softlearning": "mean"}[preset]
    assert algorithm.adam.epsilon == {"paper": 1e-8, "softlearning": 1e-7}[preset]
    assert (
        algorithm.temperature.objective == {"paper": "log_temperature", "softlearning": "temperature"}[preset]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 1}, "--steps: expected at least 2, found 1"),
        ({"seed": -1}, "--seed: expected 0 to"),
        ({"seed": 2**31}, "--seed: expected 0 to"),
        ({"preset": "fast"}, "--preset: expected one of paper, softlearning; found fast"),
        ({"preset": "paper", "algorithm": "td3"}, "--preset: td3 has none; found paper"),
        ({"algorithm": "sacc"}, "algorithm 'sacc': expected one of sac"),
        ({"algorithm": "no_such:Thing"}, "algorithm 'no_such:Thing': `no_such:Thing` cannot be imported"),
    ],
)
def test_what_is_wrong_in_the_arguments_is_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        params_text(POINT_MASS, **arguments)


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(UnknownTaskError, match="point-mass-v0"):
        params_text("point_mas")


OWN = """
from typing import Literal
from sacpipe.core.config import Config

class Own(Config):
    \"\"\"An own algorithm.\"\"\"
    name: str
    gain: float = 0.5
    \"\"\"Gain of the loop.\"\"\"
    steps: int
    \"\"\"Steps of the horizon.\"\"\"
    @classmethod
    def preset(cls, spec, budget):
        return {"steps": spec.max_episode_steps}

class Bare(Config):
    name: str
    gain: float
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "my_printed.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_an_own_algorithm_brings_values_and_comments(own):
    text = params_text(POINT_MASS, algorithm="my_printed:Own")
    block = text.partition("\nalgorithm:")[2].partition("\n\n")[0]
    assert [re.sub(" +", " ", line) for line in block.splitlines()] == [
        " # An own algorithm",
        f" name: my_printed:Own # algorithm: {', '.join(ALGORITHMS.names())}, or one of another package",
        " gain: 0.5 # gain of the loop",
        " steps: 50 # steps of the horizon",
    ]
    assert read(text)["engine"]["name"] == "autograd"
    assert "`sacpipe params point_mass/point-mass-v0 --algorithm my_printed:Own`" in text


def test_an_algorithm_without_a_value_for_a_key_is_refused_with_what_to_write(own):
    with pytest.raises(ConfigError, match=r"no value for the key 'gain'.*`preset\(spec, budget\)`"):
        params_text(POINT_MASS, algorithm="my_printed:Bare")


def test_pixels_get_a_convolution_autograd_and_segments_by_bytes(image_spec):
    budget = budget_of("gymnasium/Camera-v0")
    section = {"name": "sac"}
    assert engine_for(section, image_spec, budget) == "autograd"
    chosen = {
        "seed": 1,
        "task": {"suite": "point_mass", "id": "point-mass-v0", "options": {}, "metrics": []},
        "algorithm": section,
        "engine": {"name": "autograd"},
    }
    params = Params.parse(preset_tree(Params, chosen, image_spec, budget))
    assert params.algorithm.network.name == "conv"
    size = 84 * 84 * 9 * params.replay.segment_transitions
    assert 16 * 2**20 <= size <= 64 * 2**20
    assert params.replay.capacity * 84 * 84 * 9 <= 4 * 2**30


@pytest.fixture
def image_spec():
    from bundle_factories import make_spec, term_tree

    return make_spec(observation=[term_tree("camera", 84, 84, 9, dtype="uint8"), term_tree("speed", 2)])


def test_budgets_have_a_pattern_for_every_task():
    assert BUDGETS[-1][0] == ""
    assert budget_of("point_mass/point-mass-v0").total_steps == 3000
    assert budget_of("gymnasium/HalfCheetah-v5").learning_rate == 1e-3
    assert budget_of("my_suite/Arm").total_steps == 1_000_000


def members():
    """The config models of all of our members."""
    tables = (SUITES, ALGORITHMS, ENGINES, SAMPLERS, TRUNKS, GUARDS)
    return [table.find(name) for table in tables for name in table.ours]


def models():
    """All models of params.yaml: the file, its sections, and those of every member of ours."""
    found: dict[type[Config], None] = {}
    pending = [Params, *members()]
    while pending:
        model = pending.pop()
        if model not in found:
            found[model] = None
            pending += [part for field in model.model_fields.values() for part in models_in(field)]
    return list(found)


def test_every_key_has_a_comment_of_its_own():
    """A key that names the member of a table has the names; a list's item has the docstring of its class."""
    bare = [
        f"{model.__name__}.{name}"
        for model in models()
        for name in model.model_fields
        if not comment_of(model, name) and name not in ("name", "suite", "fallback")
    ]
    assert bare == []
    assert not [model.__name__ for model in members() if not (model.__doc__ or "").strip()]


def test_no_model_of_ours_has_a_default_beside_its_preset():
    """A value in two places can differ in them; and a key may not be missing from params.yaml."""
    assert [
        f"{model.__name__}.{name}"
        for model in models()
        for name, field in model.model_fields.items()
        if not field.is_required()
    ] == []


@pytest.mark.slow
def test_no_line_is_too_long_to_read():
    for algorithm in ALGORITHMS.ours:
        text = params_text("gymnasium/HalfCheetah-v5", algorithm=algorithm)
        assert [line for line in text.splitlines() if len(line) > 130] == []


def test_the_key_of_a_member_lists_the_members():
    text = params_text(POINT_MASS)
    for table in (ALGORITHMS, ENGINES, SAMPLERS, TRUNKS, SUITES):
        assert f"# {table.what}: {', '.join(table.ours)}" in text


def test_member_keys_are_found_in_annotations():
    assert isinstance(Params.model_fields["algorithm"].metadata[0], MemberKey)


SHARED = {
    "sacpipe/cli/params.py": {"--seed": "DEFAULT_SEED", "--algorithm": "DEFAULT_ALGORITHM"},
    "sacpipe/cli/check_env.py": {"--episodes": "MIN_SEEDS"},
    "sacpipe/params/defaults.py": {"seed": "DEFAULT_SEED", "algorithm": "DEFAULT_ALGORITHM"},
    "sacpipe/testing/environments.py": {"episodes": "MIN_SEEDS"},
    "sacpipe/simulation/simulate.py": {"episodes": "DEFAULT_EPISODES", "seed": "DEFAULT_SEED"},
}


@pytest.mark.parametrize("path", SHARED)
def test_a_default_of_the_command_line_and_of_a_function_is_one_constant(path):
    found = {}
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.arguments):
            named = [*node.args[len(node.args) - len(node.defaults) :], *node.kwonlyargs]
            found |= {
                one.arg: getattr(default, "id", None)
                for one, default in zip(named, [*node.defaults, *node.kw_defaults], strict=True)
            }
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "add_argument":
            keys = {key.arg: getattr(key.value, "id", None) for key in node.keywords}
            found[node.args[0].value] = keys.get("default")
    assert {name: found[name] for name in SHARED[path]} == SHARED[path]
    assert EvaluationConfig.preset(None, None)["episodes"] == DEFAULT_EPISODES


def test_the_help_of_params_names_every_algorithm():
    """Its text has the names, because the table costs the command line the import of pydantic."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = parser.format_help()
    assert ", ".join(ALGORITHMS.ours) in " ".join(text.split())
