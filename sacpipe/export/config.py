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
