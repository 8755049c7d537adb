"""Changes to a good bundle that its manifest agrees with, as an attacker makes them who can write the source."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILES = ("contract.json", "golden.npz", "manifest.json", "policy.onnx")


def render(tree: Any) -> bytes:
    """Return the form of JSON that a bundle must have."""
    return (json.dumps(tree, sort_keys=True, indent=2) + "\n").encode()


def reseal(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and make the manifest agree."""
    (folder / name).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    (folder / "manifest.json").write_bytes(render(manifest))


def change_contract(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the tree of contract.json."""
    tree = json.loads((folder / "contract.json").read_bytes())
    change(tree)
    reseal(folder, "contract.json", render(tree))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the tree of manifest.json."""
    tree = json.loads((folder / "manifest.json").read_bytes())
    change(tree)
    (folder / "manifest.json").write_bytes(render(tree))
