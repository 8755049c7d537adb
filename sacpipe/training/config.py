"""The `training` section, and all the sections a training run reads."""

from typing import Self

from pydantic import Field, model_validator

from sacpipe.algorithms import AlgorithmConfig
from sacpipe.core.config import Config
from sacpipe.envs import TaskConfig
from sacpipe.replay.config import ReplayConfig


class TrainingConfig(Config):
    """Length of a run, its intervals, and its number of threads."""

    total_steps: int = Field(ge=1)
    """Environment steps of the whole run."""
    random_steps: int = Field(ge=1)
    """First steps taken uniformly at random, before the first update."""
    batch_size: int = Field(ge=1)
    """Transitions in an update."""
    updates_per_step: int | float = Field(gt=0)
    """Gradient steps for each environment step: a whole number, or one over a whole number (0.5: one
    update every second step)."""
    evaluation_interval_steps: int = Field(ge=1)
    """Steps between evaluations; there is also one before the first step and one after the last."""
    evaluation_episodes: int = Field(ge=1)
    """Episodes of each evaluation, for the deterministic and for the stochastic policy."""
    log_interval_steps: int = Field(ge=1)
    """Steps averaged into one row of update metrics."""
    checkpoint_interval_steps: int = Field(ge=1)
    """Steps between checkpoints: the largest number of steps that an interruption costs."""
    num_threads: int = Field(ge=1)
    """Threads of PyTorch's arithmetic; part of the result's identity, whatever the machine has."""
    extends: str | None = Field(pattern="^[0-9a-f]{64}$")
    """Stage key of a finished run that this one continues with more steps, or null: `sacpipe run --extend`
    sets it."""

    @property
    def update_schedule(self) -> tuple[int, int]:
        """Steps from one round of updates to the next, and updates in a round."""
        ratio = self.updates_per_step
        return (1, int(ratio)) if ratio >= 1 else (round(1 / ratio), 1)

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
    task: TaskConfig
    algorithm: AlgorithmConfig
    replay: ReplayConfig
    training: TrainingConfig
