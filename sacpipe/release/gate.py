"""The release gate: a pure judgement of numbers that are already on disk.

A refused release is no error: the answer is a Verdict, with what each rule expected and found.
"""

from typing import Annotated

from pydantic import Field

from sacpipe.core.config import Config


class ReleaseConfig(Config):
    """Under which name a policy is registered, and what it must reach to be released."""

    model_name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the registered model."""
    min_return_mean: float | None
    """Lowest mean return of the bundle over the evaluation episodes, or null for no floor."""


class Finding(Config):
    """One rule's answer."""

    rule: str
    expected: str
    found: str
    ok: bool


class Verdict(Config):
    """The gate's answer; accepted when every rule is."""

    accepted: bool
    reasons: tuple[Finding, ...]


class Candidate(Config):
    """The numbers a verdict rests on."""

    bundle_return_mean: float
    """The exported policy's, run by the robot's own runtime."""
    bundle_episodes: int
    parity_max_error: float
    """Largest difference between torch and ONNX actions, as a share of the action range."""
    parity_tolerance: float


def evaluate_release(candidate: Candidate, config: ReleaseConfig) -> Verdict:
    """Hold a candidate against every rule."""
    floor = config.min_return_mean
    reasons = (
        Finding(
            rule="return floor",
            expected="no floor is set" if floor is None else f"mean return of at least {floor:g}",
            found=f"{candidate.bundle_return_mean:.2f} over {candidate.bundle_episodes} episodes",
            ok=floor is None or candidate.bundle_return_mean >= floor,
        ),
        Finding(
            rule="parity of torch and ONNX",
            expected=f"at most {candidate.parity_tolerance:g} of the action range",
            found=f"{candidate.parity_max_error:.3g}",
            ok=candidate.parity_max_error <= candidate.parity_tolerance,
        ),
    )
    return Verdict(accepted=all(reason.ok for reason in reasons), reasons=reasons)
