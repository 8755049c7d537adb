"""The learner's own update."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from sacpipe.algorithms.base import Learner
from sacpipe.core.config import Config
from sacpipe.engines import Tier
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class AutogradConfig(Config):
    """Update as the algorithm defines it, by autograd."""

    tier: ClassVar[Tier] = "same-device"
    """PyTorch's libraries multiply and add up by what the processor can do."""

    name: Literal["autograd"]
    num_threads: int = Field(ge=1)
    """Threads of PyTorch's arithmetic; another number gives other bytes."""

    @classmethod
    def preset(cls, _spec: EnvSpec | None, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {"name": "autograd", "num_threads": 1}

    @classmethod
    def suits(cls, _algorithm: Any) -> bool:
        """Return True: every learner has an update of its own."""
        return True

    def attach(self, learner: Learner) -> Learner:
        """Return the learner."""
        return learner
