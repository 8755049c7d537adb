"""The lease: a tag on the registered model that says who releases now, and until when.

A registry without mutual exclusion gives the lease to one of two promoters, unless more than SETTLE_S passes
between a promoter's look and its write (Fischer's algorithm, in Lamport, "A fast mutual exclusion algorithm",
ACM Transactions on Computer Systems 5(1), 1987). It narrows the race, and the comparisons of head and alias
find what remains. `Registry.exclusive` closes it where the store can.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import ValidationError

from sacpipe.core.config import Config
from sacpipe.core.errors import BusyError, ReleaseError, StoreError
from sacpipe.core.files import canonical_json
from sacpipe.release.history import write_durably
from sacpipe.release.world import World

LEASE_TAG = "sacpipe.release_lease"
LEASE_S = 600.0
"""Seconds after which others may take the lease of a promoter that died. A proof takes seconds."""
SETTLE_S = 1.0
"""Seconds from the write of the lease until it is read again."""
_CLONE = ".sacpipe/release_clone"


class _Lease(Config):
    owner: str
    """Random name of the promoter's clone."""
    expires: float
    """Time after which others may take it, in seconds since 1970."""
    actor: str


class Lease:
    """The lease of one policy, held by this clone."""

    def __init__(self, world: World, model: str) -> None:
        self._world, self._model, self._owner = world, model, _clone(world)

    def take(self, *, is_excluded: bool) -> None:
        """Take the lease. One that this clone left behind is its own, as one command runs at a time.

        Args:
            is_excluded: Whether the store excludes others, so that there is nothing to wait for.

        Raises:
            ReleaseError: another promoter has it.
        """
        now = self._world.clock.now()
        self._require_free(now)
        expires = now.timestamp() + LEASE_S
        lease = _Lease(owner=self._owner, expires=expires, actor=str(self._world.git.actor()))
        self._world.registry.set_model_tags(self._model, {LEASE_TAG: canonical_json(lease.as_tree())})
        if not is_excluded:
            self._world.clock.sleep(SETTLE_S)
        self.require()

    def require(self) -> None:
        """Check that the lease is still this clone's.

        Raises:
            ReleaseError: another promoter took it.
        """
        found = _read(self._world, self._model)
        if found is None or found.owner != self._owner:
            raise self._refusal(found)

    def give_back(self) -> None:
        """End the lease, if it is still this clone's. Where the registry does not answer, it expires."""
        with contextlib.suppress(StoreError):
            found = _read(self._world, self._model)
            if found is not None and found.owner == self._owner:
                self._world.registry.set_model_tags(self._model, {LEASE_TAG: ""})

    def _require_free(self, now: datetime) -> None:
        found = _read(self._world, self._model)
        if found is not None and found.owner != self._owner and now.timestamp() < found.expires:
            raise self._refusal(found)

    def _refusal(self, found: _Lease | None) -> ReleaseError:
        holder = "another promoter"
        if found is not None:
            until = datetime.fromtimestamp(found.expires, UTC).isoformat(timespec="seconds")
            holder = f"{found.actor}, until {until} at the latest"
        return ReleaseError(
            f"policy '{self._model}' is being released by {holder}. Wait, `git pull`, and decide again."
        )


@contextlib.contextmanager
def leased(world: World, model: str) -> Iterator[Lease]:
    """Exclude other promoters of a policy as far as the registry can.

    Raises:
        ReleaseError: the store gives its lock to another process, or another promoter has the lease.
    """
    with _store_lock(world, model) as is_excluded:
        lease = Lease(world, model)
        lease.take(is_excluded=is_excluded)
        try:
            yield lease
        finally:
            lease.give_back()


@contextlib.contextmanager
def _store_lock(world: World, model: str) -> Iterator[bool]:
    with contextlib.ExitStack() as stack:
        try:
            is_excluded = stack.enter_context(world.registry.exclusive(model))
        except BusyError as exc:
            raise ReleaseError(str(exc)) from exc
        yield is_excluded


def is_left(world: World, model: str) -> bool:
    """Return whether a command of this clone was killed while it held the lease; others wait for its end."""
    found, known = _read(world, model), world.disk.read(_CLONE)
    return found is not None and known is not None and found.owner == _name(known)


def _read(world: World, model: str) -> _Lease | None:
    text = world.registry.model_tags(model).get(LEASE_TAG, "")
    try:
        return _Lease.model_validate_json(text) if text else None
    except ValidationError:
        return None  # it protects nothing that head and alias do not protect too


def _clone(world: World) -> str:
    """Return the name of this clone, made at its first release."""
    known = world.disk.read(_CLONE)
    if known is None:
        known = world.random.token().encode()
        write_durably(world.disk, _CLONE, known)
    return _name(known)


def _name(known: bytes) -> str:
    return known.decode("ascii", "replace")
