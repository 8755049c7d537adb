"""Runs episodes of an environment for its contract test, and checks each step."""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ContractError
from sacpipe.envs.base import Environment
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Step

_STEPS_WITHOUT_LIMIT = 1000
"""Steps of a whole episode in a task without a time limit."""
SHORT_RUN_STEPS = 100
"""Steps of the runs that do not need the end of an episode."""


class Plan(NamedTuple):
    """How one run differs from a plain episode."""

    steps: int | None = None
    """Number of steps after which the run stops; None runs to the end of the episode."""
    overwrite: bool = False
    """Whether every observation and action is overwritten after its use."""
    scale: float = 1.0
    """Bound of the random actions, which are drawn from [-scale, scale]."""
    clip: bool = False
    """Whether the actions are clipped to [-1, 1] before `step()`."""


PLAIN = Plan()
SHORT = Plan(steps=SHORT_RUN_STEPS)


class Trace(NamedTuple):
    """One run as bytes, for a comparison bit for bit, and how it ended."""

    observations: bytes
    rewards: bytes
    metrics: str
    length: int
    terminated: bool
    truncated: bool


def require(holds: bool, fault: str) -> None:
    """Raise ContractError with a fault where something does not hold."""
    if not holds:
        raise ContractError(f"{fault}.")


def refuses(env: Environment) -> bool:
    """Return whether an environment refuses a step."""
    try:
        env.step(np.zeros(env.spec.action_dim, dtype=np.float32))
    except ContractError:
        return True
    return False


def random_actions(dim: int, plan: Plan) -> Iterator[FloatArray]:
    """Yield the same actions for every episode, so that only the seed can make two differ."""
    random = np.random.default_rng(0)
    while True:
        action = random.uniform(-plan.scale, plan.scale, dim).astype(np.float32)
        yield np.clip(action, np.float32(-1.0), np.float32(1.0)) if plan.clip else action


def run_episode(env: Environment, seed: int, plan: Plan = PLAIN) -> Trace:
    """Run one episode, or some steps of it, and check each step.

    Raises:
        ContractError: a step breaks a rule.
    """
    limit = env.spec.max_episode_steps
    cut = plan.steps or limit or _STEPS_WITHOUT_LIMIT
    kept = [env.reset(seed)]
    _check_observation(kept[0], env)
    copies, rewards, metrics = [_as_bytes(kept[0])], [], []
    step = Step(kept[0], 0.0, False, False)
    for action in itertools.islice(random_actions(env.spec.action_dim, plan), cut):
        before = action.copy()
        if plan.overwrite:
            _overwrite(kept[-1])
        step = env.step(action)
        require(bool((action == before).all()), "step() changed the action that it received")
        if plan.overwrite:
            np.add(action, 1.0, out=action)
        rewards.append(step.reward)
        metrics.append(dict(step.metrics))
        _check_step(step, len(rewards), env)
        kept.append(step.observation)
        copies.append(_as_bytes(step.observation))
        if step.terminated or step.truncated:
            require(refuses(env), "step() after the end of an episode is accepted")
            break
    else:
        require(len(rewards) != limit, f"the time limit of {limit} steps passed without truncation")
    is_intact = plan.overwrite or [_as_bytes(observation) for observation in kept] == copies
    require(is_intact, "a returned observation was changed by a later step")
    ending = (len(rewards), step.terminated, step.truncated)
    return Trace(b"".join(copies), np.array(rewards).tobytes(), repr(metrics), *ending)


def _as_bytes(observation: Observation) -> bytes:
    return b"".join([observation.vector.tobytes(), *(one.tobytes() for one in observation.images.values())])


def _overwrite(observation: Observation) -> None:
    observation.vector += 1.0
    for image in observation.images.values():
        np.add(image, 1, out=image)


def _check_observation(observation: Observation, env: Environment) -> None:
    layout = env.spec.layout
    is_packed = isinstance(observation, Observation)
    require(is_packed, f"an observation is a {type(observation).__name__}, not an Observation")
    require(observation.layout == layout, "an observation has other terms than the specification")
    _check_array("an observation's vector", observation.vector, (layout.vector_dim,), np.float32)
    require(bool(np.isfinite(observation.vector).all()), "an observation is not finite")
    names = [*observation.images]
    expected = [term.name for term in layout.image_terms]
    require(sorted(names) == sorted(expected), f"an observation has the images {names}, not {expected}")
    for term in layout.image_terms:
        _check_array(f"the image '{term.name}'", observation.images[term.name], term.shape, np.uint8)


def _check_array(what: str, array: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> None:
    require(isinstance(array, np.ndarray), f"{what} is a {type(array).__name__}")
    require(array.dtype == dtype, f"{what} is {array.dtype}, not {np.dtype(dtype)}")
    require(array.shape == shape, f"{what} has shape {array.shape}, not {shape}")
    require(array.flags.writeable, f"{what} is read-only, so the caller does not own it")


def _check_step(step: Step, number: int, env: Environment) -> None:
    _check_observation(step.observation, env)
    limit = env.spec.max_episode_steps
    require(type(step.reward) is float and np.isfinite(step.reward), f"a reward is {step.reward!r}")
    flags = (step.terminated, step.truncated)
    require(all(type(flag) is bool for flag in flags), f"the flags are {flags}, not bool")
    require(not all(flags), "a step is both terminated and truncated")
    early = step.truncated and number != limit
    require(not early, f"truncated at step {number}, and the time limit is {limit}")
