"""Loads a follower's reserve. A try that finds none is not repeated at each poll: it costs load gates."""

import time
from collections.abc import Callable

from sacpipe.core.errors import StorageError
from sacpipe.core.fence import first_error
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.stored_policies import load_reserve

_MAX_DOUBLINGS = 4
"""Number of tries after which the pause grows no more: then it is 16 times `retry_s`."""


class ReserveLoader:
    """Loads the newest bundle of the store that may act. One thread at a time calls `load`.

    Args:
        store: Holds the bundles.
        settings: Acceptance settings of the operator.
        check: Raises a BundleError for a policy that cannot be used.
    """

    def __init__(
        self, store: BundleStore, settings: FollowSettings, check: Callable[[OnnxPolicy], None]
    ) -> None:
        self._store, self._settings, self._check = store, settings, check
        self._situation: object = None
        """What the last try depended on."""
        self._failure: Exception | None = None
        self._tries, self._retry_at_s = 0, 0.0

    def load(self, without: str) -> OnnxPolicy:
        """Return a policy. Where the last try found none and nothing changed, fail again without a try.

        Args:
            without: Digest of a bundle that is no reserve; empty for none.

        Raises:
            StorageError: no bundle of the store may act and passes the load gate.
            Exception: the load gate could not run.
        """
        store = self._store
        situation = (without, dict(store.barred), dict(store.bad), store.held())
        if situation != self._situation:
            self._situation, self._tries, self._failure = situation, 0, None
        if self._failure is not None and time.monotonic() < self._retry_at_s:
            raise self._failure
        found: list[OnnxPolicy] = []
        self._failure = first_error(lambda: found.append(self._try(without)))
        if self._failure is not None:
            pause_s = self._settings.retry_s * 2 ** min(self._tries, _MAX_DOUBLINGS)
            self._tries, self._retry_at_s = self._tries + 1, time.monotonic() + pause_s
            raise self._failure
        self._situation = None
        return found[0]

    def _try(self, without: str) -> OnnxPolicy:
        policy = load_reserve(self._store, self._settings.gate, self._check, (without,))
        if policy is None:
            raise StorageError(
                "there is no reserve: no bundle of the store may act and passes the load gate. "
                "Let the source name a bundle that may act, or lift a bar."
            )
        return policy
