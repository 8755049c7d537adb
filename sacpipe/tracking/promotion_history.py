"""The history of promotions and rollbacks: an append-only file, and the only one that cannot be rebuilt.

.sacpipe/promotions.jsonl holds one JSON object a line (format_version 1). Trackers keep no history of an
alias. Each line also holds the stages' entries of dvc.lock, whose bytes are in DVC's cache, so that a
rebuilt ledger can register an older policy again.
"""

import json
import os
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from sacpipe.core.config import Config
from sacpipe.core.errors import StoreError
from sacpipe.core.files import canonical_json, storage_errors
from sacpipe.core.json_lines import json_lines
from sacpipe.project.workspace import Workspace

FORMAT_VERSION: Literal[1] = 1


class Promotion(Config):
    """One move of an alias."""

    format_version: Literal[1]
    time: str
    """UTC, ISO 8601."""
    action: Literal["promote", "rollback"]
    model: str
    """Registered name."""
    alias: str
    version: int = Field(ge=1)
    """Number of the version when it was promoted; a rebuilt ledger numbers from 1."""
    bundle_digest: str
    """Digest of the bundle: the version's identity."""
    previous_bundle_digest: str | None
    """Digest of the bundle that the alias named before; None where it named none."""
    commit: str | None
    """Commit that holds the code and parameters; None without git."""
    entries: dict[str, dict[str, JsonValue]]
    """Entries of dvc.lock by stage at that time."""
    verdict: dict[str, JsonValue] | None
    """Verdict of the release gate; None for a rollback."""


def append_promotion(workspace: Workspace, promotion: Promotion) -> None:
    """Append a line durably, in one write.

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
    """Return every promotion, oldest first. A line that a crash cut short is skipped.

    Raises:
        StoreError: a complete line is no promotion of a known format.
    """
    path = workspace.promotions
    if not path.is_file():
        return []
    promotions = []
    rows = json_lines(path, StoreError, "Upgrade sacpipe, or restore the file.", skips_torn=True)
    for where, row in rows:
        try:
            promotions.append(Promotion.model_validate_json(json.dumps(row)))
        except ValidationError as exc:
            raise StoreError(
                f"{where}: expected a promotion of format {FORMAT_VERSION}, found another: "
                f"{exc.errors()[0]['loc']} {exc.errors()[0]['msg']}. Upgrade sacpipe, or restore the file."
            ) from exc
    return promotions


def current_promotion(promotions: list[Promotion], model: str, alias: str) -> Promotion | None:
    """Return the last move of a model's alias, or None."""
    return next((one for one in reversed(promotions) if (one.model, one.alias) == (model, alias)), None)
