"""The `export` section of params.yaml, in a file of its own, so that reading params does not import torch."""

from typing import Annotated, Any

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Share, Unit


class ExportConfig(Config):
    """Settings of the export stage."""

    opset_version: int = Field(ge=18, le=25)
    """Version of the ONNX operator set. Old runtimes read old versions only; the exporter writes each of
    these without conversion."""
    parity_tolerance: float = Field(gt=0, le=1e-2)
    """Largest difference between network and bundle, as a share of each action's range. It holds between two
    machines too."""
    golden_steps: int = Field(ge=1, le=10_000)
    """Recorded steps that a robot replays before it uses the bundle: the golden sequence."""

    @classmethod
    def preset(cls, _spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {
            "opset_version": 20,
            "parity_tolerance": 1.0e-4,
            "golden_steps": min(64, budget.total_steps),
        }


class ExportMetrics(Config):
    """The whole of out/export/metrics.json. Differences are shares of the action's range."""

    bundle_digest: str
    """SHA-256 of the bundle's manifest.json."""
    parity_tolerance: Share
    """Largest difference allowed between the actions of torch and ONNX."""
    parity_max_error: Share
    """Largest difference found on observations of the pool."""
    parity_max_error_synthetic: Share
    """Largest difference found on random and boundary observations."""
    parity_observations: Annotated[int, Unit("observations")]
    """Number of observations compared."""

    def compared(self) -> dict[str, float]:
        """Return the numbers by which people compare exports."""
        return {name: getattr(self, name) for name in ("parity_max_error", "parity_max_error_synthetic")}
