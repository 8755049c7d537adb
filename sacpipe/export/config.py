"""The `export` section of params.yaml. Apart from the exporter, so that reading params loads no torch."""

from pydantic import Field

from sacpipe.core.config import Config


class ExportConfig(Config):
    """How a network becomes a bundle."""

    opset_version: int = Field(ge=18, le=25)
    """ONNX operator set; old runtimes read only old ones. The exporter writes these without conversion."""
    parity_tolerance: float = Field(gt=0, le=1e-2)
    """Largest difference between network and bundle, or two machines, as a share of each action's range."""
    golden_steps: int = Field(ge=1, le=10_000)
    """Recorded steps that every robot replays before it uses the bundle."""


class ExportMetrics(Config):
    """out/export/metrics.json."""

    bundle_digest: str
    parity_tolerance: float
    """Largest difference allowed between torch and ONNX actions, as a share of the action range."""
    parity_max_error: float
    """The largest found on observations of the pool."""
    parity_max_error_synthetic: float
    """The largest found on random and boundary observations."""
    parity_observations: int
