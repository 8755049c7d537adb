"""Every promotion and rollback, append-only: the one file of .sacpipe/ that nothing can make again.

Floor 5. .sacpipe/promotions.jsonl holds one JSON object a line (format_version 1). MLflow keeps no
history of an alias; this does, with what it takes to bring an older policy back into a ledger that
was lost: the stages' entries of dvc.lock, whose bytes are in DVC's cache.
"""

import json
import os
from typing import Any, Literal

from pydantic import Field, JsonValue, ValidationError

from sacpipe.core.config import Config
from sacpipe.core.errors import StoreError
from sacpipe.core.files import canonical_json, storage_errors
from sacpipe.project.workspace import Workspace

FORMAT_VERSION: Literal[1] = 1


class Promotion(Config):
    """An alias moved."""

    format_version: Literal[1]
    time: str
    """UTC, ISO 8601."""
    action: Literal["promote", "rollback"]
    model: str
    """Registered name."""
    alias: str
    version: int = Field(ge=1)
    """As numbered when it was promoted; a rebuilt ledger counts anew."""
    bundle_digest: str
    """The version's identity."""
    previous_bundle_digest: str | None
    """What the alias named before."""
    commit: str | None
    """Commit that holds the code and parameters, where there is one."""
    entries: dict[str, dict[str, JsonValue]]
    """Entries of dvc.lock by stage, as they were."""
    verdict: dict[str, JsonValue] | None
    """The gate's answer; None for a rollback."""


def append_promotion(workspace: Workspace, promotion: Promotion) -> None:
    """Add a line, durably and in one write.

    Raises:
        StorageError: the folder cannot be written.
    """
    path = workspace.promotions
    line = canonical_json(promotion.as_tree()).encode() + b"\n"
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" + line if is_torn else line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_promotions(workspace: Workspace) -> list[Promotion]:
    """Return every promotion, oldest first; a line cut short by a crash was never one.

    Raises:
        StoreError: a line is whole but is no promotion this program reads.
    """
    path = workspace.promotions
    if not path.is_file():
        return []
    promotions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        tree = _tree(line)
        if tree is None:
            continue
        try:
            promotions.append(Promotion.model_validate_json(json.dumps(tree)))
        except ValidationError as exc:
            raise StoreError(
                f"{path}, line {number}: expected a promotion of format {FORMAT_VERSION}, found another: "
                f"{exc.errors()[0]['loc']} {exc.errors()[0]['msg']}. Upgrade sacpipe, or restore the file."
            ) from exc
    return promotions


def current(promotions: list[Promotion], model: str, alias: str) -> Promotion | None:
    """Return the promotion that put a policy where its alias points now, or None."""
    return next((one for one in reversed(promotions) if (one.model, one.alias) == (model, alias)), None)


def _tree(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
