"""The weights of earlier runs in a training: those that params.yaml names, and those in data/warm_start.

As of an initial pool, params.yaml has their digest and DVC may keep the folder; docs/decisions/0010 has the
reasons.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sacpipe.core.files import sha256_file

WARM_START = "data/warm_start"
"""Path of the weights in the project."""

_FILES = ("policy.safetensors", "state.json")


def named_weights(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the SHA-256 of the files of weights that params name, each once.

    They are those of a warm start, and those of which an algorithm keeps parts: each `sha256` in its section.
    """
    training = params.get("training")
    start = training.get("warm_start") if isinstance(training, Mapping) else None
    found = [*_digests(start), *_digests(params.get("algorithm"))]
    return tuple(dict.fromkeys(found))


def _digests(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from [str(value)] if key == "sha256" else _digests(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _digests(value)


def weights_digests(folder: Path) -> list[str]:
    """Return the SHA-256 of each file by which params may name weights: in the folder, or a folder in it."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    files = [place / name for place in (folder, *inner) for name in _FILES]
    return [sha256_file(path) for path in files if path.is_file()]
