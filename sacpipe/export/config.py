"""The `export` section of params.yaml, in a file of its own, so that reading params does not import torch."""

from pydantic import Field

from sacpipe.core.config import Config


class ExportConfig(Config):
    """Settings of the export stage."""

    opset_version: int = Field(ge=18, le=25)
    """Version of the ONNX operator set. Old runtimes read old versions only; the exporter writes each of
    these without conversion."""
    parity_tolerance: float = Field(gt=0, le=1e-2)
    """Largest difference between network and bundle, or between two machines, as a share of each action's
    range."""
    golden_steps: int = Field(ge=1, le=10_000)
    """Length of the golden sequence: recorded steps that a robot replays before it uses the bundle."""


class ExportMetrics(Config):
    """The whole of out/export/metrics.json. Differences are shares of the action's range."""

    bundle_digest: str
    """SHA-256 of the bundle's manifest.json."""
    parity_tolerance: float
    """Largest difference allowed between the actions of torch and ONNX."""
    parity_max_error: float
    """Largest difference found on observations of the pool."""
    parity_max_error_synthetic: float
    """Largest difference found on random and boundary observations."""
    parity_observations: int
    """Number of observations compared."""

    def compared(self) -> dict[str, float]:
        """Return the numbers by which people compare exports."""
        return {name: getattr(self, name) for name in ("parity_max_error", "parity_max_error_synthetic")}
