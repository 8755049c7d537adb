"""The `evaluation` section of params.yaml."""

from typing import Any

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.evaluation.video import VideoConfig
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

DEFAULT_EPISODES = 20
"""Episodes of an evaluation in a new params.yaml, and where nothing else is asked for."""


class EvaluationConfig(Config):
    """`evaluation` section of params.yaml."""

    episodes: int = Field(ge=1)
    """Episodes of the final evaluation; seeds are the same for every policy."""
    bootstrap_resamples: int = Field(ge=1, le=1_000_000)
    """Resamples for the interval of the mean return. 10,000 are enough; all are held in memory."""
    confidence: float = Field(gt=0.0, lt=1.0)
    """Coverage of that interval."""
    video: VideoConfig | None
    """Video of the first episode, if a renderer is present; null for none."""

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        video = {"height": 320, "width": 480, "frames_per_s": 30.0, "max_s": 20.0}
        return {
            "episodes": DEFAULT_EPISODES,
            "bootstrap_resamples": 10_000,
            "confidence": 0.95,
            "video": video,
        }
