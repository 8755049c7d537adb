"""Open a bundle's policy for a command, through the load gate that a server uses.

The load gate runs in this process, as in a server that follows no source: a command runs one policy and holds
nothing that a crash could take away. A folder needs only the packages that a robot has installed.
"""

from sacpipe.project.workspace import Workspace
from sacpipe.robot.load_gate import DEFAULT_GATE, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.tracking.registry_source import open_source


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
    return run_load_gate(source.resolve().pull(), DEFAULT_GATE, is_realtime=is_realtime).policy
