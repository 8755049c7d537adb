"""The contract test of a learner: run `check_learner` on an algorithm of your own before you train with it.

Other parts depend on the contract: exact resume on the state, the log on documented metrics, export on the
policy.
"""

import dataclasses
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from sacpipe.algorithms.base import AlgorithmSection, Arrays, EvaluatedEpisode, Explorer, Learner
from sacpipe.algorithms.td_errors import find_td_errors
from sacpipe.core.errors import CheckpointError, ConfigError, ContractError, DivergenceError
from sacpipe.networks.policy_file import encode_policy, read_policy, write_policy
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch, FloatArray
from sacpipe.testing.learner_tasks import draw_batch, draw_observations, learner_tasks

_BATCH_SIZE = 16
_TOLERANCE = 1e-4
"""Largest difference between an action of `act` and that of the exported function."""


def check_learner(config: AlgorithmSection) -> None:
    """Build learners for tasks of every kind and test every rule of `Learner`.

    An algorithm may refuse a task with a ConfigError, e.g. one with images, but not all of them.

    Args:
        config: Config of the algorithm, such as its `example()`.

    Raises:
        ContractError: a rule is broken. The message has the algorithm, the task, the rule and the finding.
        ConfigError: the algorithm refuses every task.
    """
    refusals: list[ConfigError] = []
    tasks = learner_tasks()
    for kind, spec in tasks.items():
        try:
            config.build(spec, 0)
        except ConfigError as exc:
            refusals.append(exc)
            continue
        trial = _Trial(config, spec)
        for check in _CHECKS:
            try:
                check(trial)
            except ContractError as exc:
                raise ContractError(
                    f"algorithm '{config.name}' breaks the contract of a learner; task with {kind}: {exc}"
                ) from exc
    if len(refusals) == len(tasks):
        raise refusals[0]


class _Trial:
    """Learners of one config for one task."""

    def __init__(self, config: AlgorithmSection, spec: EnvSpec) -> None:
        self.config, self.spec = config, spec
        self.observations = draw_observations(spec, 77, 4)

    def fresh(self, seed: int = 0) -> Learner:
        """Return a learner without updates."""
        return self.config.build(self.spec, seed)

    def trained(self, seed: int = 0, updates: int = 3) -> Learner:
        """Return a learner with some updates and observations."""
        learner = self.fresh(seed)
        self.train(learner, range(updates))
        return learner

    def train(self, learner: Learner, numbers: range) -> None:
        """Make updates that depend on their numbers only."""
        for number in numbers:
            learner.observe(self.observations.rows(number % 4))
            learner.update(self.batch(number))

    def batch(self, number: int, size: int = _BATCH_SIZE) -> Batch:
        """Return the batch of a number."""
        return draw_batch(self.spec, number, size, 0.9)


def _check_actions(trial: _Trial) -> None:
    learner = trial.trained()
    before = learner.state()
    _require(
        0.0 <= learner.discount <= 1.0, f"discount: expected a number in [0, 1], found {learner.discount}"
    )
    for row in range(4):
        observation = trial.observations.rows(row)
        kept = observation.copy()
        for seed in (None, 1, 2):
            first = learner.act(observation, _random(seed))
            action = np.array(first)
            second = learner.act(observation, _random(seed))
            found = (type(first), getattr(first, "dtype", None), np.shape(first))
            expected = (np.ndarray, np.dtype(np.float32), (trial.spec.action_dim,))
            _require(found == expected, f"act: expected {_shown(expected)}, found {_shown(found)}")
            in_range = bool(np.isfinite(first).all() and (np.abs(first) <= 1.0).all())
            _require(in_range, f"act: expected actions in [-1, 1], found {first}")
            what = "without a generator" if seed is None else "for the same state of the generator"
            _require(
                np.array_equal(action, second), f"act: expected the same action {what}, found another one"
            )
        _require(observation.equals(kept), "act: expected the observation unchanged, found another one")
    _require_same(before, learner.state(), "act: expected the state unchanged")


def _check_exploration(trial: _Trial) -> None:
    """Explore for some steps of an episode, and go on in another learner."""
    learner, resumed = trial.trained(), trial.trained(seed=9)
    if not hasattr(learner, "explore"):
        return
    _require(hasattr(learner, "end_episode"), "end_episode: expected it beside `explore`, found none")
    first, second = cast("Explorer", learner), cast("Explorer", resumed)
    for number in range(6):
        action = first.explore(trial.observations.rows(number % 4), np.random.default_rng(number))
        found = (type(action), action.dtype, action.shape)
        expected = (np.ndarray, np.dtype(np.float32), (trial.spec.action_dim,))
        _require(found == expected, f"explore: expected {_shown(expected)}, found {_shown(found)}")
        _require(bool((np.abs(action) <= 1.0).all()), "explore: expected actions in [-1, 1]")
    resumed.load_state(learner.state())
    observation = trial.observations.rows(0)
    for what in ("load_state", "end_episode"):
        actions = [one.explore(observation, np.random.default_rng(7)) for one in (first, second)]
        same = np.array_equal(actions[0], actions[1])
        _require(same, f"{what}: expected the training actions of a learner that went on")
        first.end_episode()
        second.end_episode()


def _check_groups(trial: _Trial) -> None:
    """Change all that only critics see, and look at the action."""
    learner, spec = trial.trained(), trial.spec
    observation = trial.observations.rows(0).copy()
    before = learner.act(observation, None)
    for term in spec.observation:
        if "policy" not in term.groups:
            observation[term.name][...] += 1
    after = learner.act(observation, None)
    _require(np.array_equal(before, after), "act: expected an action of the policy's terms only")
    seen = spec.policy_spec.layout.pack(
        {term.name: observation[term.name] for term in spec.policy_spec.observation}
    )
    alone = learner.policy().network.act(seen, None)
    _require(
        np.array_equal(before, alone),
        "policy: expected the action of `act` from the policy's terms alone, found another one",
    )


def _check_seeds(trial: _Trial) -> None:
    first, second, other = trial.trained(), trial.trained(), trial.trained(seed=1)
    _require_same(
        first.state(), second.state(), "expected the same state after the same updates from one seed"
    )
    _require(first.diagnostics() == second.diagnostics(), "diagnostics: expected the same from one seed")
    a, b = first.state(), other.state()
    differs = any(not np.array_equal(a[name], b[name]) for name in _floats(a) if name in b)
    _require(differs, "expected other parameters from another seed, found the same")


def _check_update(trial: _Trial) -> None:
    learner = trial.fresh()
    _require(
        learner.gradient_steps == 0, f"gradient_steps: expected 0 at first, found {learner.gradient_steps}"
    )
    before, batch, kept = learner.state(), trial.batch(0), trial.batch(0)
    learner.update(batch)
    changed = [name for name in _floats(before) if not np.array_equal(before[name], learner.state()[name])]
    _require(bool(changed), "update: expected other parameters, found the same")
    for field in ("actions", "rewards", "discounts"):
        same = np.array_equal(getattr(batch, field), getattr(kept, field))
        _require(same, f"update: expected the batch unchanged, found other {field}")
    same = batch.observations.equals(kept.observations) and batch.next_observations.equals(
        kept.next_observations
    )
    _require(same, "update: expected the batch unchanged, found other observations")
    learner.update(trial.batch(1, size=5))
    _require(learner.gradient_steps == 2, f"gradient_steps: expected 2, found {learner.gradient_steps}")


def _check_diagnostics(trial: _Trial) -> None:
    try:
        trial.fresh().diagnostics()
    except ValueError:
        pass
    else:
        raise ContractError("diagnostics: expected a ValueError before the first update.")
    learner = trial.trained()
    before = learner.state()
    _check_metrics(learner, "diagnostics", learner.diagnostics())
    _require_same(before, learner.state(), "diagnostics: expected the state unchanged")
    observation = trial.observations.rows(1)
    episode = EvaluatedEpisode(observation, learner.act(observation, None), (1.0, -0.5, 2.0))
    _check_metrics(learner, "describe_episodes", learner.describe_episodes([episode, episode]))
    _require_same(before, learner.state(), "describe_episodes: expected the state unchanged")


def _check_metrics(learner: Learner, method: str, found: dict[str, float]) -> None:
    patterns = [re.escape(name).replace(r"\{i\}", r"\d+") for name in learner.metrics()]
    for name, value in found.items():
        known = any(re.fullmatch(pattern, name) for pattern in patterns)
        _require(known, f"{method}: expected names of metrics(), found '{name}'")
        is_number = isinstance(value, float) and np.isfinite(value)
        _require(is_number, f"{method}: expected finite floats, found {value!r} of '{name}'")


def _check_state(trial: _Trial) -> None:
    whole = trial.trained(updates=4)
    state = whole.state()
    kept = {name: array.copy() for name, array in state.items()}
    resumed = trial.trained(seed=9, updates=1)
    resumed.load_state(state)
    described = []
    for number in range(4, 9):
        for learner in (whole, resumed):
            trial.train(learner, range(number, number + 1))
        described.append((whole.diagnostics(), resumed.diagnostics()))
    _require_same(kept, state, "state: expected copies, which later updates leave alone")
    _require_same(whole.state(), resumed.state(), "load_state: expected the state of a learner that went on")
    _require(
        whole.gradient_steps == resumed.gradient_steps,
        "load_state: expected the number of gradient steps too",
    )
    _require(
        all(first == second for first, second in described),
        "diagnostics: expected those of a learner that went on, found others after load_state",
    )
    actions = [learner.act(trial.observations.rows(2), _random(3)) for learner in (whole, resumed)]
    same = np.array_equal(actions[0], actions[1])
    _require(same, "load_state: expected the actions of a learner that went on")


def _check_wrong_states(trial: _Trial) -> None:
    learner = trial.trained()
    state = learner.state()
    name = next(name for name in _floats(state) if state[name].size)
    damaged: dict[str, Arrays] = {
        "a missing array": {key: array for key, array in state.items() if key != name},
        "a left over array": state | {"another/array": np.zeros(3, dtype=np.float32)},
        "an array of another shape": state | {name: np.zeros((*state[name].shape, 2), dtype=np.float32)},
    }
    for what, wrong in damaged.items():
        try:
            learner.load_state(wrong)
        except CheckpointError:
            continue
        raise ContractError(f"load_state: expected a CheckpointError for {what}, found none.")


def _check_policy_file(trial: _Trial) -> None:
    learner = trial.trained()
    policy = learner.policy()
    _require(":" not in policy.header.algorithm, "policy: expected the algorithm's name without its module")
    _require(policy.header.spec == trial.spec.policy_spec, "policy: expected the policy_spec in the header")
    _require(
        encode_policy(policy) == encode_policy(policy), "policy: expected the same bytes at every writing"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_policy(Path(folder, "policy.safetensors"), policy)
        read = read_policy(Path(folder, "policy.safetensors"))
    for row in range(4):
        observation = trial.observations.rows(row)
        same = np.array_equal(read.network.act(observation, None), learner.act(observation, None))
        _require(same, "policy: expected the learner's deterministic actions from its file")


def _check_exported_function(trial: _Trial) -> None:
    learner = trial.trained()
    network, spec = learner.policy().network, trial.spec.policy_spec
    terms = [
        torch.from_numpy(np.ascontiguousarray(trial.observations[term.name])) for term in spec.observation
    ]
    if network.noise_dim is not None:
        terms.append(torch.zeros(4, network.noise_dim))
    with torch.no_grad():
        actions = network(*terms).numpy()
    expected = (4, spec.action_dim)
    _require(actions.shape == expected, f"forward: expected actions of {expected}, found {actions.shape}")
    _require(bool((np.abs(actions) <= 1.0).all()), "forward: expected actions in [-1, 1]")
    if network.noise_dim is None:
        single = np.stack([learner.act(trial.observations.rows(row), None) for row in range(4)])
        furthest = float(np.abs(single - actions).max())
        _require(
            furthest <= _TOLERANCE,
            f"forward: expected the actions of `act`, found a difference of {furthest:g}",
        )


def _check_divergence(trial: _Trial) -> None:
    learner = trial.trained()
    before = _tensors(learner)
    batch = trial.batch(5)
    batch.rewards[3] = np.float32("nan")
    try:
        learner.update(batch)
    except DivergenceError:
        pass
    else:
        raise ContractError("update: expected a DivergenceError for a reward that is not a number.")
    _require_same(before, _tensors(learner), "update: expected the policy unchanged after a DivergenceError")
    for name, array in learner.state().items():
        finite = bool(np.isfinite(array).all())
        _require(finite, f"update: expected finite arrays after a DivergenceError, found others in '{name}'")


def _check_td_errors(trial: _Trial) -> None:
    """Check that a learner with `td_errors` tells them, and that its loss has the weights of a batch."""
    learner, batch = trial.trained(), trial.batch(5)
    td_errors = find_td_errors(learner)
    if td_errors is None:
        return
    fresh = find_td_errors(trial.fresh())
    try:
        found = None if fresh is None else fresh()
    except ValueError:
        found = None
    _require(found is None, "td_errors: expected a ValueError before the first update")
    learner.update(batch)
    errors = td_errors()
    kind = getattr(errors, "dtype", None), np.shape(errors)
    expected = np.dtype(np.float32), (_BATCH_SIZE,)
    _require(kind == expected, f"td_errors: expected {_shown(expected)}, found {_shown(kind)}")
    is_absolute = bool(np.isfinite(errors).all() and (errors >= 0).all())
    _require(is_absolute, "td_errors: expected finite numbers of at least 0, found others")
    ones = np.ones(_BATCH_SIZE, dtype=np.float32)
    uneven = np.where(np.arange(_BATCH_SIZE) % 2 == 0, ones, np.float32(1e-3))
    plain, even, other = (_updated(trial, batch, weights) for weights in (None, ones, uneven))
    same = all(np.allclose(plain[name], even[name], rtol=1e-4, atol=1e-5) for name in _floats(plain))
    _require(same, "update: expected the same parameters for weights of 1 as without weights")
    differs = any(not np.array_equal(plain[name], other[name]) for name in _floats(plain))
    _require(differs, "update: expected other parameters for uneven weights, found the same")


def _updated(trial: _Trial, batch: Batch, weights: FloatArray | None) -> Arrays:
    learner = trial.trained()
    learner.update(dataclasses.replace(batch, weights=weights))
    return learner.state()


_CHECKS: tuple[Callable[[_Trial], None], ...] = (
    _check_actions,
    _check_exploration,
    _check_groups,
    _check_update,
    _check_diagnostics,
    _check_seeds,
    _check_state,
    _check_wrong_states,
    _check_policy_file,
    _check_exported_function,
    _check_divergence,
    _check_td_errors,
)


def _random(seed: int | None) -> np.random.Generator | None:
    return None if seed is None else np.random.default_rng(seed)


def _floats(state: Arrays) -> list[str]:
    return [name for name, array in state.items() if array.dtype.kind == "f"]


def _tensors(learner: Learner) -> Arrays:
    tensors = learner.policy().network.state_dict()
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def _require_same(first: Arrays, second: Arrays, message: str) -> None:
    _require(first.keys() == second.keys(), f"{message}, found other names")
    for name, array in first.items():
        _require(_equal(array, second[name]), f"{message}, found another '{name}'")


def _equal(first: NDArray[np.generic], second: NDArray[np.generic]) -> bool:
    return first.dtype == second.dtype and first.tobytes() == second.tobytes()


def _shown(found: tuple[object, ...]) -> str:
    return " ".join(getattr(part, "__name__", str(part)) for part in found)


def _require(is_kept: bool, message: str) -> None:
    if not is_kept:
        raise ContractError(message + ".")
