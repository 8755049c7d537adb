"""Updates written by hand for PyTorch, without autograd."""

import logging
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

from pydantic import Field

from sacpipe.algorithms.base import Learner
from sacpipe.algorithms.delegating import DelegatingLearner
from sacpipe.algorithms.td_errors import LearnerWithErrors
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.engines import Tier
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch, FloatArray


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


_LOGGER = logging.getLogger(__name__)

_WATCHED_UPDATES = 50
"""Updates after which the processor's time is compared with the clock's."""
_STARVED_SHARE = 0.6
"""Share of one core below which updates are starved: on free cores they have one core or more."""


class WatchedLearner(DelegatingLearner):
    """A learner whose update has several threads, warned of once where it has too few free cores.

    Args:
        learner: With the engine's update.
        num_threads: Threads that it computes with, more than one.
    """

    def __init__(self, learner: Learner, num_threads: int) -> None:
        super().__init__(learner)
        self._num_threads = num_threads
        self._count = 0
        self._started = (0.0, 0.0)

    def update(self, batch: Batch) -> None:
        """Make one gradient step; see `Learner.update`."""
        if self._count <= _WATCHED_UPDATES:
            self._watch()
        super().update(batch)

    @property
    def td_errors(self) -> Callable[[], FloatArray]:
        """The learner's own, if it offers them."""
        return cast("LearnerWithErrors", self._learner).td_errors

    def _watch(self) -> None:
        """Compare threads with free cores before the first update, and time had with time passed later."""
        self._count += 1
        now = (time.perf_counter(), time.process_time())
        if self._count == 1:
            self._started = now
            self._warn(busy_note(self._num_threads, *_load()))
        elif self._count > _WATCHED_UPDATES:
            passed, had = (end - start for end, start in zip(now, self._started, strict=True))
            if had < _STARVED_SHARE * passed:
                took_ms = 1e3 * passed / _WATCHED_UPDATES
                self._warn(f"the updates had {had / passed:.1f} of one core: {took_ms:.0f} ms each")

    def _warn(self, note: str | None) -> None:
        if note is None:
            return
        self._count = _WATCHED_UPDATES + 1  # one warning is enough
        _LOGGER.warning(
            "engine.num_threads is %d, but %s. Threads that wait for each other make an update many times "
            "slower. Set engine.num_threads to 1, or end the other programs.",
            self._num_threads,
            note,
        )


def busy_note(num_threads: int, load: float, num_cores: int) -> str | None:
    """Return why some threads will wait for a core; None where there are enough.

    Args:
        num_threads: Threads of the arithmetic.
        load: Processes that ran or waited for a core in the last minute. One of them was this run.
        num_cores: Cores that this process may use.
    """
    free = num_cores - max(0.0, load - 1.0)
    if num_threads < free + 0.5:
        return None
    return f"{max(0.0, free):.1f} of {num_cores} cores are free (load average {load:.1f})"


def _load() -> tuple[float, int]:
    """Return the load average of the last minute, and the number of cores."""
    has_affinity = hasattr(os, "sched_getaffinity")
    num_cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return os.getloadavg()[0], num_cores
