"""Change one expression of a guarding module at a time; each change must make a test fail.

    python tests/mutants/run.py [MODULE ...]     such as sacpipe.robot.guard_chain; all of them by default

mutmut makes the mutants and runs the tests; pyproject.toml has its settings. A mutant that survives must be in
waived.yaml, with the reason why no test can tell it from the original. Exit code 1 where one is not, where a waiver
is of no surviving mutant, or where more than 5 % are waived.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from sacpipe.bundle.guards import GUARDS

ROOT = Path(__file__).parents[2]
WAIVED = Path(__file__).with_name("waived.yaml")
MODULES = (
    "sacpipe.robot.armed_guards",
    "sacpipe.robot.guard_chain",
    *(f"sacpipe.robot.guards.{name}" for name in GUARDS.ours),
    "sacpipe.robot.load_gate",
    "sacpipe.bundle.graph_shapes",
    "sacpipe.bundle.graph_size",
    "sacpipe.bundle.model_signature",
    "sacpipe.bundle.policy_graph",
    "sacpipe.bundle.protobuf",
    "sacpipe.bundle.signature",
    "sacpipe.rollout.bundle_store",
    "sacpipe.rollout.store_state",
)
MAX_WAIVED = 0.05
_SURVIVED = {0, 5, 33, 34}
"""Exit codes of mutmut: no test failed, or no test ran. Time-outs and crashes count as killed."""


def mutmut(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
    """Run mutmut in the repository, without the repository itself on the path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, text=True, check=False, **options)


def exit_codes(module: str) -> dict[str, int | None]:
    """Return the exit code of each mutant of a module, by name; None for one that did not run."""
    meta = ROOT / "mutants" / (module.replace(".", "/") + ".py.meta")
    return json.loads(meta.read_text())["exit_code_by_key"]


def describe(name: str) -> tuple[str, str, str]:
    """Return function, removed and added lines of a mutant: its name, whatever number mutmut gives it."""
    diff = mutmut("show", name, capture_output=True).stdout.splitlines()
    removed, added = (
        "\n".join(
            line[1:].strip() for line in diff if line.startswith(sign) and not line.startswith(sign * 3)
        )
        for sign in "-+"
    )
    function = (
        name.rpartition("__mutmut_")[0].replace("x\u01c1", "").replace("\u01c1", ".").replace(".x_", ".")
    )
    return function, removed, added


def main(*modules: str) -> int:
    """Run the modules' mutants, write what was found and return the exit code."""
    modules = modules or MODULES
    mutmut("run", *(f"{module}.*" for module in modules))
    waived = {
        (item["function"], item["old"], item["new"]): item["reason"]
        for item in YAML(typ="safe").load(WAIVED) or []
        if item["function"].startswith(tuple(f"{module}." for module in modules))
    }
    codes = {name: code for module in modules for name, code in exit_codes(module).items()}
    survivors = [describe(name) for name, code in codes.items() if code in _SURVIVED]
    missing = [name for name, code in codes.items() if code is None]
    open_ones = [mutant for mutant in survivors if mutant not in waived]
    stale = [mutant for mutant in waived if mutant not in survivors]
    for title, mutants in (("survived", open_ones), ("waived, and killed or gone", stale)):
        for function, old, new in mutants:
            sys.stdout.write(f"{title}: {function}\n  - {old}\n  + {new}\n")
    num_waived = len(survivors) - len(open_ones)
    sys.stdout.write(
        f"{len(codes)} mutants: {len(codes) - len(survivors) - len(missing)} killed, {num_waived} waived, "
        f"{len(open_ones)} survived, {len(missing)} not run\n"
    )
    return int(bool(open_ones or stale or missing or num_waived > MAX_WAIVED * len(codes)))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
