"""Reads policies or pools of a training machine, and writes each error's class, and whether a module was imported.

python read_probe.py MODULE policy|pool PATH...
"""

import json
import sys
from pathlib import Path

from sacpipe.core.errors import SacpipeError
from sacpipe.networks.policy_file import read_policy
from sacpipe.replay.pool.reader import ReplayPool

READERS = {"policy": read_policy, "pool": ReplayPool.open}


def main(module: str, kind: str, *paths: str) -> None:
    """Write the class of the error of each file, or null, and whether the module was imported."""
    errors: list[str | None] = []
    for path in paths:
        try:
            READERS[kind](Path(path))
            errors.append(None)
        except SacpipeError as exc:
            errors.append(type(exc).__name__)
    sys.stdout.write(json.dumps({"errors": errors, "is_imported": module in sys.modules}))


if __name__ == "__main__":
    main(*sys.argv[1:])
