"""The parity check: policy.onnx must compute the same actions as the network.

The network, rescaled by EnvSpec.to_task_units, is compared with onnxruntime twice: one observation
at a time, as a robot runs it, and as a batch. Three kinds of observations are compared:

* recorded: observations of the task. The tolerance holds without exception.
* synthetic: zeros, normal draws of several scales, +-1 to +-1e6, denormal numbers. Far from its training
  data, a network may subtract large numbers from each other until mainly rounding errors are left, and two
  runtimes round differently. Therefore the network's own rounding error (its distance from itself in
  float64), times a slack, is added to the tolerance.
* extreme: the largest float32 values. Sums overflow there, in an order that no runtime fixes, so an action
  must be within its bounds or not finite (the robot's runtime refuses an action that is not finite).
"""

import contextlib
import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode

from sacpipe.core.errors import ExportError, ParityError
from sacpipe.export.inputs import PolicyInputs, extreme_inputs, synthetic_inputs
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

# onnxruntime sends telemetry unless this variable is set; it reads the variable once, at import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

_ROUNDING_SLACK = 16.0
"""Factor of the network's own rounding error in the tolerance on synthetic observations."""

_Policy = Callable[[PolicyInputs], FloatArray]


@dataclass(frozen=True, eq=False)
class ParityReport:
    """Measured difference between network and policy.onnx. Errors are shares of the action's range."""

    tolerance: float
    """Largest error allowed on recorded observations."""
    max_error: float
    """Largest error found on recorded observations."""
    synthetic_max_error: float
    """Largest error found on synthetic observations."""
    num_observations: int
    """Number of observations compared, of all three kinds."""
    golden_actions: FloatArray
    """Actions of onnxruntime for the recorded observations, one at a time. Shape (N, action_dim)."""


def check_parity(
    module: torch.nn.Module, policy_onnx: bytes, spec: EnvSpec, recorded: PolicyInputs, tolerance: float
) -> ParityReport:
    """Compare a network with its export.

    Args:
        module: The network, as for `export_policy`, in evaluation mode, on the CPU; must run in float64 too.
        policy_onnx: The network's export.
        spec: The policy's task.
        recorded: Observations of the task, at least one, with noise for a stochastic policy.
        tolerance: Largest difference allowed, as a share of each action's range.

    Raises:
        ParityError: a difference is too large. The message has the worst observation and both actions.
        ExportError: the recorded observations do not fit the task, onnxruntime refuses the policy, or
            the network does not run in float64.
    """
    _check_recorded(recorded, spec)
    network, runtime = _network(module, spec), _runtime(policy_onnx)
    noise_dim = None if recorded.noise is None else recorded.noise.shape[1]
    synthetic, extreme = synthetic_inputs(spec, noise_dim), extreme_inputs(spec, noise_dim)
    with _one_thread():
        max_error, golden_actions = _compare("recorded", recorded, (network, runtime), spec, tolerance)
        synthetic_error = 0.0
        for kind, inputs in synthetic.items():
            allowed = tolerance + _ROUNDING_SLACK * _rounding(module, inputs)
            error, _ = _compare(kind, inputs, (network, runtime), spec, allowed)
            synthetic_error = max(synthetic_error, error)
    _check_extreme(runtime, extreme, spec)
    num_observations = len(recorded) + sum(map(len, synthetic.values())) + len(extreme)
    return ParityReport(tolerance, max_error, synthetic_error, num_observations, golden_actions)


def session_options() -> onnxruntime.SessionOptions:
    """Return onnxruntime's settings of the robot (a test compares the two): one thread, no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _compare(
    kind: str, inputs: PolicyInputs, policies: tuple[_Policy, _Policy], spec: EnvSpec, allowed: float
) -> tuple[float, FloatArray]:
    """Return the largest error, and the runtime's actions for one observation at a time."""
    network, runtime = policies
    expected, batch, single = network(inputs), runtime(inputs), _one_by_one(runtime, inputs)
    pairs = {
        ("the network", "onnxruntime"): (expected, single),
        ("the network", "onnxruntime on a batch"): (expected, batch),
        ("onnxruntime", "onnxruntime on a batch"): (single, batch),
    }
    errors = {names: _shares(*actions, spec) for names, actions in pairs.items()}
    worst = max(errors, key=lambda names: float(errors[names].max()))
    error = float(errors[worst].max())
    if not error <= allowed:  # not a number included
        row, entry = np.unravel_index(np.argmax(errors[worst]), batch.shape)
        wanted, found = (actions[row, entry] for actions in pairs[worst])
        raise ParityError(
            f"{kind} observation {row}, action '{spec.action[entry].name}': {worst[0]} gives {wanted:.9g}, "
            f"{worst[1]} gives {found:.9g}. They differ by {error:.3g} of the action's range; expected at "
            f"most {allowed:.3g}. No bundle is written; raise export.parity_tolerance only if the robot "
            "tolerates this difference."
        )
    return error, single


def _shares(expected: FloatArray, found: FloatArray, spec: EnvSpec) -> NDArray[np.float64]:
    """Return differences as shares of the action's range; infinite where either is not finite."""
    span = spec.action_high.astype(np.float64) - spec.action_low
    errors: NDArray[np.float64] = np.abs(found.astype(np.float64) - expected) / span
    errors[~np.isfinite(errors)] = np.inf
    return errors


class _Float64(TorchFunctionMode):
    """Makes float64 of what a network converts to float32, for example an image."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.float:
            return args[0].double()
        args = tuple(torch.float64 if value is torch.float32 else value for value in args)
        keywords = {
            key: torch.float64 if value is torch.float32 else value for key, value in (kwargs or {}).items()
        }
        return function(*args, **keywords)


def _rounding(module: torch.nn.Module, inputs: PolicyInputs) -> float:
    """Return the network's largest difference from itself in float64, as a share of the action's range."""
    tensors = inputs.tensors()
    exact = [tensor.double() if tensor.is_floating_point() else tensor for tensor in tensors]
    default = torch.get_default_dtype()
    try:
        with torch.no_grad():
            single = module(*tensors).double()
            torch.set_default_dtype(torch.float64)
            with _Float64():
                distance = single - copy.deepcopy(module).double()(*exact)
    except RuntimeError as exc:
        raise ExportError(
            f"the network does not run in float64, which measures its own rounding error: {exc}. "
            "Change its `forward` to compute in the type of its parameters."
        ) from exc
    finally:
        torch.set_default_dtype(default)
    return float(distance.abs().max()) / 2.0  # actions run from -1 to 1


def _network(module: torch.nn.Module, spec: EnvSpec) -> _Policy:
    """Return the network as a policy in task units."""

    def act(inputs: PolicyInputs) -> FloatArray:
        with torch.no_grad():
            return spec.to_task_units(module(*inputs.tensors()).numpy())

    return act


def _runtime(policy_onnx: bytes) -> _Policy:
    """Return policy.onnx in onnxruntime as a policy in task units."""
    options, providers = session_options(), ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(policy_onnx, options, providers=providers)
    except Exception as exc:  # onnxruntime's errors have no common class
        raise ExportError(f"onnxruntime {onnxruntime.__version__} refuses the policy: {exc}") from exc

    def act(inputs: PolicyInputs) -> FloatArray:
        return np.asarray(session.run(["action"], inputs.feeds())[0], dtype=np.float32)

    return act


def _one_by_one(policy: _Policy, inputs: PolicyInputs) -> FloatArray:
    return np.concatenate([policy(inputs.row(row)) for row in range(len(inputs))])


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, so that the order of sums and the measured error are the same in every process."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


def _check_recorded(recorded: PolicyInputs, spec: EnvSpec) -> None:
    observations = recorded.observations
    fits = observations.layout == spec.layout and observations.vector.ndim == 2 and len(recorded) > 0
    if not fits or not np.isfinite(observations.vector).all():
        raise ExportError(
            f"recorded observations of {spec.task}: expected N finite ones of the terms "
            f"{', '.join(term.name for term in spec.observation)}, found {observations!r}."
        )


def _check_extreme(runtime: _Policy, inputs: PolicyInputs, spec: EnvSpec) -> None:
    for actions in (runtime(inputs), _one_by_one(runtime, inputs)):
        outside = np.isfinite(actions) & ((actions < spec.action_low) | (actions > spec.action_high))
        if outside.any():
            row, entry = np.argwhere(outside)[0]
            low, high = spec.action_low[entry], spec.action_high[entry]
            raise ParityError(
                f"extreme observation {row}, action '{spec.action[entry].name}': expected a value in "
                f"[{low:.9g}, {high:.9g}], found {actions[row, entry]:.9g}."
            )
