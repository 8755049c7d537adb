"""The release gate: a pure function of numbers that the stages wrote.

A refused release is no error. The result is a Verdict with what each rule expected and found.
"""

import re
from typing import Annotated, Any

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


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


class Candidate(Config):
    """The numbers on which a verdict depends."""

    bundle_return_mean: float
    """Mean return of the bundle, run by the robot's own runtime."""
    bundle_episodes: int
    parity_max_error: float
    """Largest difference between torch and ONNX actions, as a share of the action range."""
    parity_tolerance: float


def evaluate_release(candidate: Candidate, config: ReleaseConfig) -> Verdict:
    """Apply every rule to a candidate."""
    minimum = config.min_return_mean
    reasons = (
        Finding(
            rule="minimum return",
            expected="no minimum is set" if minimum is None else f"mean return of at least {minimum:g}",
            found=f"{candidate.bundle_return_mean:.2f} over {candidate.bundle_episodes} episodes",
            ok=minimum is None or candidate.bundle_return_mean >= minimum,
        ),
        Finding(
            rule="parity of torch and ONNX",
            expected=f"at most {candidate.parity_tolerance:g} of the action range",
            found=f"{candidate.parity_max_error:.3g}",
            ok=candidate.parity_max_error <= candidate.parity_tolerance,
        ),
    )
    return Verdict(accepted=all(reason.ok for reason in reasons), reasons=reasons)
