"""The contract test of an environment: run `check_env` on a task before you train on it.

Other parts depend on the contract: exact resume on the seeds, the loss on the two flags, the replay pool
on arrays that are not changed later.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sacpipe.core.errors import ContractError
from sacpipe.envs.base import Environment, TaskSection
from sacpipe.specs.records import FloatArray, Step

_STEPS_WITHOUT_LIMIT = 1000
"""Steps of a whole episode in a task without a time limit."""
_SHORT_RUN_STEPS = 100
"""Steps of the runs that do not need the end of an episode."""


class _Plan(NamedTuple):
    """How one run differs from a plain episode."""

    steps: int | None = None
    """Number of steps after which the run stops; None runs to the end of the episode."""
    overwrite: bool = False
    """Whether every observation and action is overwritten after its use."""
    scale: float = 1.0
    """Bound of the random actions, which are drawn from [-scale, scale]."""
    clip: bool = False
    """Whether the actions are clipped to [-1, 1] before `step()`."""


_PLAIN = _Plan()
_SHORT = _Plan(steps=_SHORT_RUN_STEPS)


class _Trace(NamedTuple):
    """One run as bytes, for a comparison bit for bit, and how it ended."""

    observations: bytes
    rewards: bytes
    length: int
    terminated: bool
    truncated: bool


def check_env(task: TaskSection, episodes: int = 2) -> None:
    """Run episodes of a task with random actions and test every rule of `Environment`.

    Args:
        task: Section to build environments from; three are made and closed.
        episodes: Number of seeds to try, at least 2.

    Raises:
        ContractError: a rule is broken. The message has the task, the rule and what was found.
        SimulatorError: the task raised an error, or returned a value that its specification excludes.
        ConfigError: the task cannot be made.
        ValueError: `episodes` is below two.
    """
    if episodes < 2:
        raise ValueError(f"expected at least 2 episodes, found {episodes}: a difference needs two seeds")
    name = f"{task.universe}/{task.id}"
    first, second, third = task.make(), task.make(), task.make()
    _require(first.spec.task == name, name, f"spec.task is '{first.spec.task}', not '{name}'")
    _check_bounds(first, name)
    _check_order(first, name)
    traces = [_run(first, seed, name) for seed in range(episodes)]
    _require(len(set(traces)) == episodes, name, "two different seeds gave the same episode")
    for other in (episodes, 1):
        _run(second, other, name, _SHORT)
    is_repeated = _run(second, 0, name) == traces[0]
    _require(is_repeated, name, "seed 0 gave another episode in an instance that had run other seeds before")
    is_independent = _run(third, 0, name, _SHORT) == _run(third, 0, name, _SHORT._replace(overwrite=True))
    _require(is_independent, name, "writing into a returned observation or a used action changed the episode")
    wide = _SHORT._replace(scale=3.0)
    clipped = _run(third, 1, name, wide) == _run(third, 1, name, wide._replace(clip=True))
    _require(clipped, name, "an action outside [-1, 1] differs from the clipped action")
    _check_compute_rewards(third, name)
    _check_close((first, second, third), name)


def _require(holds: bool, name: str, fault: str) -> None:
    if not holds:
        raise ContractError(f"task '{name}' breaks the contract of an environment: {fault}.")


def _check_bounds(env: Environment, name: str) -> None:
    """A bound that float32 rounds may lie outside the task's own action space."""
    for term in env.spec.action:
        for bound in (term.low, term.high):
            is_exact = float(np.float32(bound)) == bound
            _require(is_exact, name, f"action '{term.name}' has the bound {bound!r}, which is no float32")


def _actions(dim: int, plan: _Plan) -> Iterator[FloatArray]:
    """Yield the same actions for every episode, so that only the seed can make two differ."""
    random = np.random.default_rng(0)
    while True:
        action = random.uniform(-plan.scale, plan.scale, dim).astype(np.float32)
        yield np.clip(action, np.float32(-1.0), np.float32(1.0)) if plan.clip else action


def _run(env: Environment, seed: int, name: str, plan: _Plan = _PLAIN) -> _Trace:
    """Run one episode, or some steps of it, and check each step."""
    limit = env.spec.max_episode_steps
    cut = plan.steps or limit or _STEPS_WITHOUT_LIMIT
    kept = [env.reset(seed)]
    _check_observation(kept[0], env, name)
    copies, rewards = [kept[0].tobytes()], []
    step = Step(kept[0], 0.0, False, False)
    for action in itertools.islice(_actions(env.spec.action_dim, plan), cut):
        before = action.copy()
        if plan.overwrite:
            kept[-1] += 1.0
        step = env.step(action)
        _require(bool((action == before).all()), name, "step() changed the action that it received")
        if plan.overwrite:
            np.add(action, 1.0, out=action)
        rewards.append(step.reward)
        _check_step(step, len(rewards), env, name)
        kept.append(step.observation)
        copies.append(step.observation.tobytes())
        if step.terminated or step.truncated:
            _require(_refuses(env), name, "step() after the end of an episode is accepted")
            break
    else:
        _require(len(rewards) != limit, name, f"the time limit of {limit} steps passed without truncation")
    is_intact = plan.overwrite or [observation.tobytes() for observation in kept] == copies
    _require(is_intact, name, "a returned observation was changed by a later step")
    all_rewards = np.array(rewards).tobytes()
    return _Trace(b"".join(copies), all_rewards, len(rewards), step.terminated, step.truncated)


def _check_observation(observation: FloatArray, env: Environment, name: str) -> None:
    expected = (env.spec.observation_dim,)
    _require(isinstance(observation, np.ndarray), name, f"an observation is a {type(observation).__name__}")
    _require(observation.dtype == np.float32, name, f"an observation is {observation.dtype}, not float32")
    shape = observation.shape
    _require(shape == expected, name, f"an observation has shape {shape}, not {expected}")
    _require(bool(np.isfinite(observation).all()), name, "an observation is not finite")
    _require(observation.flags.writeable, name, "an observation is read-only, so the caller does not own it")


def _check_step(step: Step, number: int, env: Environment, name: str) -> None:
    _check_observation(step.observation, env, name)
    limit = env.spec.max_episode_steps
    _require(type(step.reward) is float and np.isfinite(step.reward), name, f"a reward is {step.reward!r}")
    flags = (step.terminated, step.truncated)
    _require(all(type(flag) is bool for flag in flags), name, f"the flags are {flags}, not bool")
    _require(not all(flags), name, "a step is both terminated and truncated")
    early = step.truncated and number != limit
    _require(not early, name, f"truncated at step {number}, and the time limit is {limit}")


def _refuses(env: Environment) -> bool:
    try:
        env.step(np.zeros(env.spec.action_dim, dtype=np.float32))
    except ContractError:
        return True
    return False


def _check_order(env: Environment, name: str) -> None:
    _require(_refuses(env), name, "step() before reset() is accepted")
    env.reset(0)
    for bad in (np.zeros(env.spec.action_dim + 1), np.full(env.spec.action_dim, np.nan)):
        try:
            env.step(bad.astype(np.float32))
        except ContractError:
            continue
        _require(False, name, f"an action of shape {bad.shape} with first entry {bad[0]} is accepted")


def _check_compute_rewards(env: Environment, name: str) -> None:
    """Compare computed rewards and terminations of recorded steps with those of `step()`."""
    record, observation = [], env.reset(0)
    for action in itertools.islice(_actions(env.spec.action_dim, _PLAIN), _SHORT_RUN_STEPS):
        step = env.step(action)
        record.append((observation, action, step.observation, step.reward, step.terminated))
        observation = step.observation
        if step.terminated or step.truncated:
            break
    *columns, rewards, terminations = (np.array(column, np.float32) for column in zip(*record, strict=True))
    computed = env.compute_rewards(*columns)
    if computed is not None:
        equal = (
            np.allclose(computed[0], rewards, rtol=1e-4, atol=1e-5) and (computed[1] == terminations).all()
        )
        _require(bool(equal), name, "compute_rewards() and step() disagree on a reward or a termination")


def _check_close(environments: tuple[Environment, ...], name: str) -> None:
    for env in environments:
        env.close()
        env.close()
        _require(_refuses(env), name, "step() after close() is accepted")
