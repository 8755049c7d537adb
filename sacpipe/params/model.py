"""The model of params.yaml: every section."""

from sacpipe.bundle.guard_settings import GuardSettings
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.export.config import ExportConfig
from sacpipe.release.gate import ReleaseConfig
from sacpipe.training.config import TrainParams


class Params(TrainParams):
    """All of params.yaml, field for field. A stage reads its own sections only."""

    export: ExportConfig
    guards: GuardSettings
    evaluation: EvaluationConfig
    release: ReleaseConfig
