"""Rules of the contract of an environment that need no whole episode."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from sacpipe.core.errors import ContractError
from sacpipe.envs.base import Environment
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import stacked
from sacpipe.specs.terms import Group
from sacpipe.testing.environment_runs import PLAIN, SHORT_RUN_STEPS, random_actions, refuses, require


def check_bounds(env: Environment) -> None:
    """Check the action bounds: one that float32 rounds may lie outside the task's own action space.

    Raises:
        ContractError: a bound is no float32.
    """
    for term in env.spec.action:
        for bound in (term.low, term.high):
            is_exact = float(np.float32(bound)) == bound
            require(is_exact, f"action '{term.name}' has the bound {bound!r}, which is no float32")


def check_groups(spec: EnvSpec) -> None:
    """Check that the critics see a term, and that achieved and desired goals can be exchanged.

    Raises:
        ContractError: a rule is broken.
    """
    require(bool(_shapes(spec, "critic")), "no observation term is of the group `critic`")
    achieved, desired = _shapes(spec, "achieved_goal"), _shapes(spec, "desired_goal")
    fault = f"the achieved goal has the shapes {achieved}, and the desired goal {desired}"
    require(achieved == desired, fault)


def _shapes(spec: EnvSpec, group: Group) -> list[tuple[int, ...]]:
    return [term.shape for term in spec.observation if group in term.groups]


def check_order(env: Environment) -> None:
    """Check that calls in the wrong order and wrong actions are refused.

    Raises:
        ContractError: one is accepted.
    """
    require(refuses(env), "step() before reset() is accepted")
    env.reset(0)
    for bad in (np.zeros(env.spec.action_dim + 1), np.full(env.spec.action_dim, np.nan)):
        try:
            env.step(bad.astype(np.float32))
        except ContractError:
            continue
        require(False, f"an action of shape {bad.shape} with first entry {bad[0]} is accepted")


def check_metrics(env: Environment, names: Sequence[str]) -> None:
    """Check that every step has the metrics of the task's section, each one finite number.

    Raises:
        ContractError: a step has others.
    """
    require(env.metric_names == tuple(names), f"metric_names is {env.metric_names}, not {tuple(names)}")
    env.reset(0)
    for action in itertools.islice(random_actions(env.spec.action_dim, PLAIN), SHORT_RUN_STEPS):
        step = env.step(action)
        found = [*step.metrics]
        require(found == [*names], f"a step has the metrics {found}, not {[*names]}")
        for name, value in step.metrics.items():
            is_number = type(value) is float and math.isfinite(value)
            require(is_number, f"the metric '{name}' is {value!r}, not a finite float")
        if step.terminated or step.truncated:
            break


def check_compute_rewards(env: Environment) -> None:
    """Compare computed rewards and terminations of recorded steps with those of `step()`.

    Raises:
        ContractError: they differ.
    """
    record, observation = [], env.reset(0)
    for action in itertools.islice(random_actions(env.spec.action_dim, PLAIN), SHORT_RUN_STEPS):
        step = env.step(action)
        record.append((observation, action, step.observation, step.reward, step.terminated))
        observation = step.observation
        if step.terminated or step.truncated:
            break
    observations, actions, next_observations, rewards, terminations = zip(*record, strict=True)
    computed = env.compute_rewards(stacked(observations), np.stack(actions), stacked(next_observations))
    if computed is not None:
        is_equal = np.allclose(computed[0], np.array(rewards, np.float32), rtol=1e-4, atol=1e-5)
        is_equal &= bool((computed[1] == np.array(terminations, np.float32)).all())
        require(is_equal, "compute_rewards() and step() disagree on a reward or a termination")


def check_close(environments: Sequence[Environment]) -> None:
    """Close every environment twice.

    Raises:
        ContractError: a closed environment accepts a step.
    """
    for env in environments:
        env.close()
        env.close()
        require(refuses(env), "step() after close() is accepted")
