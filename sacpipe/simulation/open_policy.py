"""Open a bundle's policy for a command, through the load gate that a server uses.

The load gate runs in this process, as in a server that follows no source: a command runs one policy and holds
nothing that a crash could take away. A folder needs only the packages that a robot has installed.

Guards of other packages run where params.yaml of the project around the current folder lists them: there its
user is the operator. A bundle enables none.
"""

from sacpipe.bundle.guards import GUARDS
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.project.workspace import Workspace
from sacpipe.robot.load_gate import DEFAULT_GATE, LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.tracking.chosen import open_source


class _RuntimeParams(Config):
    """The section of params.yaml that lists a project's guards."""

    runtime: RuntimeSettings


def open_policy(policy: str | None, *, is_realtime: bool) -> OnnxPolicy:
    """Open what `sacpipe serve` opens: a bundle's folder or tar file, or a version of the registry.

    Args:
        policy: Path or address, `models:/NAME@ALIAS` or `models:/NAME/VERSION`; None for the workspace's own
            bundle.
        is_realtime: Whether the policy has to meet its deadline here. A simulation that waits for the policy
            may run on a slower machine.

    Raises:
        ConfigError: the address is malformed.
        GateError: the load gate refuses the bundle; names the rule.
        StoreError: the registry has no such alias or does not answer.
    """
    source = open_source(str(Workspace.with_tools().bundle) if policy is None else policy)
    return run_load_gate(source.resolve().pull(), _gate(), is_realtime=is_realtime).policy


def _gate() -> LoadGateSettings:
    """Return the default settings of an operator, with the project's own guards enabled."""
    try:
        params = _RuntimeParams.load_sections(Workspace.find().params)
    except ConfigError:  # no project is here, or none that lists guards
        return DEFAULT_GATE
    names = [guard.name for guard in params.runtime.guards if guard.name not in GUARDS.ours]
    return DEFAULT_GATE.replace(enabled_guards=names) if names else DEFAULT_GATE
