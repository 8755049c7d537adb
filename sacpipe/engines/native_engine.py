"""Updates composed of compiled kernels."""

from typing import Any, Literal, cast

from sacpipe.algorithms.base import Learner
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.members import import_named
from sacpipe.engines import Tier
from sacpipe.networks.kernel_outputs import evaluate_by_kernels
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_TRUNKS = ("mlp", "layer_norm_mlp")


class NativeConfig(Config):
    """Update by compiled kernels; equal to `autograd` up to rounding, several times as fast."""

    name: Literal["native"]
    precision: Literal["float32", "bfloat16"]
    """Precision of products: `float32`, or `bfloat16` where the processor has it."""

    @classmethod
    def preset(cls, _spec: EnvSpec | None, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {"name": "native", "precision": "float32"}

    @classmethod
    def suits(cls, algorithm: Any) -> bool:
        """Return whether there is an update by kernels for the algorithm and its trunk."""
        trunk = getattr(getattr(algorithm, "network", None), "name", None)
        # Of the class itself: a subclass may have another update.
        return bool(vars(type(algorithm)).get("has_native_update")) and trunk in _TRUNKS

    @property
    def num_threads(self) -> int:
        """Return 1: threads of PyTorch's arithmetic, which the kernels do not use. Theirs change no byte."""
        return 1

    @property
    def tier(self) -> Tier:
        """Where a training has the same bytes: bfloat16 products are a processor's own."""
        return "exact" if self.precision == "float32" else "same-device"

    def compute_outputs(self, policy: PolicyNetwork) -> bool:
        """Let kernels compute a policy's outputs for single observations; return whether they can."""
        return evaluate_by_kernels(policy)

    def attach(self, learner: Learner) -> Learner:
        """Return the learner with its update by kernels, which its class names as `native`.

        Raises:
            ConfigError: it has none, or none for its trunk, or none for its trunk in this precision.
            KernelError: there is no compiler or no instruction set for it here.
        """
        kind = type(learner)
        place = vars(kind).get("native")  # of the class itself: a subclass may have another update
        if not isinstance(place, str):
            raise ConfigError(
                f"engine.name: 'native' has no update for {kind.__name__}: its class names none as "
                "`native`. Use `engine: {name: autograd, num_threads: 1}`."
            )
        native = import_named("native update of", kind.__name__, place)
        return cast("Learner", native(learner, self.precision))
