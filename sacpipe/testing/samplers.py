"""The contract test of a sampler: run `check_sampler` on a sampler of your own before you train with it.

Every observation of the test's episodes is unique, so each row of a batch is traced to its transitions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import CheckpointError, ConfigError, ContractError
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers.base import (
    Arrays,
    GuidedSampler,
    RelabellingSampler,
    Sampler,
    SamplerConfig,
    SamplerContext,
    StatefulSampler,
)
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch, RecordedRewards
from sacpipe.testing.sampler_rules import (
    DISCOUNT,
    check_numbers,
    check_shapes,
    require,
    rows_equal,
    trace,
)
from sacpipe.testing.walk import Walk, walk_spec

_CAPACITY = 40
_FILLED_TO = (1, 2, 25, 41, 97)
"""Transitions after which batches are drawn: one alone, a part of the ring, the ring overwritten twice."""
_BATCH_SIZES = (1, 7, 64)
_SEED = 7


def check_sampler(config: SamplerConfig) -> None:
    """Draw batches from buffers of all kinds and test every rule of a sampler.

    The tasks of the buffers have vectors alone, images too, and goals too; those with goals compute rewards
    of recorded steps. One environment fills a buffer, or three in turn. TD errors of a learner are made up. A
    sampler may refuse a task with a ConfigError, but not all of them.

    Args:
        config: Config of the sampler, such as its `example()`.

    Raises:
        ContractError: a rule is broken. The message has the sampler, the rule and what was found.
        ConfigError: the sampler refuses every task.
    """
    refusals: list[ConfigError] = []
    for is_goal_task, has_image in ((True, True), (True, False), (False, True), (False, False)):
        spec = walk_spec(goals=is_goal_task, image=has_image)
        trials = [_Trial(config, spec, num_environments) for num_environments in (1, 3)]
        try:
            trials[0].build()
        except ConfigError as exc:
            refusals.append(exc)
            continue
        try:
            for trial in trials:
                _check_draws(trial)
        except ContractError as exc:
            raise ContractError(f"sampler '{config.name}' breaks the contract of a sampler: {exc}") from exc
    if len(refusals) == 4:
        raise refusals[0]


class _Trial:
    """Samplers of one config for one task, and a buffer that its environments fill in turn."""

    def __init__(self, config: SamplerConfig, spec: EnvSpec, num_environments: int) -> None:
        self.config, self.spec, self.num_environments = config, spec, num_environments
        self.buffer = ReplayBuffer(spec, _CAPACITY * num_environments, num_environments)
        rounds = _FILLED_TO[-1]
        self.walk = Walk(spec, rounds * num_environments)
        self.order = np.arange(rounds * num_environments).reshape(num_environments, rounds).T.ravel()
        """Numbers of the walk's transitions in the order of their addition: each environment adds a part."""
        self.knows_rewards = False
        """Whether a sampler asked for the task's rewards."""

    def build(self) -> Sampler:
        """Return a new sampler."""
        return self.config.build_from(SamplerContext(self.spec, DISCOUNT, self._find_rewards))

    def _find_rewards(self) -> RecordedRewards | None:
        self.knows_rewards = True
        return self.walk.find_rewards()


def _check_draws(trial: _Trial) -> None:
    """Fill a ring beyond its end, and draw meanwhile by two samplers, and by new ones as after a resume."""
    walk, view = trial.walk, trial.buffer.view()
    samplers = [trial.build() for _ in range(2)]
    generators = [np.random.Generator(np.random.PCG64(_SEED)) for _ in samplers]
    for filled_to in _FILLED_TO:
        while view.added < filled_to * trial.num_environments:
            trial.buffer.add(walk.transition(trial.order[view.added]))
        for n in _BATCH_SIZES:
            before, position, state = (
                _everything(view),
                generators[0].bit_generator.state,
                _state(samplers[0]),
            )
            drawn = [
                _drawn(sampler, view, random, n) for sampler, random in zip(samplers, generators, strict=True)
            ]
            require(_everything(view) == before, "expected the buffer unchanged, found other values in it")
            check_shapes(drawn[0], trial.spec, n)
            same = _bytes(drawn[0]) == _bytes(drawn[1])
            require(same, "expected the same batch for the same state of the generator, found another one")
            resumed = trial.build()
            _check_state(resumed, state)
            again = _drawn(resumed, view, _generator_at(position), n)
            same = _bytes(drawn[0]) == _bytes(again)
            require(same, "expected the same batch of a new sampler, as after a resume, found another one")
            same = _equal(_state(resumed), _state(samplers[0]))
            require(same, "expected the same state of a sampler that was resumed, found another one")
            rows = trace(drawn[0], walk, held=trial.order[view.added - len(view) : view.added])
            check_numbers(drawn[0], rows, walk, knows_rewards=trial.knows_rewards)
            _check_relabelled(samplers[0], drawn[0])


def _drawn(sampler: Sampler, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
    """Return a copy of a batch, and tell the sampler errors of its rows."""
    batch = _copied(sampler(view, generator, n))
    if isinstance(sampler, GuidedSampler):
        sampler.receive(np.abs(batch.rewards))
    return batch


def _state(sampler: Sampler) -> Arrays:
    return sampler.state() if isinstance(sampler, StatefulSampler) else {}


def _check_state(sampler: Sampler, state: Arrays) -> None:
    """Load a state into a new sampler, which refuses wrong ones before."""
    if not isinstance(sampler, StatefulSampler) or not state:
        return
    kept = {name: array.copy() for name, array in state.items()}
    name = next(iter(state))
    damaged: dict[str, Arrays] = {
        "a missing array": {key: array for key, array in state.items() if key != name},
        "a left over array": state | {"another": np.zeros(3, dtype=np.float32)},
        "an array of another shape": state | {name: np.zeros((*state[name].shape, 2))},
    }
    for what, wrong in damaged.items():
        try:
            sampler.load_state(wrong)
        except CheckpointError:
            continue
        raise ContractError(f"load_state: expected a CheckpointError for {what}, found none.")
    sampler.load_state(state)
    require(_equal(kept, state), "load_state: expected the state unchanged, found other values in it")


def _check_relabelled(sampler: Sampler, batch: Batch) -> None:
    """Check that only desired goals of a relabelled observation are others."""
    if not isinstance(sampler, RelabellingSampler):
        return
    observation = batch.observations.rows(0)
    kept = observation.copy()
    found = sampler.relabelled(observation)
    require(observation.equals(kept), "relabelled: expected the observation unchanged, found another")
    for term in observation.layout.terms:
        same = "desired_goal" in term.groups or rows_equal(
            found[term.name][None], observation[term.name][None]
        )
        require(bool(same), f"relabelled: expected the recorded '{term.name}', found another")


def _generator_at(position: Any) -> np.random.Generator:
    """Return a generator at the position of another."""
    bits = np.random.PCG64()
    bits.state = position
    return np.random.Generator(bits)


def _everything(view: BufferView) -> list[bytes]:
    rows = np.arange(len(view))
    found = view.gather(rows)
    others = (found.terminations, found.truncations, view.steps_to_end(rows), view.steps_since_start(rows))
    return [array.tobytes() for array in others] + [*_bytes(found.batch(found.rewards)).values()]


def _bytes(batch: Batch) -> dict[str, bytes]:
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(batch, name) for name in ("actions", "rewards", "discounts")
    }
    if batch.weights is not None:
        arrays["weights"] = batch.weights
    for field in ("observations", "next_observations"):
        arrays |= {f"{field}/{name}": array for name, array in getattr(batch, field).items()}
    return {name: array.tobytes() for name, array in arrays.items()}


def _copied(batch: Batch) -> Batch:
    return Batch(
        batch.observations.copy(),
        batch.actions.copy(),
        batch.rewards.copy(),
        batch.next_observations.copy(),
        batch.discounts.copy(),
        None if batch.weights is None else batch.weights.copy(),
    )


def _equal(first: Arrays, second: Arrays) -> bool:
    return first.keys() == second.keys() and all(
        array.dtype == second[name].dtype and np.array_equal(array, second[name])
        for name, array in first.items()
    )
