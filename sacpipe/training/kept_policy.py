"""Which policy leaves a run: that of its last step, or of its best evaluation."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from sacpipe.algorithms.base import Arrays
from sacpipe.core.config import Config
from sacpipe.core.errors import CheckpointError
from sacpipe.networks.policy_file import Policy, encode_policy
from sacpipe.specs.metric import Reward, Steps

_ARRAY = "kept_policy"
"""Name of the array of a checkpoint with the bytes of the policy file."""


class KeptEvaluation(Config):
    """The best evaluation so far."""

    env_steps: Steps
    """Steps before it."""
    return_mean: Reward
    """Mean deterministic return of its episodes, in task units. As the best of several noisy means it is
    above what the policy returns in new episodes."""


class KeptPolicy:
    """Keeps the file of the policy with the best evaluation, if params ask for it.

    Args:
        keep: `best`, or `last` to keep nothing.
    """

    def __init__(self, keep: Literal["last", "best"]) -> None:
        self._is_wanted = keep == "best"
        self.evaluation: KeptEvaluation | None = None
        """Of the kept policy; None for none."""
        self.file: bytes | None = None
        """Bytes of its policy.safetensors."""

    def consider(self, env_steps: int, return_mean: float, policy: Callable[[], Policy]) -> None:
        """Keep the present policy if its evaluation is better than all before it.

        Args:
            env_steps: Steps so far.
            return_mean: Mean deterministic return of the evaluation.
            policy: Returns the policy that was evaluated.
        """
        best = self.evaluation
        if self._is_wanted and (best is None or return_mean > best.return_mean):
            self.file = encode_policy(policy())
            self.evaluation = KeptEvaluation(env_steps=env_steps, return_mean=return_mean)

    def arrays(self) -> Arrays:
        """Return what a checkpoint holds beside `evaluation`."""
        return {} if self.file is None else {_ARRAY: np.frombuffer(self.file, dtype=np.uint8)}

    def restore(self, evaluation: KeptEvaluation | None, arrays: Arrays) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: it has an evaluation without its policy.
        """
        if evaluation is not None and _ARRAY not in arrays:
            raise CheckpointError(f"checkpoint: expected the array {_ARRAY} of the kept policy, found none.")
        self.evaluation = evaluation
        self.file = None if evaluation is None else arrays[_ARRAY].tobytes()
