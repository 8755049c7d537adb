"""A bundle as a function: one raw observation in, one action in the task's own units out.

The control loop and the load gate use this same class: the policy that was checked is the policy that the
robot runs. A bundle that differs from its contract never becomes a policy.
"""

import copy
import math
import os
import threading
from pathlib import Path
from typing import Self

import numpy as np

from sacpipe.bundle.files import under_rule
from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.errors import BundleError, ObservationError
from sacpipe.core.files import sha256_bytes
from sacpipe.robot.golden_check import check_golden_sequence
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

# onnxruntime sends telemetry to its maker unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime

_FLOAT32 = np.dtype(np.float32)


class OnnxPolicy:
    """A verified bundle, ready to act. Threads may share it; they act one after the other."""

    def __init__(self, source: Path | Bundle) -> None:
        """Load the policy of a bundle and check its golden sequence.

        Args:
            source: Folder of a bundle, which is verified here; or a verified bundle.

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
        self._spec, self._shape = spec, (spec.observation_dim,)
        self._low, self._high = spec.action_low.tolist(), spec.action_high.tolist()
        try:
            with under_rule("tensors"):
                self._open(bundle)
            with under_rule("golden"):
                self.golden_error = check_golden_sequence(bundle, self.act)
                """Largest difference from the golden actions, as a share of the action's range."""
        except BundleError as exc:
            where = bundle.digest if isinstance(source, Bundle) else source
            raise BundleError(f"bundle {where}: {exc}", exc.rule) from exc

    def act(self, observation: FloatArray) -> FloatArray:
        """Return the action for one observation.

        Args:
            observation: Raw, finite, float32. Shape (observation_dim,).

        Returns:
            A new array in the task's own units, within its limits. Shape (action_dim,).

        Raises:
            ObservationError: another shape or type, or a value that is not finite. Values are never clamped.
            BundleError: the policy gave an action that is not finite or outside its limits.
        """
        if observation.dtype != _FLOAT32 or observation.shape != self._shape:
            raise ObservationError(
                f"expected a float32 observation of shape {self._shape} for {self._spec.task}, "
                f"found {observation.dtype} of shape {observation.shape}."
            )
        # Float32 cannot overflow a float64 sum: it is finite where all entries are. Faster than NumPy.
        if not math.isfinite(sum(observation.tolist())):
            raise ObservationError(_name_fault(observation, self._spec))
        with self._lock:
            action: FloatArray = self.run(observation).copy()
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
        if own != spec:
            raise BundleError(
                f"bundle {self.digest}: expected a {role} of {spec.task} with the terms and bounds in "
                f"service, found one of {own.task} or of others. The policy in service goes on."
            )

    def clone_session(self) -> Self:
        """Return the same policy with memory of its own, for another thread that runs it in parallel."""
        clone = copy.copy(self)
        OnnxPolicy._bind(clone)
        return clone

    def run(self, observation: FloatArray) -> FloatArray:
        """Return the policy's action, unchecked. The next run overwrites it. For one thread at a time.

        Raises:
            Exception: any error of onnxruntime; its errors have no class in common.
        """
        self._observation[0] = observation
        self._session.run_with_iobinding(self._binding)
        return self._action_row

    def _open(self, bundle: Bundle) -> None:
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
        _check_tensors(session, bundle.contract.spec)
        self._session = session
        self._bind()

    def _bind(self) -> None:
        """Allocate the memory that the session reads from and writes to."""
        self._lock = threading.Lock()
        self._observation: FloatArray = np.zeros((1, self._spec.observation_dim), dtype=np.float32)
        self._action: FloatArray = np.zeros((1, self._spec.action_dim), dtype=np.float32)
        self._action_row: FloatArray = self._action[0]
        self._binding = self._session.io_binding()
        bound = ("cpu", 0, np.float32)
        self._binding.bind_input(
            "observation", *bound, self._observation.shape, self._observation.ctypes.data
        )
        self._binding.bind_output("action", *bound, self._action.shape, self._action.ctypes.data)


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


def _check_tensors(session: onnxruntime.InferenceSession, spec: EnvSpec) -> None:
    """Check names, types and shapes. In a shape, the name `batch` is a batch of any size."""
    for kind, nodes, name, size in (
        ("input", session.get_inputs(), "observation", spec.observation_dim),
        ("output", session.get_outputs(), "action", spec.action_dim),
    ):
        found = [(node.name, node.type, node.shape) for node in nodes]
        if found != [(name, "tensor(float)", ["batch", size])]:
            raise BundleError(
                f"policy.onnx: expected one {kind} '{name}', tensor(float) ['batch', {size}], found {found}. "
                "Fetch the bundle again, or export it again."
            )


def _name_fault(observation: FloatArray, spec: EnvSpec) -> str:
    """Name the first observation entry that is not finite by term, index and unit."""
    index = int(np.flatnonzero(~np.isfinite(observation))[0])
    names = [f"{term.name}[{entry}] ({term.unit})" for term in spec.observation for entry in range(term.size)]
    return (
        f"observation entry {index}, {names[index]}, of {spec.task} is {observation[index]}; expected a "
        "finite number. No action was computed; check that sensor."
    )
