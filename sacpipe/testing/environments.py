"""The contract test of an environment: run `check_env` on a task before you train on it.

Other parts depend on the contract: exact resume on the seeds, the loss on the two flags, the replay pool
on arrays that are not changed later.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sacpipe.core.errors import ContractError, SacpipeError
from sacpipe.envs.base import Environment, TaskSection, require_time_limit
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


@dataclass(frozen=True)
class RuleResult:
    """What became of one rule of the contract."""

    rule: str
    error: SacpipeError | None
    """What breaks the rule; None if nothing does, or if it was not checked."""
    is_checked: bool
    """False where a rule before it failed, without which this one says nothing."""
    reason: str
    """What depends on the rule, and how to keep it."""

    @property
    def fault(self) -> str | None:
        """Text of the error, without a full stop."""
        return None if self.error is None else str(self.error).removesuffix(".")


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
    for result in env_results(task, episodes):
        if isinstance(result.error, ContractError):
            name = f"{task.suite}/{task.id}"
            raise ContractError(f"task '{name}' breaks the contract of an environment: {result.fault}.")
        if result.error is not None:
            raise result.error


def env_results(task: TaskSection, episodes: int = 2) -> Iterator[RuleResult]:
    """Test the rules of `Environment` one by one, and go on after a fault.

    Args:
        task: As for `check_env`.
        episodes: As for `check_env`.

    Raises:
        ValueError: `episodes` is below two.
    """
    if episodes < 2:
        raise ValueError(f"expected at least 2 episodes, found {episodes}: a difference needs two seeds")
    trial = _Trial(task, episodes)
    failed: set[str] = set()
    try:
        for rule, (check, needed, reason) in _RULES.items():
            is_checked = failed.isdisjoint(needed)
            error = None
            if is_checked:
                try:
                    check(trial)
                except SacpipeError as exc:
                    error = exc
            if error is not None or not is_checked:
                failed.add(rule)
            yield RuleResult(rule, error, is_checked, reason)
    finally:
        for env in trial.environments:
            env.close()


class _Trial:
    """Three instances of a task, and the episodes that the rules share."""

    def __init__(self, task: TaskSection, episodes: int) -> None:
        self.task, self.episodes = task, episodes
        self.name = f"{task.suite}/{task.id}"
        self.environments: tuple[Environment, ...] = ()
        self.traces: list[_Trace] = []

    def make(self) -> None:
        """Build the three instances."""
        self.environments = tuple(self.task.make() for _ in range(3))
        found = self.environments[0].spec.task
        _require(found == self.name, f"spec.task is '{found}', not '{self.name}'")
        _check_bounds(self.environments[0])

    def check_order(self) -> None:
        """Call the methods in the wrong order and with wrong actions."""
        _check_order(self.environments[0])

    def run_episodes(self) -> None:
        """Run a whole episode of each seed."""
        require_time_limit(self.environments[0].spec)
        self.traces = [_run(self.environments[0], seed) for seed in range(self.episodes)]

    def check_difference(self) -> None:
        """Compare the episodes of two seeds."""
        different = len(set(self.traces)) == self.episodes
        _require(different, "two different seeds gave the same episode")

    def check_repetition(self) -> None:
        """Run a seed again, in an instance that ran other seeds before."""
        env = self.environments[1]
        for other in (self.episodes, 1):
            _run(env, other, _SHORT)
        fault = "seed 0 gave another episode in an instance that had run other seeds before"
        _require(_run(env, 0) == self.traces[0], fault)

    def check_ownership(self) -> None:
        """Overwrite what the environment returned and received."""
        env = self.environments[2]
        is_independent = _run(env, 0, _SHORT) == _run(env, 0, _SHORT._replace(overwrite=True))
        _require(is_independent, "writing into a returned observation or a used action changed the episode")

    def check_clipping(self) -> None:
        """Compare actions outside [-1, 1] with clipped ones."""
        env, wide = self.environments[2], _SHORT._replace(scale=3.0)
        clipped = _run(env, 1, wide) == _run(env, 1, wide._replace(clip=True))
        _require(clipped, "an action outside [-1, 1] differs from the clipped action")

    def check_rewards(self) -> None:
        """Compare computed rewards with those of the steps."""
        _check_compute_rewards(self.environments[2])

    def check_close(self) -> None:
        """Close every instance twice."""
        _check_close(self.environments)


_RULES: dict[str, tuple[Callable[[_Trial], None], tuple[str, ...], str]] = {
    "built": (
        _Trial.make,
        (),
        "Training, evaluation and the robot's contract read the task's specification. Repair the task's "
        "constructor, its spaces or its options.",
    ),
    "call order": (
        _Trial.check_order,
        ("built",),
        "A step outside an episode would enter the replay pool. `TaskEnvironment` keeps this rule for its "
        "simulator.",
    ),
    "episodes": (
        _Trial.run_episodes,
        ("built",),
        "Every step must have a new float32 observation, a finite reward and two flags, and the time limit "
        "must end the episode: the pool on disk and the critics' targets depend on it. Repair what `reset` "
        "and `step` return.",
    ),
    "seeds differ": (
        _Trial.check_difference,
        ("episodes",),
        "An evaluation over equal episodes measures one episode. Draw the start from `self.np_random`, "
        "which `super().reset(seed=seed)` seeds.",
    ),
    "seed repeats": (
        _Trial.check_repetition,
        ("episodes",),
        "An interrupted run continues by repeating its episode from the seed; without that, its bytes depend "
        "on where it was interrupted. Take every random number from `self.np_random`, and set all state in "
        "`reset`.",
    ),
    "own arrays": (
        _Trial.check_ownership,
        ("episodes", "seed repeats"),
        "The replay buffer keeps what it gets. Return a copy of the state, and do not keep the action.",
    ),
    "clipped actions": (
        _Trial.check_clipping,
        ("episodes", "seed repeats"),
        "A policy's action may exceed the bounds by a rounding. `TaskEnvironment` clips for its simulator.",
    ),
    "computed rewards": (
        _Trial.check_rewards,
        ("episodes",),
        "Rewards of a robot's recordings are computed by this function. Repair it, or leave it out.",
    ),
    "closed": (
        _Trial.check_close,
        ("built",),
        "A closed simulator must not go on. `TaskEnvironment` keeps this rule for its simulator.",
    ),
}
"""Rules by name: the check, the rules without which it says nothing, and what depends on the rule."""


def _require(holds: bool, fault: str) -> None:
    if not holds:
        raise ContractError(f"{fault}.")


def _check_bounds(env: Environment) -> None:
    """A bound that float32 rounds may lie outside the task's own action space."""
    for term in env.spec.action:
        for bound in (term.low, term.high):
            is_exact = float(np.float32(bound)) == bound
            _require(is_exact, f"action '{term.name}' has the bound {bound!r}, which is no float32")


def _actions(dim: int, plan: _Plan) -> Iterator[FloatArray]:
    """Yield the same actions for every episode, so that only the seed can make two differ."""
    random = np.random.default_rng(0)
    while True:
        action = random.uniform(-plan.scale, plan.scale, dim).astype(np.float32)
        yield np.clip(action, np.float32(-1.0), np.float32(1.0)) if plan.clip else action


def _run(env: Environment, seed: int, plan: _Plan = _PLAIN) -> _Trace:
    """Run one episode, or some steps of it, and check each step."""
    limit = env.spec.max_episode_steps
    cut = plan.steps or limit or _STEPS_WITHOUT_LIMIT
    kept = [env.reset(seed)]
    _check_observation(kept[0], env)
    copies, rewards = [kept[0].tobytes()], []
    step = Step(kept[0], 0.0, False, False)
    for action in itertools.islice(_actions(env.spec.action_dim, plan), cut):
        before = action.copy()
        if plan.overwrite:
            kept[-1] += 1.0
        step = env.step(action)
        _require(bool((action == before).all()), "step() changed the action that it received")
        if plan.overwrite:
            np.add(action, 1.0, out=action)
        rewards.append(step.reward)
        _check_step(step, len(rewards), env)
        kept.append(step.observation)
        copies.append(step.observation.tobytes())
        if step.terminated or step.truncated:
            _require(_refuses(env), "step() after the end of an episode is accepted")
            break
    else:
        _require(len(rewards) != limit, f"the time limit of {limit} steps passed without truncation")
    is_intact = plan.overwrite or [observation.tobytes() for observation in kept] == copies
    _require(is_intact, "a returned observation was changed by a later step")
    all_rewards = np.array(rewards).tobytes()
    return _Trace(b"".join(copies), all_rewards, len(rewards), step.terminated, step.truncated)


def _check_observation(observation: FloatArray, env: Environment) -> None:
    expected = (env.spec.observation_dim,)
    _require(isinstance(observation, np.ndarray), f"an observation is a {type(observation).__name__}")
    _require(observation.dtype == np.float32, f"an observation is {observation.dtype}, not float32")
    shape = observation.shape
    _require(shape == expected, f"an observation has shape {shape}, not {expected}")
    _require(bool(np.isfinite(observation).all()), "an observation is not finite")
    _require(observation.flags.writeable, "an observation is read-only, so the caller does not own it")


def _check_step(step: Step, number: int, env: Environment) -> None:
    _check_observation(step.observation, env)
    limit = env.spec.max_episode_steps
    _require(type(step.reward) is float and np.isfinite(step.reward), f"a reward is {step.reward!r}")
    flags = (step.terminated, step.truncated)
    _require(all(type(flag) is bool for flag in flags), f"the flags are {flags}, not bool")
    _require(not all(flags), "a step is both terminated and truncated")
    early = step.truncated and number != limit
    _require(not early, f"truncated at step {number}, and the time limit is {limit}")


def _refuses(env: Environment) -> bool:
    try:
        env.step(np.zeros(env.spec.action_dim, dtype=np.float32))
    except ContractError:
        return True
    return False


def _check_order(env: Environment) -> None:
    _require(_refuses(env), "step() before reset() is accepted")
    env.reset(0)
    for bad in (np.zeros(env.spec.action_dim + 1), np.full(env.spec.action_dim, np.nan)):
        try:
            env.step(bad.astype(np.float32))
        except ContractError:
            continue
        _require(False, f"an action of shape {bad.shape} with first entry {bad[0]} is accepted")


def _check_compute_rewards(env: Environment) -> None:
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
        _require(bool(equal), "compute_rewards() and step() disagree on a reward or a termination")


def _check_close(environments: tuple[Environment, ...]) -> None:
    for env in environments:
        env.close()
        env.close()
        _require(_refuses(env), "step() after close() is accepted")
