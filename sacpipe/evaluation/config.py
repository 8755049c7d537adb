"""The `evaluation` section of params.yaml."""

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.evaluation.video import VideoConfig


class EvaluationConfig(Config):
    """`evaluation` section of params.yaml."""

    episodes: int = Field(ge=1)
    """Number of episodes of each policy; all policies run the same seeds."""
    bootstrap_resamples: int = Field(ge=1, le=1_000_000)
    """Number of resamples for the interval of the mean return; 10,000 are enough, all are held in memory."""
    confidence: float = Field(gt=0.0, lt=1.0)
    """Coverage of the interval, e.g. 0.95."""
    video: VideoConfig | None
    """Video of one episode, or null for none."""
