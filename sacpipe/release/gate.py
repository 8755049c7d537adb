"""The release gate: a pure function of numbers that the stages wrote.

A refused release is no error. The result is a Verdict with what each rule expected and found.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

if TYPE_CHECKING:
    from sacpipe.evaluation.statistics import EvaluationSummary
    from sacpipe.export.config import ExportMetrics


class ReleaseConfig(Config):
    """The registered name of a policy, and the minimum return for its release."""

    model_name: Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the registered model."""
    min_return_mean: float | None
    """Lowest mean return of the bundle that is released; null for none."""

    @classmethod
    def preset(cls, spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", spec.task.partition("/")[2])
        return {"model_name": name, "min_return_mean": budget.min_return_mean}


class Finding(Config):
    """The result of one rule."""

    rule: str
    expected: str
    found: str
    ok: bool


class Verdict(Config):
    """The result of the release gate: accepted when every rule is ok."""

    accepted: bool
    reasons: tuple[Finding, ...]


def evaluate_release(
    bundle: "EvaluationSummary", exported: "ExportMetrics", config: ReleaseConfig
) -> Verdict:
    """Apply every rule.

    Args:
        bundle: Returns of the bundle, run by the robot's own runtime.
        exported: Differences between torch and ONNX; the exporter has checked the synthetic ones.
        config: Section of params.yaml.
    """
    minimum, error, tolerance = config.min_return_mean, exported.parity_max_error, exported.parity_tolerance
    reasons = (
        Finding(
            rule="minimum return",
            expected="no minimum is set" if minimum is None else f"mean return of at least {minimum:g}",
            found=f"{bundle.return_mean:.2f} over {bundle.episodes} episodes",
            ok=minimum is None or bundle.return_mean >= minimum,
        ),
        Finding(
            rule="parity of torch and ONNX",
            expected=f"at most {tolerance:g} of the action range",
            found=f"{error:.3g}",
            ok=error <= tolerance,
        ),
    )
    return Verdict(accepted=all(reason.ok for reason in reasons), reasons=reasons)
