"""The follower's child for one bundle: reads the bundle, passes it through the load gate in a child, writes the rule.

python gate_probe.py BUNDLE [PUBLIC_KEY]
"""

import json
import sys
from pathlib import Path

from sacpipe.core.errors import GateError
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.load_gate_process import run_load_gate_in_child
from sacpipe.rollout.sources import PathSource


def main(bundle: str, *public_keys: str) -> None:
    """Write the rule that refused the bundle, or null, and the message."""
    settings = FollowSettings.read(None).gate.replace(public_keys=public_keys)
    rule, message = None, ""
    try:
        resolved = PathSource(Path(bundle), allow_hard_links=False).resolve()
        run_load_gate_in_child(resolved.pull(), settings)
    except GateError as exc:
        rule, message = exc.rule, str(exc)
    sys.stdout.write(json.dumps({"rule": rule, "message": message}))


if __name__ == "__main__":
    main(*sys.argv[1:])
