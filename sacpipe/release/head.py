"""The head: number and digest of the newest record, as a tag on the registered model.

It joins the clones of a project: one whose history lacks the head's record is behind, and may not release.
No registry compares and sets in one step, so the head is read before it is set and read again afterwards.
"""

from pydantic import ValidationError

from sacpipe.core.config import Config
from sacpipe.core.errors import ReleaseError
from sacpipe.core.files import canonical_json
from sacpipe.release.record import Record
from sacpipe.tracking.registry import Registry

HEAD_TAG = "sacpipe.release_head"


class LostRaceError(ReleaseError):
    """Another promoter wrote its record first."""


class Head(Config):
    """Value of the tag, as JSON."""

    number: int
    sha256: str
    actor: str
    time: str

    def __str__(self) -> str:
        """Return the record in words."""
        return f"record {self.number} ({self.sha256[:12]}), written by {self.actor} at {self.time}"


def read_head(registry: Registry, model: str) -> Head | None:
    """Return the head; None where no record was published.

    Raises:
        ReleaseError: the tag was changed by hand.
    """
    text = registry.model_tags(model).get(HEAD_TAG, "")
    try:
        return Head.model_validate_json(text) if text else None
    except ValidationError as exc:
        raise ReleaseError(
            f"tag {HEAD_TAG} of policy '{model}': expected JSON with number, sha256, actor and time, found "
            f"{text[:80]!a}. Delete the tag; `sacpipe ledger rebuild` writes it again."
        ) from exc


def require_head(registry: Registry, model: str, expected: str | None) -> None:
    """Compare the digest of the head.

    Raises:
        LostRaceError: it is another record's.
    """
    found = read_head(registry, model)
    if (found and found.sha256) != expected:
        raise LostRaceError(
            f"policy '{model}': another promoter was faster: the newest record is {found or 'none'}. "
            "This command moved nothing. `git pull` fetches the other's records; then decide again."
        )


def publish(registry: Registry, model: str, expected: str | None, record: Record) -> None:
    """Make a record the head, if the head is still the expected one.

    Raises:
        LostRaceError: the head was, or became, another record's.
    """
    found = read_head(registry, model)
    if found is not None and found.sha256 == record.sha256:
        return  # an earlier request wrote it, and its answer was lost
    require_head(registry, model, expected)
    head = Head(number=record.number, sha256=record.sha256, actor=str(record.actor), time=record.time)
    registry.set_model_tags(model, {HEAD_TAG: canonical_json(head.as_tree())})
    require_head(registry, model, record.sha256)
