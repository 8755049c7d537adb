"""The policy that answers requests, and what belongs to the time in which it does."""

import time
from dataclasses import dataclass

from sacpipe.bundle.contract import contract_sha256
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.server.http_errors import NotFoundError
from sacpipe.server.inputs import Inputs
from sacpipe.server.statistics import ModelStatistics

MAX_BATCH = 256
"""Maximum number of observations in one request: 5 ms of work during which other requests wait."""


@dataclass(frozen=True, eq=False, slots=True)
class ActiveModel:
    """The active policy with its version and statistics."""

    name: str
    """Name of the model."""
    policy: OnnxPolicy
    blend_steps: int | None
    """Number of steps over which open sequences blend into it; None for the contract's."""
    previous: OnnxPolicy | None
    """The policy that was active before it."""
    version: str
    """The first 12 digits of the bundle's digest."""
    contract_sha256: str
    inputs: Inputs
    """What the inputs of its requests have to be."""
    since_s: float
    """Time of the activation, in Unix seconds."""
    statistics: ModelStatistics

    @classmethod
    def of(
        cls,
        name: str,
        policy: OnnxPolicy,
        blend_steps: int | None = None,
        previous: OnnxPolicy | None = None,
    ) -> "ActiveModel":
        """Describe a policy that becomes active now."""
        version = policy.digest[:12]
        return cls(
            name=name,
            policy=policy,
            blend_steps=blend_steps,
            previous=previous,
            version=version,
            contract_sha256=contract_sha256(policy.contract),
            inputs=Inputs(policy.contract.spec.layout, MAX_BATCH),
            since_s=time.time(),
            statistics=ModelStatistics.at_start(name, version),
        )

    def check_version(self, version: str | None) -> None:
        """Check the version of a path.

        Args:
            version: The version, or the whole digest; None for any.

        Raises:
            NotFoundError: another version is active.
        """
        if version not in (None, self.version, self.policy.digest):
            raise NotFoundError(f"version: expected {self.version}, the one in service, found '{version}'")
