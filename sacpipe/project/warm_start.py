"""The weights that a training begins with: those that params.yaml names, and those in data/warm_start.

As of an initial pool, params.yaml has their digest and DVC may keep the folder; docs/decisions/0010 has the
reasons.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacpipe.core.files import sha256_file

WARM_START = "data/warm_start"
"""Path of the weights in the project."""

_FILES = ("policy.safetensors", "state.json")


def named_weights(params: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of the weights' file, or None where the params name none."""
    training = params.get("training")
    start = training.get("warm_start") if isinstance(training, Mapping) else None
    return str(start.get("sha256")) if isinstance(start, Mapping) else None


def weights_digests(folder: Path) -> list[str]:
    """Return the SHA-256 of each file by which params may name a folder of weights."""
    return [sha256_file(folder / name) for name in _FILES if (folder / name).is_file()]
