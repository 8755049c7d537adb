"""The `training` section, and all the sections a training run reads."""

from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from sacpipe.algorithms import AlgorithmConfig
from sacpipe.core.config import Config
from sacpipe.core.members import member_field
from sacpipe.engines import EngineConfig
from sacpipe.envs import TaskConfig
from sacpipe.replay.pool.config import InitialPoolConfig, PoolConfig
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.replay.samplers.base import SamplerConfig
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

_MAX_BUFFER_BYTES = 4 * 2**30
_SEGMENT_BYTES = 32 * 2**20
_OVERHEAD_BYTES = 16
"""Bytes of a transition besides observation and action: reward, flags, episode."""

if TYPE_CHECKING:
    SamplerSection: TypeAlias = SamplerConfig
else:
    SamplerSection = member_field(SAMPLERS)
"""The `replay.sampler` section of params.yaml, of any sampler."""


class ReplayConfig(PoolConfig):
    """Form of the pool on disk, size of the replay buffer, the sampler, and the initial pool."""

    capacity: int = Field(ge=1)
    """Transitions in the replay buffer; the pool keeps all. The oldest is overwritten first."""
    sampler: SamplerSection
    """How batches are drawn from the buffer; `name: uniform` draws every transition equally often."""
    initial_pool: InitialPoolConfig | None
    """Earlier experience: null, or {sha256, share} of data/pool, whose manifest has that digest."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return at least four segments, of 32 MiB in a long run, and a buffer of at most 4 GiB."""
        size = sum(term.size * (4 if term.dtype == "float32" else 1) for term in spec.observation)
        size += 4 * spec.action_dim + _OVERHEAD_BYTES
        return {
            "segment_transitions": max(1, min(budget.total_steps // 4, rounded(_SEGMENT_BYTES // size))),
            "format": "compact",
            "capacity": max(1, min(1_000_000, budget.total_steps, rounded(_MAX_BUFFER_BYTES // size))),
            "sampler": {"name": "uniform"},
            "initial_pool": None,
        }


def rounded(count: int) -> int:
    """Round a positive count down to its first digit: 335,544 to 300,000."""
    digits = str(count)
    return int(digits[0] + "0" * (len(digits) - 1))


class WarmStartConfig(Config):
    """Weights of an earlier run, in `data/warm_start`, with which the run begins."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of policy.safetensors, or of a checkpoint's state.json, which has the digest of the arrays."""
    parts: Literal["policy", "all"]
    """Weights that are taken: `policy`, or `all` of a checkpoint, with critics and temperature."""
    first_actions: Literal["policy", "random"]
    """Actions of the first `random_steps` steps: of the `policy`, with its noise, or `random`."""

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return what any file of weights has; its digest is the user's to give."""
        return {"parts": "policy", "first_actions": "policy"}


class TrainingConfig(Config):
    """Length of a run, and its intervals."""

    total_steps: int = Field(ge=1)
    """Environment steps of the whole run."""
    random_steps: int = Field(ge=1)
    """First steps, with uniformly random actions, before the first update."""
    batch_size: int = Field(ge=1)
    """Transitions in an update."""
    updates_per_step: int | float = Field(gt=0)
    """Gradient steps for each environment step: a whole number, or one over a whole number. With 0.5 there is
    one update every second step."""
    evaluation_interval_steps: int = Field(ge=1)
    """Steps between evaluations; one more before the first step, and one after the last."""
    evaluation_episodes: int = Field(ge=1)
    """Episodes of each evaluation, of the deterministic and of the stochastic policy."""
    log_interval_steps: int = Field(ge=1)
    """Steps averaged in one row of metrics."""
    checkpoint_interval_steps: int = Field(ge=1)
    """Steps between checkpoints: an interruption costs at most so many."""
    keep: Literal["last", "best"]
    """Policy that leaves the run: the `last`, or that of the `best` evaluation. The best has the highest mean
    deterministic return; of several it is the first. The evaluation before the first step counts."""
    stop_at_return: float | None
    """Mean deterministic return of an evaluation that ends the run; null for none. Evaluations before the
    first update do not end it."""
    warm_start: WarmStartConfig | None
    """Weights to begin with: null, or {sha256, parts, first_actions} of data/warm_start."""
    extends: str | None = Field(pattern="^[0-9a-f]{64}$")
    """Stage key of a finished run to continue; `sacpipe run --extend` sets it."""
    num_environments: int = Field(ge=1, le=1024)
    """Environments of the task, each with its own episodes. In a round each takes one step, then come the
    updates that `updates_per_step` gives for all of them."""
    environment_processes: bool
    """Whether each environment has a process of its own, for slow simulators. The bytes are the same."""
    policy_lag_rounds: int = Field(ge=0, le=1)
    """Rounds of updates that the acting policy lacks, 0 or 1. With 0 the simulators wait for the updates;
    with 1 they step at the same time, by the policy from before the last round of updates."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the counts that follow from a budget; as in Softlearning, at most ten random episodes."""
        total, episode = budget.total_steps, spec.max_episode_steps or 1000
        return {
            "total_steps": total,
            "random_steps": max(1, min(10 * episode, total // 20)),
            "batch_size": 256,
            "updates_per_step": 1,
            "evaluation_interval_steps": max(1, min(25_000, total // 10)),
            "evaluation_episodes": 5,
            "log_interval_steps": max(1, min(5_000, total // 40)),
            "checkpoint_interval_steps": max(1, min(25_000, total // 4)),
            "keep": "last",
            "stop_at_return": None,
            "warm_start": None,
            "extends": None,
            "num_environments": 1,
            "environment_processes": False,
            "policy_lag_rounds": 0,
        }

    @property
    def update_schedule(self) -> tuple[int, int]:
        """Steps from one round of updates to the next, and updates in a round."""
        ratio = self.updates_per_step
        return (1, int(ratio)) if ratio >= 1 else (round(1 / ratio), 1)

    @property
    def min_steps(self) -> int:
        """Steps that every run has: fewer than `total_steps` where a return may end it."""
        if self.stop_at_return is None:
            return self.total_steps
        interval, round_steps = self.evaluation_interval_steps, self.num_environments
        # An evaluation is in the first round that reaches it; with updates, that is after the random steps.
        last_before = self.random_steps // round_steps * round_steps
        evaluated_at = interval * (last_before // interval + 1)
        return min(self.total_steps, -(-evaluated_at // round_steps) * round_steps)

    @property
    def num_random_actions(self) -> int:
        """First steps with random actions; 0 where the policy of a warm start acts instead."""
        is_random = self.warm_start is None or self.warm_start.first_actions == "random"
        return self.random_steps if is_random else 0

    @model_validator(mode="after")
    def _ratio_divides(self) -> Self:
        interval, count = self.update_schedule
        if count / interval != self.updates_per_step:
            raise ValueError(
                "updates_per_step must be a whole number, or one over a whole number such as 0.5 or 0.25; "
                f"found {self.updates_per_step}"
            )
        return self

    @model_validator(mode="after")
    def _rounds_divide(self) -> Self:
        rest = self.total_steps % self.num_environments
        if rest:
            raise ValueError(
                f"total_steps must be a multiple of num_environments ({self.num_environments}), as every "
                f"environment takes equally many steps; found {self.total_steps}. The next multiple is "
                f"{self.total_steps - rest + self.num_environments}"
            )
        return self

    @model_validator(mode="after")
    def _random_steps_fit(self) -> Self:
        if self.random_steps >= self.total_steps:
            raise ValueError(
                f"random_steps must be below total_steps, or nothing is learned; found {self.random_steps} "
                f"and {self.total_steps}"
            )
        return self


class TrainParams(Config):
    """The sections of params.yaml that the train stage depends on, and no others."""

    seed: int = Field(ge=0, lt=2**31)
    """Seed of all random numbers."""
    task: TaskConfig
    """Task suite and task; `sacpipe tasks` lists all."""
    algorithm: AlgorithmConfig
    """Algorithm that learns the policy."""
    engine: EngineConfig
    """How the updates are computed."""
    replay: ReplayConfig
    """Replay buffer in memory, and replay pool on disk."""
    training: TrainingConfig
    """Length of the run, and its intervals."""
