"""The actions of a batch of observations that belong to no sequence."""

import logging

import numpy as np

from sacpipe.core.errors import BundleError, ObservationError
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.server.http_errors import FaultError, RefusalError
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_LOGGER = logging.getLogger(__name__)


def act(policy: OnnxPolicy, observations: Observation, first_row: int = 0) -> FloatArray:
    """Return the actions of a batch; refuse the whole batch where a row fails. Shape (batch, action_dim)."""
    batch = len(observations.vector)
    actions: FloatArray = np.empty((batch, policy.contract.spec.action_dim), dtype=np.float32)
    for index in range(batch):
        row = first_row + index
        try:
            actions[index] = policy.act(observations.rows(index))
        except ObservationError as exc:
            raise RefusalError(f"row {row}: {exc}", "observation_not_finite") from None
        except BundleError as exc:
            raise FaultError(f"row {row}: {exc}", "action_outside_bounds") from None
        except Exception as exc:  # onnxruntime's errors have no class in common
            _LOGGER.exception("sacpipe: the policy failed")
            raise FaultError(
                f"row {row}: the ONNX runtime gave an error, no action", "inference_failed"
            ) from exc
    return actions
