"""Passes bundles through the load gate, one after the other, and writes each rule, and whether a module was imported.

python name_probe.py MODULE ENABLED_GUARDS BUNDLE...     guards separated by commas; "" for none
"""

import json
import sys
from pathlib import Path

from sacpipe.core.errors import GateError
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.sources import read_source


def main(module: str, enabled: str, *bundles: str) -> None:
    """Write the rule that refused each bundle, or null, and whether the module was imported."""
    guards = [name for name in enabled.split(",") if name]
    settings = FollowSettings.read(None).gate.replace(enabled_guards=guards)
    rules: list[str | None] = []
    for bundle in bundles:
        try:
            run_load_gate(read_source(Path(bundle), allow_hard_links=False), settings, p99_us=1.0)
            rules.append(None)
        except GateError as exc:
            rules.append(exc.rule)
    sys.stdout.write(json.dumps({"rules": rules, "is_imported": module in sys.modules}))


if __name__ == "__main__":
    main(*sys.argv[1:])
