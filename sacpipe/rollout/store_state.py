"""The state of a robot's store, current.json, and its recovery where a power cut left no JSON in it.

What is recovered comes from the evidence of the rollouts, one file for each bundle: a bundle whose last
rollout ended with `accepted` was current, and a bundle that was rejected or rolled back is bad. The only
bundle of a store without such evidence is the one that the robot began with. Any other bundle without
evidence is not trusted: it has to come from the source again. docs/robot-store.md says what is lost.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sacpipe.bundle.contract import Sha256
from sacpipe.core.config import Config
from sacpipe.core.errors import BundleError
from sacpipe.core.files import read_regular_file

Outcome = Literal["accepted", "rejected", "rolled_back", "replaced", "withdrawn"]
"""How a rollout ended. `accepted`: the bundle is the store's current one. `replaced`: another bundle was
offered in the shadow phase. `withdrawn`: the source names another bundle now, or an error that is not the
candidate's ended the phase."""


class StoredBundle(Config):
    """A bundle that is or was current."""

    bundle_digest: Sha256
    source: str
    """Path, or alias with version, from which it was resolved."""


class StoreState(Config):
    """Content of current.json."""

    format_version: Literal[2]
    history: tuple[StoredBundle, ...]
    """The current bundle, then the one that was current before it, and so on; each digest once."""
    bad: dict[Sha256, str]
    """Bundles that are never used again, by digest, with the reason."""
    on_trial: dict[Sha256, int] = Field(default_factory=dict)
    """Number of unfinished trials of each bundle, by digest: a process began them and did not end them."""


class FoundState(NamedTuple):
    """The state of a store at its opening."""

    state: StoreState
    torn: bytes | None
    """Content of current.json where it is no JSON object, else None."""


class _Evidence(BaseModel):
    """Part of the evidence of a rollout; other keys are ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")

    format_version: Literal[2]
    bundle_digest: Sha256
    source: str
    outcome: Outcome
    reason: str
    ended_unix_s: float


FORMAT_VERSION: Literal[2] = 2
"""Version of current.json and of the evidence."""
EMPTY = StoreState(format_version=FORMAT_VERSION, history=(), bad={})


def read_state(path: Path) -> FoundState:
    """Read current.json.

    Raises:
        BundleError: it is a JSON object of another version or with another content, or cannot be read.
    """
    try:
        data = read_regular_file(path)
    except FileNotFoundError:
        return FoundState(EMPTY, None)
    except OSError as exc:
        raise _refuse(path, str(exc)) from exc
    try:
        is_torn = not isinstance(json.loads(data), dict)
    except (ValueError, RecursionError):
        is_torn = True
    if is_torn:
        return FoundState(EMPTY, data)
    try:
        return FoundState(StoreState.model_validate_json(data), None)
    except ValidationError as exc:
        raise _refuse(path, str(exc)) from exc


def recover_state(evidence: Path, bundles: Path) -> StoreState:
    """Return what the evidence says about the bundles of a store whose state is lost.

    Args:
        evidence: Folder of the evidence.
        bundles: Folder of the bundles.
    """
    found = sorted(_read_evidence(evidence), key=lambda one: one.ended_unix_s, reverse=True)
    history = tuple(
        StoredBundle(bundle_digest=one.bundle_digest, source=one.source)
        for one in found
        if one.outcome == "accepted" and (bundles / one.bundle_digest).is_dir()
    )
    if not history:
        history = _find_only_one(bundles, {one.bundle_digest for one in found})
    bad = {one.bundle_digest: one.reason for one in found if one.outcome in ("rejected", "rolled_back")}
    return StoreState(format_version=FORMAT_VERSION, history=history, bad=bad)


def _find_only_one(bundles: Path, known: set[str]) -> tuple[StoredBundle, ...]:
    """Return the bundle that a robot began with: the only one of its store, and never in a rollout."""
    digests = [path.name for path in bundles.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]
    if len(digests) != 1 or digests[0] in known:
        return ()
    return (StoredBundle(bundle_digest=digests[0], source="unknown, recovered from the store"),)


def _read_evidence(folder: Path) -> Iterator[_Evidence]:
    """Walk the evidence that is whole; what is torn says nothing."""
    for path in sorted(folder.glob("*.json")):
        try:
            evidence = _Evidence.model_validate_json(read_regular_file(path))
        except (OSError, ValidationError):
            continue
        if path.stem == evidence.bundle_digest:
            yield evidence


def _refuse(path: Path, found: str) -> BundleError:
    return BundleError(
        f"{path}: expected what docs/robot-store.md describes, found {found}. "
        "Move the file away to start without a current bundle; the bundles themselves stay.",
        "store",
    )
