"""Does policy.onnx compute what the network computes? Measured before a bundle is written.

The network, rescaled by EnvSpec.to_task_units, is compared with onnxruntime twice: one observation
at a time, as a robot runs it, and as a batch. Three kinds of observations are compared:

* recorded: what the task showed. The tolerance holds without exception.
* synthetic: zeros, normal draws of several scales, +-1 to +-1e6, denormal numbers. Where moving an
  observation by its last bit already moves the network's own action, no runtime can be held to the
  tolerance; there that movement, times a slack, is allowed too.
* extreme: the largest float32 values. Sums overflow there in an order that no runtime promises; the
  action must be inside its limits or not finite (the robot's runtime refuses what is not finite).
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from sacpipe.core.bundle import ParityTerms
from sacpipe.core.errors import ExportError, ParityError
from sacpipe.core.records import EnvSpec, FloatArray
from sacpipe.core.seeding import generator

_RANDOM_SCALES = (0.1, 1.0, 10.0, 100.0)
_RANDOM_ROWS = 64
_BOUNDARY_SIZES = (1.0, 1e3, 1e6, 1e-6, 1e-38, 1e-45)
_ROUNDING_SLACK = 16.0
_EPSILON = 2.0**-23

_Policy = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, eq=False)
class ParityReport:
    """How far network and bundle are apart. Errors are shares of the action's range."""

    tolerance: float
    max_error: float
    """On recorded observations."""
    synthetic_max_error: float
    num_observations: int
    golden_actions: FloatArray
    """What onnxruntime gave for the recorded observations, one at a time. Shape (N, action_dim)."""

    def terms(self) -> ParityTerms:
        """Return what the contract says of it."""
        return ParityTerms(
            tolerance=self.tolerance,
            max_error=self.max_error,
            synthetic_max_error=self.synthetic_max_error,
            num_observations=self.num_observations,
        )


def check_parity(
    module: torch.nn.Module, policy_onnx: bytes, spec: EnvSpec, recorded: FloatArray, tolerance: float
) -> ParityReport:
    """Compare a network with its export.

    Args:
        module: As for `export_policy`, in evaluation mode and on the CPU.
        policy_onnx: Its export.
        spec: The task.
        recorded: Observations of the task. Shape (N, observation_dim), N >= 1.
        tolerance: Largest difference allowed, as a share of each action's range.

    Raises:
        ParityError: names the worst observation and both actions.
        ExportError: the recorded observations do not fit the task, or onnxruntime refuses the policy.
    """
    _check_recorded(recorded, spec)
    network, runtime = _network(module, spec), _runtime(policy_onnx)
    synthetic, extreme = (
        synthetic_observations(spec.observation_dim),
        extreme_observations(spec.observation_dim),
    )
    with _one_thread():
        allowed = tolerance + _ROUNDING_SLACK * _movement(network, synthetic, spec)
        synthetic_error, _ = _Comparison("synthetic", synthetic, allowed, spec).run(network, runtime)
        allowed = np.full((len(recorded), 1), tolerance)
        max_error, golden_actions = _Comparison("recorded", recorded, allowed, spec).run(network, runtime)
    _check_extreme(runtime, extreme, spec)
    num_observations = len(recorded) + len(synthetic) + len(extreme)
    return ParityReport(tolerance, max_error, synthetic_error, num_observations, golden_actions)


def synthetic_observations(observation_dim: int) -> FloatArray:
    """Return the synthetic observations, always the same ones. Shape (N, observation_dim)."""
    draws = generator(0, "parity").standard_normal((len(_RANDOM_SCALES), _RANDOM_ROWS, observation_dim))
    rows = [scale * block for scale, block in zip(_RANDOM_SCALES, draws, strict=True)]
    rows.append(np.zeros((1, observation_dim)))
    rows.extend(np.full((1, observation_dim), sign * size) for size in _BOUNDARY_SIZES for sign in (1, -1))
    return np.concatenate(rows).astype(np.float32)


def extreme_observations(observation_dim: int) -> FloatArray:
    """Return the largest and lowest float32, in all entries and alternating. Shape (4, observation_dim)."""
    alternating = np.where(np.arange(observation_dim) % 2, 1.0, -1.0)
    signs = np.stack([np.ones(observation_dim), -np.ones(observation_dim), alternating, -alternating])
    return signs.astype(np.float32) * np.finfo(np.float32).max


@dataclass(frozen=True)
class _Comparison:
    """One kind of observations, and the difference allowed on each."""

    kind: str
    observations: FloatArray
    allowed: NDArray[np.float64]
    spec: EnvSpec

    def run(self, network: _Policy, runtime: _Policy) -> tuple[float, FloatArray]:
        """Return the largest error, and the runtime's actions for one observation at a time."""
        expected, batch = network(self.observations), runtime(self.observations)
        single = np.concatenate([runtime(row[None]) for row in self.observations])
        errors = [
            self._judge("the network", expected, "onnxruntime", single),
            self._judge("the network", expected, "onnxruntime on a batch", batch),
            self._judge("onnxruntime", single, "onnxruntime on a batch", batch),
        ]
        return max(errors), single

    def _judge(self, reference: str, expected: FloatArray, name: str, found: FloatArray) -> float:
        errors = _shares(expected, found, self.spec)
        row, entry = np.unravel_index(np.argmax(errors - self.allowed), errors.shape)
        bound = float(np.broadcast_to(self.allowed, errors.shape)[row, entry])
        if not errors[row, entry] <= bound:
            name_of_action = self.spec.action[entry].name
            raise ParityError(
                f"{self.kind} observation {row}, action '{name_of_action}': {reference} gives "
                f"{expected[row, entry]!r}, {name} gives {found[row, entry]!r}. They differ by "
                f"{errors[row, entry]:.3g} of the action's range; expected at most {bound:.3g}. "
                "No bundle is written. Raise export.parity_tolerance only if the robot can bear it."
            )
        return float(errors.max())


def _shares(expected: FloatArray, found: FloatArray, spec: EnvSpec) -> NDArray[np.float64]:
    """Return differences as shares of the action's range; infinite where either is not finite."""
    span = spec.action_high.astype(np.float64) - spec.action_low
    errors: NDArray[np.float64] = np.abs(found.astype(np.float64) - expected) / span
    errors[~np.isfinite(errors)] = np.inf
    return errors


def _movement(network: _Policy, observations: FloatArray, spec: EnvSpec) -> NDArray[np.float64]:
    """Return how far the network's action moves when an observation moves by its last bit."""
    actions = network(observations)
    alternating = np.where(np.arange(observations.shape[1]) % 2, _EPSILON, -_EPSILON)
    steps = (np.full_like(alternating, _EPSILON), np.full_like(alternating, -_EPSILON), alternating)
    moved = [network((observations * (1 + step)).astype(np.float32)) for step in steps]
    movements: NDArray[np.float64] = np.max([_shares(actions, other, spec) for other in moved], axis=0)
    return movements


def _network(module: torch.nn.Module, spec: EnvSpec) -> _Policy:
    def act(observations: FloatArray) -> FloatArray:
        with torch.no_grad():
            return spec.to_task_units(module(torch.from_numpy(observations)).numpy())

    return act


def _runtime(policy_onnx: bytes) -> _Policy:
    """Run policy.onnx with the settings of sacpipe.serving; a test holds the two equal."""
    try:
        session = onnxruntime.InferenceSession(
            policy_onnx, session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # onnxruntime's errors have no class in common
        raise ExportError(f"onnxruntime {onnxruntime.__version__} refuses it: {exc}") from exc

    def act(observations: FloatArray) -> FloatArray:
        return np.asarray(session.run(["action"], {"observation": observations})[0], dtype=np.float32)

    return act


def session_options() -> onnxruntime.SessionOptions:
    """Return the settings a robot uses: one thread, the caller's own, and no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Sum in one order, so that the measured error is the same in every process."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _check_recorded(recorded: FloatArray, spec: EnvSpec) -> None:
    fits = recorded.ndim == 2 and recorded.shape[1] == spec.observation_dim and len(recorded) > 0
    if not fits or recorded.dtype != np.float32 or not np.isfinite(recorded).all():
        raise ExportError(
            f"recorded observations of {spec.task}: expected finite float32 (N, {spec.observation_dim}), "
            f"found {recorded.dtype} of shape {recorded.shape}."
        )


def _check_extreme(runtime: _Policy, observations: FloatArray, spec: EnvSpec) -> None:
    for actions in (runtime(observations), np.concatenate([runtime(row[None]) for row in observations])):
        outside = np.isfinite(actions) & ((actions < spec.action_low) | (actions > spec.action_high))
        if outside.any():
            row, entry = np.argwhere(outside)[0]
            raise ParityError(
                f"extreme observation {row}, action '{spec.action[entry].name}': expected a value in "
                f"[{spec.action_low[entry]!r}, {spec.action_high[entry]!r}], found {actions[row, entry]!r}."
            )
