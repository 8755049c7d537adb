"""A bundle as a function: one raw observation in, one action in the task's own units out.

The control loop and the load gate use this same class: the policy that was checked is the policy that the
robot runs. A bundle that differs from its contract never becomes a policy.
"""

import copy
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.files import under_rule
from sacpipe.bundle.graph_check import input_ports
from sacpipe.bundle.policy_graph import Port
from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.errors import BundleError, ObservationError
from sacpipe.core.files import sha256_bytes
from sacpipe.core.seeding import generator
from sacpipe.robot.observation import PolicyObservations, name_fault
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Arrays, Observation
from sacpipe.specs.records import FloatArray

# onnxruntime sends telemetry to its maker unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

_ONNX_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}


class OnnxPolicy:
    """A verified bundle, ready to act. Threads may share it; they act one after the other."""

    def __init__(self, source: Path | Bundle, seed: int = 0) -> None:
        """Load the policy of a bundle and check its golden sequence.

        Args:
            source: Folder of a bundle, which is verified here; or a verified bundle.
            seed: Seed of the noise of a stochastic policy: equal seeds give equal actions.

        Raises:
            BundleError: the bundle is damaged or too new, or gives other actions here than on the machine
                that exported it.
        """
        bundle = source if isinstance(source, Bundle) else open_bundle(source)
        self.contract = bundle.contract
        """Contract of the bundle."""
        self.digest = bundle.digest
        """SHA-256 of the bundle's manifest.json."""
        self.onnx_sha256 = sha256_bytes(bundle.policy_onnx)
        """SHA-256 of policy.onnx."""
        spec = bundle.contract.spec
        self.layout = spec.layout
        """Layout of the observations that `run` takes."""
        self._spec = spec
        self._low, self._high = spec.action_low.tolist(), spec.action_high.tolist()
        try:
            with under_rule("tensors"):
                self._session = _open_session(bundle)
                self._bind(generator(seed, "policy noise"))
            with under_rule("golden"):
                self.golden_error = check_golden_sequence(bundle, self.act)
                """Largest difference from the golden actions, as a share of the action's range."""
        except BundleError as exc:
            where = bundle.digest if isinstance(source, Bundle) else source
            raise BundleError(f"bundle {where}: {exc}", exc.rule) from exc

    def act(self, observation: Arrays, noise: FloatArray | None = None) -> FloatArray:
        """Return the action for one observation.

        Args:
            observation: Raw and finite: the array of each term of the policy, by name; or an `Observation` of
                the task, whose other terms are not read.
            noise: Standard normal random numbers of a stochastic policy, shape (noise_dim,); drawn if None.

        Returns:
            A new array in the task's own units, within its limits. Shape (action_dim,).

        Raises:
            ObservationError: another term, shape or type, or a value that is not finite. Values are never
                clamped.
            BundleError: the policy gave an action that is not finite or outside its limits.
        """
        with self._lock:
            self._observations.load(observation)
            vector = self._tensors.observation.vector
            # Float32 cannot overflow a float64 sum: it is finite where all entries are. Faster than NumPy.
            if not math.isfinite(sum(vector.tolist())):
                raise ObservationError(name_fault(vector, self._spec))
            action = self._infer(noise).copy()
        for low, value, high in zip(self._low, action.tolist(), self._high, strict=True):
            if not low <= value <= high:  # NaN included
                raise BundleError(
                    f"the policy of {self._spec.task} gave {action.tolist()}; expected finite values from "
                    f"{self._low} to {self._high}. Stop using the bundle {self.digest}."
                )
        return action

    def check_task(self, spec: EnvSpec, role: str = "policy") -> None:
        """Check that this policy was made for the task in service.

        Args:
            spec: Terms and bounds of the task in service.
            role: Role of this policy in the message, for example "candidate".

        Raises:
            BundleError: it was made for another task, or for other terms or bounds.
        """
        own = self.contract.spec
        if own != spec.policy_spec:
            raise BundleError(
                f"bundle {self.digest}: expected a {role} of {spec.task} with the terms and bounds in "
                f"service, found one of {own.task} or of others. The policy in service goes on."
            )

    def clone_session(self) -> Self:
        """Return the same policy with memory of its own, for another thread that runs it in parallel.

        The clone of a stochastic policy draws other noise.
        """
        clone = copy.copy(self)
        with self._lock:
            (source,) = self._generator.spawn(1)
        OnnxPolicy._bind(clone, source)
        return clone

    def run(self, observation: Observation, noise: FloatArray | None = None) -> FloatArray:
        """Return the policy's action, unchecked. The next run overwrites it. For one thread at a time.

        Args:
            observation: One observation of `layout`, unchecked.
            noise: As of `act`.

        Raises:
            Exception: any error of onnxruntime; its errors have no class in common.
        """
        self._tensors.observation.write(observation)
        return self._infer(noise)

    def _infer(self, noise: FloatArray | None) -> FloatArray:
        tensors = self._tensors
        if tensors.noise is not None:
            if noise is None:
                self._generator.standard_normal(out=tensors.noise, dtype=np.float32)
            else:
                tensors.noise[:] = noise
        tensors.run()
        return tensors.action

    def _bind(self, noise_source: np.random.Generator) -> None:
        """Allocate the memory that the session reads from and writes to."""
        self._lock, self._generator = threading.Lock(), noise_source
        self._tensors = BoundTensors(self._session, self.contract)
        self._observations = PolicyObservations(self._tensors.observation, self._spec)


def session_options() -> onnxruntime.SessionOptions:
    """Return session options for a control loop: the caller's thread alone, and no spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def _open_session(bundle: Bundle) -> onnxruntime.InferenceSession:
    try:
        session = onnxruntime.InferenceSession(
            bundle.policy_onnx, session_options(), providers=["CPUExecutionProvider"]
        )
    except Exception as exc:  # onnxruntime's errors have no class in common
        reason = " ".join(str(exc).split())
        raise BundleError(
            f"policy.onnx: onnxruntime {onnxruntime.__version__} refuses it: {reason}. "
            "Upgrade onnxruntime here, or export with a lower export.opset_version."
        ) from exc
    _check_tensors(session, bundle.contract)
    return session


def _check_tensors(session: onnxruntime.InferenceSession, contract: Contract) -> None:
    """Check names, types and shapes. In a shape, the name `batch` is a batch of any size."""
    output = Port("action", "float32", ["batch", contract.spec.action_dim])
    for kind, nodes, ports in (
        ("inputs", session.get_inputs(), input_ports(contract.onnx)),
        ("output", session.get_outputs(), [output]),
    ):
        found = [(node.name, node.type, node.shape) for node in nodes]
        expected = [(port.name, _ONNX_TYPES[port.dtype], port.shape) for port in ports]
        if found != expected:
            raise BundleError(
                f"policy.onnx: expected the {kind} {expected}, found {found}. "
                "Fetch the bundle again, or export it again."
            )


class BoundTensors:
    """Inputs and output of one session, bound to it once, for one thread at a time.

    All float32 terms are bound to their places inside one packed vector, so an observation is one copy and
    nothing is copied term by term. onnxruntime needs no alignment but that of a float32.

    Args:
        session: Session of the contract's policy.onnx.
        contract: Contract of the bundle.
    """

    def __init__(self, session: onnxruntime.InferenceSession, contract: Contract) -> None:
        spec, noise = contract.spec, contract.onnx.noise
        self._session, self._binding = session, session.io_binding()
        self.observation: Observation = spec.layout.pack(
            {term.name: np.zeros(term.shape, term.dtype) for term in spec.observation}
        )
        """Observation that the next run reads."""
        self.noise: FloatArray | None = None if noise is None else np.zeros(noise.dim, np.float32)
        """Random numbers that the next run reads; None for a deterministic policy. Shape (noise_dim,)."""
        self.action: FloatArray = np.zeros(spec.action_dim, np.float32)
        """Action of the last run. Shape (action_dim,)."""
        for name, array in self.observation.items():
            self._binding.bind_input(name, *_place(array))
        if self.noise is not None:
            self._binding.bind_input("noise", *_place(self.noise))
        self._binding.bind_output("action", *_place(self.action))

    def run(self) -> None:
        """Compute the action of the observation."""
        self._session.run_with_iobinding(self._binding)


def _place(array: NDArray[Any]) -> tuple[str, int, type[Any], tuple[int, ...], int]:
    """Return device, device number, type, shape for a batch of one, and address of an array."""
    return "cpu", 0, array.dtype.type, (1, *array.shape), array.ctypes.data


def check_golden_sequence(
    bundle: Bundle, act: Callable[[Observation, FloatArray | None], FloatArray]
) -> float:
    """Compute the action of every golden observation and compare it with the golden action.

    Args:
        bundle: Its golden.npz holds the sequence, its contract the tolerance.
        act: The policy of this bundle: one observation, and the noise of a stochastic policy or None, to an
            action of shape (action_dim,), in task units.

    Returns:
        Largest difference found, as a share of the action's range `high - low`.

    Raises:
        BundleError: the largest difference exceeds the tolerance. Names the step and the action.
    """
    spec, tolerance = bundle.contract.spec, bundle.contract.golden.tolerance
    span = np.subtract(spec.action_high.tolist(), spec.action_low.tolist())
    golden, expected = bundle.golden, bundle.golden.actions
    noise = [None] * len(expected) if golden.noise is None else golden.noise
    found = np.stack([act(golden.observations.rows(row), noise[row]) for row in range(len(expected))])
    errors = np.abs(found.astype(np.float64) - expected) / span
    row, entry = np.unravel_index(np.argmax(errors), errors.shape)
    if errors[row, entry] > tolerance:
        raise BundleError(
            f"golden.npz: step {row}, action '{spec.action[entry].name}': expected "
            f"{expected[row, entry]:.9g} within {tolerance:.3g} of its range, found "
            f"{found[row, entry]:.9g}. This machine computes other actions than the exporting one; do not "
            "use the policy here."
        )
    return float(errors.max())
