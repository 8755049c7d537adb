"""Updates written by hand for PyTorch, without autograd."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sacpipe.algorithms.base import Learner
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.engines import Tier
from sacpipe.engines.busy_threads import WatchedLearner
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class TorchConfig(Config):
    """Update of SAC with multilayer perceptrons, written by hand; equal to `autograd` up to rounding."""

    tier: ClassVar[Tier] = "same-device"
    """PyTorch's libraries multiply and add up by what the processor can do."""

    name: Literal["torch"]
    num_threads: int = Field(ge=1)
    """Threads of PyTorch's arithmetic; another number gives other bytes. More than there are free cores make
    an update tens of times slower, because they wait for each other."""
    matmul_precision: Literal["float32", "bfloat16"]
    """Precision of the products in an update: `float32`, or `bfloat16`, faster on CPUs that support it."""

    @classmethod
    def preset(cls, _spec: EnvSpec | None, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {"name": "torch", "num_threads": 1, "matmul_precision": "float32"}

    @classmethod
    def suits(cls, algorithm: Any) -> bool:
        """Return whether the algorithm is SAC with multilayer perceptrons."""
        from sacpipe.algorithms.sac import SACConfig

        return isinstance(algorithm, SACConfig) and algorithm.network.name == "mlp"

    def attach(self, learner: Learner) -> Learner:
        """Return the learner with its update by hand.

        Parameters and moments of the learner become views of packed tensors.

        Raises:
            ConfigError: the learner is not SAC, or its trunk is not `mlp`.
        """
        from sacpipe.algorithms.sac import SAC
        from sacpipe.engines.torch_sac import TorchSAC
        from sacpipe.networks.trunks.mlp import MLPTrunk

        if type(learner) is not SAC:  # a subclass may have another update
            raise ConfigError(
                f"engine.name: 'torch' can update SAC only, found {type(learner).__name__}. Use `autograd`."
            )
        if not all(type(one.network.trunk) is MLPTrunk for one in (learner.actor, learner.critic)):
            raise ConfigError(
                "engine.name: 'torch' can train the trunk `mlp` only, found "
                f"'{learner.config.network.name}'. Use `autograd`."
            )
        fast = TorchSAC(learner, self.matmul_precision)
        return fast if self.num_threads == 1 else WatchedLearner(fast, self.num_threads)
