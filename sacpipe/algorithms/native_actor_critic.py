"""What updates composed of kernels have in common: networks in the kernels' memory, the batch, acting.

A learner with such an update is the learner by autograd with another `update`. Parameters and moments are
in the kernels' layout while it learns, and are copied back into the learner's tensors on demand.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from numpy.typing import NDArray

from sacpipe.algorithms.actor_critic import ActorCritic, value_bias
from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.base import Arrays, EvaluatedEpisode, Learner
from sacpipe.algorithms.delegating import DelegatingLearner
from sacpipe.core.errors import ConfigError
from sacpipe.kernels.inference import SingleForward
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import Floats, Pass, padded, step_numbers
from sacpipe.kernels.program import Program
from sacpipe.networks.inputs import Group
from sacpipe.networks.kernel_outputs import kernel_shape
from sacpipe.networks.network import Network
from sacpipe.networks.normaliser import MAX_DEVIATION
from sacpipe.networks.policy_file import Policy
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray

_MIN_EPSILON = 1.2e-38
"""Smallest normal float32, about."""


class NativeNetwork:
    """A network of a learner in the kernels' memory.

    Args:
        memory: Where its arrays are made.
        network: Its parameters' tensors.
        slow: The tensors of its slow copy; None for none.
        adam: Its optimiser.
        is_critic: Whether it has one output.
        precision: Of the products' operands: `float32` or `bfloat16`.

    Raises:
        ConfigError: its trunk is neither `mlp` nor `layer_norm_mlp`, or is the latter with bfloat16.
        KernelError: see `Perceptrons`.
    """

    def __init__(
        self,
        memory: Memory,
        network: Network,
        slow: Network | None,
        adam: Adam,
        *,
        is_critic: bool,
        precision: str,
    ) -> None:
        shape = kernel_shape(network)
        if shape is None:
            raise ConfigError(
                "engine.name: 'native' computes the trunks 'mlp' and 'layer_norm_mlp' alone, with a hidden "
                "layer. Use `engine: {name: autograd, num_threads: 1}`."
            )
        if adam.config.epsilon < _MIN_EPSILON:
            raise ConfigError(
                f"algorithm.adam.epsilon: 'native' needs at least {_MIN_EPSILON:g}, found "
                f"{adam.config.epsilon:g}: its kernels take denormal numbers as zero. Raise it."
            )
        self.adam = adam
        self.stack = shape.kind(
            memory,
            network.trunk.num,
            shape.dims,
            has_slow=slow is not None,
            is_critic=is_critic,
            precision=precision,
        )
        self.numbers = memory.floats(8)
        """Of the next step; `prepare` writes them."""
        self._tensors: dict[str, list[torch.Tensor]] = {
            "parameters": list(network.parameters()),
            "means": adam.means,
            "squares": adam.squares,
        }
        if slow is not None:
            self._tensors["slow"] = list(slow.parameters())

    def _pairs(self) -> list[tuple[str, int, FloatArray, FloatArray]]:
        found = []
        for kind, tensors in self._tensors.items():
            arrays = [tensor.detach().numpy() for tensor in tensors]
            found += [
                (kind, index, arrays[2 * index], arrays[2 * index + 1]) for index in range(len(arrays) // 2)
            ]
        return found

    def read(self) -> None:
        """Copy the tensors of the learner in."""
        parts = self.stack.parts()
        for kind, index, weight, bias in self._pairs():
            parts[index].put(getattr(parts[index], kind), weight, bias)
        for part in parts:
            part.turn()

    def write(self) -> None:
        """Copy everything back into the tensors of the learner."""
        parts = self.stack.parts()
        for kind, index, weight, bias in self._pairs():
            parts[index].get(getattr(parts[index], kind), weight, bias)

    def prepare(self, gradient_steps: int, tau: float) -> None:
        """Write the numbers of the next step.

        Args:
            gradient_steps: Of the learner before this step.
            tau: Weight of the parameters in their slow copies; 0 leaves these.
        """
        config = self.adam.config
        self.numbers[:] = step_numbers(
            step=self.adam.step_count + 1,
            learning_rate=self.adam.learning_rate * config.schedule.factor(gradient_steps),
            betas=config.betas,
            epsilon=config.epsilon,
            weight_decay=self.adam.decay,
            tau=tau,
        )


class Slots:
    """Where programs find the rows of the present batch: a pointer and a stride in bytes each."""

    def __init__(self, count: int) -> None:
        self.array = np.zeros((count, 2), dtype=np.int64)
        self._kept: list[FloatArray | None] = [None] * count

    def set(self, index: int, rows: FloatArray, *shape: int) -> bool:
        """Set a slot to rows of float32 numbers; return whether these are the caller's own memory.

        Raises:
            ValueError: the array has another shape, so that kernels would read beyond it.
        """
        if rows.shape != shape:
            raise ValueError(f"a batch's array: expected shape {shape}, found {rows.shape}")
        is_own = rows.dtype == np.float32 and (rows.ndim == 1 or rows.shape[1] == 0 or rows.strides[1] == 4)
        if not is_own:
            rows = np.ascontiguousarray(rows, dtype=np.float32)
        self._kept[index] = rows
        self.array[index] = rows.ctypes.data, rows.strides[0]
        return is_own


class NativeActorCritic(DelegatingLearner, ABC):
    """A learner whose update is a program of kernels; an algorithm composes it in `_compose`.

    Args:
        learner: By autograd; it keeps configuration, noise, normalisers and state.
        policy_copy: The slow copy of the policy's network, if the algorithm has one.
        critic_copy: The slow copy of the critics.
        optimisers: `actor` and `critic`.
        precision: Of the products' operands: `float32` or `bfloat16`.
    """

    has_value_outputs: ClassVar[bool] = True
    """Whether the critics' networks have one output, their value; else `_add_values` makes it of panels."""

    def __init__(
        self,
        learner: ActorCritic,
        *,
        policy_copy: Network | None,
        critic_copy: Network,
        optimisers: Mapping[str, Adam],
        precision: str = "float32",
    ) -> None:
        super().__init__(cast("Learner", learner))
        self.learner, self.spec = learner, learner.spec
        self.memory = Memory()
        self.actor = NativeNetwork(
            self.memory,
            learner.actor.network,
            policy_copy,
            optimisers["actor"],
            is_critic=False,
            precision=precision,
        )
        self.critic = NativeNetwork(
            self.memory,
            learner.critic.network,
            critic_copy,
            optimisers["critic"],
            is_critic=self.has_value_outputs,
            precision=precision,
        )
        forward = SingleForward(self.actor.stack)
        learner.actor.evaluate_single = lambda vector, _images: forward(vector)
        self._value_program = Program()
        self._value = self.critic.stack.forward(self._value_program, self.critic.stack.inputs(1), 1)
        self._values_of_one = self._add_values(self._value_program, self._value)
        self._is_ahead = False
        """Whether the kernels' memory is newer than the learner's tensors."""
        self._batch_size = 0
        self.has_weights = False
        """Whether the program is for batches whose rows have weights."""
        self._batch: Batch | None = None
        self._read()

    def _read(self) -> None:
        self.actor.read()
        self.critic.read()
        self._is_ahead = False

    def _write(self) -> None:
        if self._is_ahead:
            self.actor.write()
            self.critic.write()
            self._is_ahead = False

    def _add_values(self, program: Program, done: Pass) -> Floats:
        """Return the values of an evaluation of the critics, shape (num_critics, padded rows).

        Critics that have other outputs than a value add the kernels that make it of them.
        """
        del program
        return done.output

    def update(self, batch: Batch) -> None:
        """Make one gradient step; see `Learner.update`."""
        size, has_weights = len(batch.rewards), batch.weights is not None
        if size != self._batch_size or has_weights != self.has_weights:
            self._batch_size, self.has_weights, self._batch = size, has_weights, None
            self._compose(size)
        self._is_ahead = True
        self._run(batch)

    @abstractmethod
    def _compose(self, batch_size: int) -> None:
        """Make the program and its memory for a size of batches."""

    @abstractmethod
    def _run(self, batch: Batch) -> None:
        """Make one gradient step by the program."""

    def describe_episodes(self, episodes: Sequence[EvaluatedEpisode]) -> dict[str, float]:
        """Return the bias of the critics' values; see `value_bias`."""
        return value_bias(episodes, self.value, self.discount)

    def value(self, observation: Observation, action: FloatArray) -> float:
        """Return the lowest critic's value of one action, in task units of reward."""
        inputs = self.learner.critic_inputs.of(observation.rows(None)).vector.numpy()[0]
        row = np.concatenate([inputs, action])
        padded_row = np.zeros(self._value.inputs.shape[1] * self._value.inputs.shape[3], dtype=np.float32)
        padded_row[: len(row)] = row
        self._value.inputs[0, :, 0] = padded_row.reshape(self._value.inputs.shape[1], -1)
        self._value_program.run()
        return float(self._values_of_one[:, 0].min())

    def policy(self) -> Policy:
        """Return the policy as it leaves training."""
        self._write()
        return self.learner.policy()

    def state(self) -> Arrays:
        """Return everything an exact continuation needs, as copies."""
        self._write()
        return self.learner.state()

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`; see `Learner.load_state`."""
        self.learner.load_state(state)
        self._read()

    def _pack(
        self,
        program: Program,
        slots: NDArray[np.int64],
        output: Floats,
        rows: int,
        *,
        group: Group,
        actions: int | None,
    ) -> None:
        """Add the normalised rows of a group, with actions beside them if there are some.

        Args:
            program: Where the kernel is added.
            slots: Rows of each part. Shape (parts, 2).
            output: Panels, a part after the other or with the parts' rows below each other.
            rows: Of a part.
            group: Which normaliser, and how many columns.
            actions: Slot of the actions; None for none.
        """
        inputs = self.learner.actor.inputs if group == "policy" else self.learner.critic_inputs.group
        normaliser = (
            self.learner.actor.normaliser if group == "policy" else self.learner.critic_inputs.normaliser
        )
        mean = scale = chosen = None
        if normaliser is not None:  # it changes these arrays in place
            mean, scale, chosen = (
                tensor.numpy() for tensor in (normaliser.mean, normaliser.scale, normaliser.chosen)
            )
        held, parts = output.shape[2], len(slots)
        step = output[0].size if len(output) == parts > 1 else padded(rows) * output.shape[3]
        program.add(
            "pack", first=slots, second=None if actions is None else self.slots.array[actions : actions + 1],
            output=output, mean=mean, scale=scale, chosen=chosen, parts=parts, rows=rows,
            first_columns=inputs.vector_dim, second_columns=0 if actions is None else self.spec.action_dim,
            held=held, output_step=step, limit=int(MAX_DEVIATION),
        )  # fmt: skip

    def _weigh(self, program: Program, errors: Floats, rows: int) -> None:
        """Multiply the critics' errors, shape (members, padded rows), by the weights of the batch's rows."""
        if self.has_weights:
            program.add(
                "weigh", weights=self.slots.array[WEIGHTS], errors=errors, members=len(errors), rows=rows
            )

    slots: Slots
    """Of the present batch."""

    def _set_batch(self, batch: Batch) -> None:
        """Point the slots at a batch: policy's and critics' observations, actions, rewards and discounts."""
        if batch is self._batch:
            return  # the sampler wrote into the same arrays
        here, there, size = batch.observations, batch.next_observations, self._batch_size
        seen = self.learner.actor.inputs.vector_dim, self.learner.critic_inputs.group.vector_dim
        set_slot = self.slots.set
        are_own = [
            set_slot(OBSERVATIONS, here.group("policy"), size, seen[0]),
            set_slot(NEXT_OBSERVATIONS, there.group("policy"), size, seen[0]),
            set_slot(CRITIC_OBSERVATIONS, here.group("critic"), size, seen[1]),
            set_slot(NEXT_CRITIC_OBSERVATIONS, there.group("critic"), size, seen[1]),
            set_slot(ACTIONS, batch.actions, size, self.spec.action_dim),
            set_slot(REWARDS, batch.rewards, size),
            set_slot(DISCOUNTS, batch.discounts, size),
            batch.weights is None or set_slot(WEIGHTS, batch.weights, size),
        ]
        self._batch = batch if all(are_own) else None  # a copy would not show what is written later


(
    OBSERVATIONS,
    NEXT_OBSERVATIONS,
    CRITIC_OBSERVATIONS,
    NEXT_CRITIC_OBSERVATIONS,
    ACTIONS,
    REWARDS,
    DISCOUNTS,
    WEIGHTS,
) = range(8)
NUM_SLOTS = 8
