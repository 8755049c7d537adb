"""Memory of a policy's inputs and output, bound to an onnxruntime session once.

All float32 terms are bound to their places inside one packed vector, so an observation is one copy and
nothing is copied term by term. onnxruntime needs no alignment but that of a float32.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Contract
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    import onnxruntime


class BoundTensors:
    """Inputs and output of one session, for one thread at a time.

    Args:
        session: Session of the contract's policy.onnx.
        contract: Contract of the bundle.
    """

    def __init__(self, session: "onnxruntime.InferenceSession", contract: Contract) -> None:
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
