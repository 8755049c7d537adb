"""The policy that answers requests, and what belongs to the time in which it does."""

import time

from sacpipe.bundle.contract import contract_sha256
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.server.http_errors import NotFoundError
from sacpipe.server.inputs import Inputs
from sacpipe.server.statistics import ModelStatistics

MAX_BATCH = 256
"""Maximum number of observations in one request: 5 ms of work during which other requests wait."""


class ActiveModel:
    """The active policy with its version and statistics, from the moment at which it becomes active.

    Args:
        name: Name of the model.
        policy: The policy.
        blend_steps: Number of steps over which open sequences blend into it; None for the contract's.
        previous: The policy that was active before it.
    """

    def __init__(
        self,
        name: str,
        policy: OnnxPolicy,
        blend_steps: int | None = None,
        previous: OnnxPolicy | None = None,
    ) -> None:
        self.name, self.policy, self.blend_steps, self.previous = name, policy, blend_steps, previous
        self.version = policy.digest[:12]
        """The first 12 digits of the bundle's digest."""
        self.contract_sha256 = contract_sha256(policy.contract)
        self.inputs = Inputs(policy.contract.spec.layout, MAX_BATCH)
        """What the inputs of its requests have to be."""
        self.since_s = time.time()
        """Time of the activation, in Unix seconds."""
        self.statistics = ModelStatistics.at_start(name, self.version)
        self.is_halted = False
        """Whether it must not act any more, and no other policy may."""

    def check_version(self, version: str | None) -> None:
        """Check the version of a path.

        Args:
            version: The version, or the whole digest; None for any.

        Raises:
            NotFoundError: another version is active.
        """
        if version not in (None, self.version, self.policy.digest):
            raise NotFoundError(f"version: expected {self.version}, the one in service, found '{version}'")
