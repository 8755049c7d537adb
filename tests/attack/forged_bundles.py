"""Changes to a good bundle that its manifest agrees with, as an attacker makes them who can write the source.

All of it begins with what the product's own writer wrote: contract and manifest are read by their models, and
what an attacker changes is changed in their trees.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.files import REQUIRED
from sacpipe.bundle.manifest import BundleManifest, file_entry

FILES = tuple(sorted(REQUIRED))


def render(tree: Any) -> bytes:
    """Return the form of JSON that a bundle must have, also of values that the product's writer refuses."""
    return (json.dumps(tree, sort_keys=True, indent=2) + "\n").encode()


def reseal(folder: Path, name: str, data: bytes) -> None:
    """Replace a file and make the manifest agree."""
    (folder / name).write_bytes(data)
    change_manifest(folder, lambda tree: tree["files"].update({name: file_entry(data).as_tree()}))


def change_contract(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the tree of contract.json."""
    tree = Contract.model_validate_json((folder / "contract.json").read_bytes()).as_tree()
    change(tree)
    reseal(folder, "contract.json", render(tree))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the tree of manifest.json."""
    tree = BundleManifest.model_validate_json((folder / "manifest.json").read_bytes()).as_tree()
    change(tree)
    (folder / "manifest.json").write_bytes(render(tree))
