"""The `algorithm` section of Soft Actor-Critic."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from sacpipe.algorithms.adam import AdamConfig
from sacpipe.core.config import Config
from sacpipe.networks.trunks import TrunkField, trunk_for
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

if TYPE_CHECKING:
    from sacpipe.algorithms.sac import SAC


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


class FixedTemperature(Config):
    """A constant temperature."""

    mode: Literal["fixed"]
    value: float = Field(gt=0)
    """Temperature, in reward per nat."""


class SACConfig(Config):
    """Soft Actor-Critic, arXiv:1812.05905."""

    variants: ClassVar[tuple[str, ...]] = ("paper", "softlearning")

    name: Literal["sac"]
    network: TrunkField
    """Trunk of the policy and of every critic."""
    discount: float = Field(ge=0, lt=1)
    """Discount per step."""
    tau: float = Field(gt=0, le=1)
    """Weight of the critics in their targets at each target update."""
    target_update_interval: int = Field(ge=1)
    """Gradient steps between target updates."""
    num_critics: int = Field(ge=1)
    """Q-functions in the ensemble; the target uses their minimum."""
    actor_q: Literal["min", "mean"]
    """Value in the actor's loss: `min` of the critics (the paper) or their `mean`. Softlearning's last version
    has the mean."""
    critic_learning_rate: float = Field(gt=0)
    """Learning rate of the critics."""
    actor_learning_rate: float = Field(gt=0)
    """Learning rate of the policy."""
    adam: AdamConfig
    """Optimiser of critics, policy and temperature: Adam."""
    log_std_min: float
    """Lowest log standard deviation of the Gaussian, before the squash."""
    log_std_max: float
    """Highest log standard deviation of the Gaussian, before the squash."""
    normalise_observations: bool | tuple[str, ...]
    """Normalisation by running mean and deviation: true, false or names of terms."""
    temperature: Annotated[AutomaticTemperature | FixedTemperature, Field(discriminator="mode")]
    """Weight of the entropy term."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if not self.log_std_min < self.log_std_max:
            raise ValueError(
                f"log_std_min must be below log_std_max, found {self.log_std_min} and {self.log_std_max}"
            )
        return self

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the paper's, or those of Softlearning's last version."""
        is_paper = budget.variant in ("", "paper")
        return {
            "name": "sac",
            "network": {"name": trunk_for(spec)},
            "discount": 0.99,
            "tau": 0.005,
            "target_update_interval": 1,
            "num_critics": 2,
            "actor_q": "min" if is_paper else "mean",
            "critic_learning_rate": budget.learning_rate,
            "actor_learning_rate": budget.learning_rate,
            "adam": {} if is_paper else {"epsilon": 1.0e-7},
            "log_std_min": -20.0,
            "log_std_max": 2.0,
            "normalise_observations": False,
            "temperature": {
                "mode": "automatic",
                "initial": 1.0,
                "learning_rate": budget.learning_rate,
                "objective": "log_temperature" if is_paper else "temperature",
                "target_entropy_per_dimension": -1.0,
            },
        }

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        adam = AdamConfig.preset(None, None)
        return cls.parse(
            {
                "name": "sac",
                "network": {"name": "mlp", "hidden_dims": [16, 16]},
                "discount": 0.97,
                "tau": 0.005,
                "target_update_interval": 1,
                "num_critics": 2,
                "actor_q": "min",
                "critic_learning_rate": 1e-3,
                "actor_learning_rate": 1e-3,
                "adam": adam,
                "log_std_min": -20.0,
                "log_std_max": 2.0,
                "normalise_observations": True,
                "temperature": {
                    "mode": "automatic",
                    "initial": 1.0,
                    "learning_rate": 1e-3,
                    "objective": "log_temperature",
                    "target_entropy_per_dimension": -1.0,
                },
            }
        )

    def build(self, spec: EnvSpec, seed: int) -> "SAC":
        """Return a fresh learner for a task.

        Raises:
            ConfigError: the trunk cannot take the task's observations, or cannot be written to a policy file.
        """
        from sacpipe.algorithms.sac import SAC

        return SAC(self, spec, seed)
