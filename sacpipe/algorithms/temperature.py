"""The `temperature` section of maximum-entropy algorithms."""

from typing import Literal

from pydantic import Field

from sacpipe.core.config import Config


class AutomaticTemperature(Config):
    """A temperature learned so that the policy's entropy stays at a target."""

    mode: Literal["automatic"]
    """`automatic`, or `fixed` with `value` only."""
    initial: float = Field(gt=0)
    """First temperature, in reward per nat."""
    learning_rate: float = Field(gt=0)
    """Learning rate of the temperature's logarithm."""
    objective: Literal["log_temperature", "temperature"]
    """Factor of the entropy gap in the loss: `log_temperature` or `temperature`."""
    target_entropy_per_dimension: float
    """Target entropy in nats divided by the number of action dimensions; the paper's is -1."""

    def target_entropy(self, action_dim: int) -> float:
        """Return the target entropy in nats."""
        return self.target_entropy_per_dimension * action_dim


class FixedTemperature(Config):
    """A constant temperature."""

    mode: Literal["fixed"]
    """`fixed`, or `automatic` with more keys."""
    value: float = Field(gt=0)
    """Temperature, in reward per nat."""
