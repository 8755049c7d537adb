"""The model of params.yaml: every section."""

from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.export.config import ExportConfig
from sacpipe.release.config import ReleaseConfig
from sacpipe.training.config import TrainParams


class Params(TrainParams):
    """All of params.yaml, field for field. A stage reads its own sections only."""

    export: ExportConfig
    """Form and checks of the bundle."""
    runtime: RuntimeSettings
    """Checks and fallbacks of the robot's runtime; part of the contract."""
    evaluation: EvaluationConfig
    """Final evaluation of the policy and of its bundle."""
    release: ReleaseConfig
    """Name and release gate."""
