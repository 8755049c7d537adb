"""Open a bundle's policy for a command. A folder needs only the packages that a robot has installed."""

import tempfile
from pathlib import Path

from sacpipe.project.workspace import Workspace
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout.mlflow_source import SCHEME, parse_address


def open_policy(policy: str | None) -> OnnxPolicy:
    """Open a bundle's folder, an alias or version (`models:/NAME@ALIAS`), or the workspace's own bundle.

    Raises:
        ConfigError: the address is malformed.
        BundleError: the bundle is damaged or missing.
        StoreError: the registry has no such alias or does not answer.
    """
    if policy is not None and policy.startswith(SCHEME):
        return _open_alias(policy)
    return OnnxPolicy(Workspace.enter().bundle if policy is None else Path(policy))


def _open_alias(uri: str) -> OnnxPolicy:
    from sacpipe.tracking.ledger import open_ledger

    address = parse_address(uri)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "bundle"
        open_ledger(Workspace.enter()).registry.fetch_bundle(address.name, address.which, folder)
        return OnnxPolicy(folder)
