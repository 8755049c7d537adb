"""Whether the compiled kernels compute the bits that they compute elsewhere.

Updates of actor and critics, without a learner, run every kernel of float32. Their numbers begin as fractions
of powers of two, drawn as whole numbers, so that no library rounds them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import KernelError
from sacpipe.core.files import sha256_bytes
from sacpipe.kernels.inference import SingleForward
from sacpipe.kernels.layers import Layer, Norm
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import Floats, NormalisedPerceptrons, Pass, Perceptrons, padded, step_numbers
from sacpipe.kernels.program import Program

EXPECTED_SHA256 = "8e2b9daba1b23d5a6a8a24b50ac1cda2b66bba9186fbc71a37a02398585e7bc5"
"""Digest of the updates of `CASES`, little-endian; one for all sets."""


class Sizes(NamedTuple):
    """What an update is composed for."""

    rows: int
    observation_dim: int
    action_dim: int
    widths: tuple[int, ...]
    """Of the hidden layers."""
    members: int
    """Number of critics."""
    is_stochastic: bool
    """Whether the policy is a squashed Gaussian, else bounded."""
    is_min: bool
    """Whether the policy ascends the lowest critic's value, else that of all."""
    precision: str = "float32"
    kind: type[Perceptrons] = Perceptrons
    num_quantiles: int = 0
    """Of each critic, whose policy is stochastic; 0 where critics have one output, their value."""


CASES = (
    Sizes(13, 19, 3, (40, 70), 2, is_stochastic=True, is_min=True),
    Sizes(40, 5, 17, (33,), 3, is_stochastic=True, is_min=False),
    Sizes(9, 300, 2, (16, 290, 8), 1, is_stochastic=False, is_min=False),
    Sizes(11, 7, 2, (37, 9), 2, is_stochastic=True, is_min=True, kind=NormalisedPerceptrons),
    Sizes(21, 6, 2, (24, 40), 3, is_stochastic=True, is_min=True, num_quantiles=37),
    Sizes(10, 4, 3, (20,), 2, is_stochastic=True, is_min=False, kind=NormalisedPerceptrons, num_quantiles=7),
)


def run(isa: str = "") -> str:
    """Compute the updates of `CASES` and compare their digest; return a line about it.

    Args:
        isa: Instruction set; empty for the one that this process uses.

    Raises:
        KernelError: the values differ, or see `load`.
    """
    digest = compute_digest(isa)
    if digest != EXPECTED_SHA256:
        raise KernelError(
            f"the self-test of the compiled kernels computed {digest[:12]}, expected {EXPECTED_SHA256[:12]}: "
            "the compiler or processor rounds otherwise. Name another compiler in the environment variable "
            "CXX, or use `engine: {name: autograd, num_threads: 1}`."
        )
    return f"computes the bits expected ({digest[:12]})"


def compute_digest(isa: str = "") -> str:
    """Return the SHA-256 of what the updates of `CASES` leave in their memory."""
    found = []
    for sizes in CASES:
        update = TestedUpdate(sizes, Program(isa))
        for _ in range(3):
            update.program.run()
        found += [update.digest(), sha256_bytes(update.forward(isa).astype("<f4").tobytes())]
    return sha256_bytes("".join(found).encode())


class TestedUpdate:
    """An update composed of kernels, with arrays of its own.

    Args:
        sizes: Of the batch and the networks.
        program: Empty.
    """

    def __init__(self, sizes: Sizes, program: Program) -> None:
        self.sizes, self.program, self.memory = sizes, program, Memory()
        self._draws = np.random.default_rng(sizes.rows)
        outputs = sizes.action_dim * (2 if sizes.is_stochastic else 1)
        self.actor = self._stack(1, [sizes.observation_dim, *sizes.widths, outputs], is_critic=False)
        inputs = sizes.observation_dim + sizes.action_dim
        self.critics = self._stack(
            sizes.members,
            [inputs, *sizes.widths, sizes.num_quantiles or 1],
            is_critic=not sizes.num_quantiles,
        )
        self.batch = [
            self._numbers(sizes.rows, columns)
            for columns in (sizes.observation_dim, sizes.observation_dim, sizes.action_dim, 1, 1, 1)
        ]
        """Observations, next observations, actions, rewards, discounts, weights."""
        pairs = [[rows.ctypes.data, rows.strides[0]] for rows in self.batch]
        self.slots = np.array(pairs, dtype=np.int64)
        self.results: list[NDArray[np.generic]] = []
        """Arrays that the digest is of."""
        self._numbers_of_step = self._filled(
            step_numbers(
                step=1, learning_rate=0.01, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.5, tau=0.25
            )
        )
        self._compose()

    def digest(self) -> str:
        """Return the SHA-256 of all results."""
        parts = [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes() for array in self.results]
        return sha256_bytes(b"".join(parts))

    def forward(self, isa: str = "") -> Floats:
        """Return the actor's outputs for the batch, a row at a time."""
        single = SingleForward(self.actor, isa)
        return np.stack([single(row).copy() for row in self.batch[0]])

    def _stack(self, members: int, dims: list[int], *, is_critic: bool) -> Perceptrons:
        stack = self.sizes.kind(
            self.memory, members, dims, has_slow=True, is_critic=is_critic, precision=self.sizes.precision
        )
        for layer, tensors, kind in stack.tensors():
            shape = (1, layer.features) if isinstance(layer, Norm) else (0, 0)
            if isinstance(layer, Layer):
                shape = layer.inputs, layer.outputs
            weight, bias = self._whole(members, *shape), self._whole(members, 1, shape[1])
            if kind == "squares":
                weight, bias = np.abs(weight), np.abs(bias)
            layer.put(tensors, weight, bias)
        for layer in stack.layers:
            layer.turn()
        return stack

    def _whole(self, *shape: int) -> Floats:
        """Return multiples of 1/1024 between -1/4 and 1/4."""
        return (self._draws.integers(-256, 257, shape) / np.float32(1024)).astype(np.float32)

    def _numbers(self, *shape: int) -> Floats:
        return self._filled(4 * self._whole(*shape))

    def _filled(self, values: Floats | tuple[float, ...]) -> Floats:
        """Return values in memory of programs."""
        array = self.memory.floats(*np.shape(values))
        array[...] = values
        return array

    def _compose(self) -> None:
        """Compose as SAC does: the policy at both observations, the critics' step, the policy's step."""
        sizes, program, held = self.sizes, self.program, padded(self.sizes.rows)
        normaliser = [self._numbers(sizes.observation_dim) for _ in range(2)]
        self._normaliser = [*normaliser, self._filled((normaliser[0] > 0).astype(np.float32))]
        inputs = self.actor.inputs(2 * held)
        self._pack(inputs, 2, step=held * inputs.shape[3])
        policy = self.actor.forward(program, inputs, 2 * held)
        self._act(policy, 2 * held)
        both = self.critics.inputs(sizes.rows, parts=3)
        self._pack(both, 2, step=both[0].size)
        program.add(
            "place", values=self.actions, output=both[:2], parts=2, rows=sizes.rows, columns=sizes.action_dim,
            features=self.critics.dims[0], at=sizes.observation_dim,
        )  # fmt: skip
        self._pack(both[2:], 1, step=both[0].size, second=self.slots[2:3])
        self._step_critics(both, held)
        self._step_actor(policy, both[:1], held)

    def _pack(
        self, output: Floats, parts: int, *, step: int, second: NDArray[np.int64] | None = None
    ) -> None:
        mean, scale, chosen = self._normaliser
        self.program.add(
            "pack", first=self.slots[:parts], second=second, output=output, mean=mean, scale=scale,
            chosen=chosen, parts=parts, rows=self.sizes.rows, first_columns=self.sizes.observation_dim,
            second_columns=0 if second is None else self.sizes.action_dim, held=output.shape[2],
            output_step=step, limit=1,
        )  # fmt: skip

    def _act(self, policy: Pass, rows: int) -> None:
        """Add noise and the policy's actions."""
        columns, width = self.sizes.action_dim, policy.output.shape[3]
        key = self.memory.zeros(2, dtype=np.uint32)
        key[:] = 7, 9
        self.noise, self.actions = self.memory.floats(rows, columns), self.memory.floats(rows, columns)
        self.program.add("noise", key=key, output=self.noise, rows=rows, columns=columns)
        self.results += [self.noise, self.actions]
        if not self.sizes.is_stochastic:
            self.program.add(
                "bounded_action", output=policy.output, noise=self.noise, actions=self.actions,
                smoothing=self._filled((0.25, 0.5)), rows=rows, columns=columns, width=width,
            )  # fmt: skip
            return
        self.log_probs, entropy = self.memory.floats(rows), self.memory.floats(1)
        log_stds, self.stds = self.memory.floats(rows, columns), self.memory.floats(rows, columns)
        self.inside = self.memory.floats(rows, columns)
        self.program.add(
            "squashed_sample", output=policy.output, noise=self.noise, actions=self.actions,
            log_probs=self.log_probs, log_stds=log_stds, stds=self.stds, inside=self.inside,
            bounds=self._filled((-0.25, 0.25)), rows=rows, columns=columns, width=width,
        )  # fmt: skip
        self.program.add("mean", values=self.log_probs, output=entropy, count=rows)
        self.results += [self.log_probs, log_stds, self.stds, self.inside, entropy]

    def _step_critics(self, both: Floats, held: int) -> None:
        """Add the regression to the target, and the step."""
        program, critics, rows = self.program, self.critics, self.sizes.rows
        following = critics.forward(program, both[1:2], rows, slow=True)
        present = critics.forward(program, both[2:], rows)
        regress = self._regress_quantiles if self.sizes.num_quantiles else self._regress_values
        errors = regress(following, present, held)
        deltas = critics.backward(program, present, errors)
        critics.step(program, present, deltas, errors, self._numbers_of_step, rows)

    def _regress_values(self, following: Pass, present: Pass, held: int) -> Floats:
        sizes, program, critics, rows = self.sizes, self.program, self.critics, self.sizes.rows
        errors, targets = (self.memory.floats(critics.members, held) for _ in range(2))
        program.add(
            "td_error", values=present.output, next_values=following.output,
            next_log_probs=self.log_probs[held:] if sizes.is_stochastic else None, rewards=self.slots[3:4],
            discounts=self.slots[4:5], errors=errors, targets=targets,
            numbers=self._filled((0.5, 1.0 / rows)), members=critics.members, rows=rows,
            next_members=critics.members,
        )  # fmt: skip
        program.add("weigh", weights=self.slots[5:6], errors=errors, members=critics.members, rows=rows)
        self.results += [errors, targets]
        return errors

    def _regress_quantiles(self, following: Pass, present: Pass, held: int) -> Floats:
        kept = self.critics.members * (self.sizes.num_quantiles - self.sizes.num_quantiles // 4)
        atoms, targets = self.memory.floats(held, kept), self.memory.floats(held)
        self.program.add(
            "truncated_target", quantiles=following.output, log_probs=self.log_probs[held:],
            rewards=self.slots[3:4], discounts=self.slots[4:5], atoms=atoms, targets=targets,
            numbers=self._filled((0.5,)), kept=kept, **self._quantile_sizes(following),
        )  # fmt: skip
        values = self._values_of(present)
        fractions = self.memory.floats(2, present.output[0, :, 0].size)
        fractions[:, : self.sizes.num_quantiles] = self._whole(2, self.sizes.num_quantiles)
        gradients, losses = self.memory.floats(*present.output.shape), self.memory.floats(*values.shape)
        self.program.add(
            "quantile_huber", quantiles=present.output, values=values, atoms=atoms, targets=targets,
            weights=self.slots[5:6], fractions=fractions, gradients=gradients, losses=losses,
            kept=kept, **self._quantile_sizes(present),
        )  # fmt: skip
        self.results += [atoms, targets, values, gradients, losses]
        return gradients

    def _quantile_sizes(self, done: Pass) -> dict[str, int]:
        return {
            "members": self.critics.members, "rows": done.rows, "count": self.sizes.num_quantiles,
            "width": done.output.shape[3],
        }  # fmt: skip

    def _values_of(self, done: Pass) -> Floats:
        """Return values; of quantiles, add their means."""
        if not self.sizes.num_quantiles:
            return done.output
        values = self.memory.floats(self.critics.members, padded(done.rows))
        self.program.add("quantile_mean", quantiles=done.output, values=values, **self._quantile_sizes(done))
        return values

    def _step_actor(self, policy: Pass, inputs: Floats, held: int) -> None:
        """Add the gradient backwards through the critics, and the policy's step."""
        sizes, program, critics, rows = self.sizes, self.program, self.critics, self.sizes.rows
        members, integers = critics.members, self.memory.integers
        done = critics.forward(program, inputs, rows, has_step=False)
        values = self._values_of(done)
        program.add("check", values=values, members=members, rows=rows)
        lists = counts = owners = places = None
        if sizes.is_min:
            lists, counts = integers(members, held), integers(members)
            owners, places = integers(held), integers(held)
            program.add(
                "lowest", values=values, lists=lists, counts=counts, owners=owners, places=places,
                members=members, rows=rows,
            )  # fmt: skip
        pulls = self._filled(np.full(done.output.shape, -1.0 / rows, dtype=np.float32))
        turned = critics.turn_columns(program, sizes.observation_dim, sizes.action_dim)
        deltas = critics.backward(program, done, pulls, lists=lists, counts=counts)
        gradients = critics.backward_to_columns(program, deltas, turned, rows, lists=lists, counts=counts)
        delta = self.memory.floats(1, policy.output.shape[1], held, policy.output.shape[3])
        drawn = {
            "stds": self.stds[:held], "noise": self.noise[:held], "inside": self.inside[:held],
        } if sizes.is_stochastic else dict.fromkeys(("stds", "noise", "inside"))  # fmt: skip
        program.add(
            "squash_back", gradients=gradients, owners=owners, places=places, actions=self.actions[:held],
            **drawn, output=delta, weight=self._filled((0.5 / rows,)), members=members, rows=rows,
            columns=sizes.action_dim, gradient_width=gradients.shape[3], width=delta.shape[3],
        )  # fmt: skip
        actor_deltas = self.actor.backward(program, policy, delta, rows=rows)
        self.actor.step(program, policy, actor_deltas, delta, self._numbers_of_step, rows)
        self.results += [values, gradients, delta]
        for stack in (critics, self.actor):
            self.results += [array for _, tensors, _ in stack.tensors() for array in tensors]
            self.results += [layer.squared_gradients for layer in stack.layers]
