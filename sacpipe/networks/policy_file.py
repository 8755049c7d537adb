"""policy.safetensors: a policy's tensors and a header that describes it. docs/policy.md has the format.

The tensors are the policy's parameters and normaliser. One metadata entry, `sacpipe`, has the header as
canonical JSON (one entry only, because safetensors writes several in no fixed order).
"""

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sacpipe.core.config import Config
from sacpipe.core.errors import CheckpointError, ConfigError
from sacpipe.core.files import canonical_json, write_bytes
from sacpipe.core.members import registered_only
from sacpipe.networks.policies import POLICY_KINDS, PolicyConfig
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.specs.env_spec import EnvSpec

FORMAT_VERSION: Literal[2] = 2


class PolicyHeader(Config):
    """Shape and meaning of the tensors."""

    format_version: Literal[2]
    kind: str
    """Registered name of the policy kind, e.g. `squashed_gaussian`."""
    algorithm: str = Field(pattern=r"^[^:]*$")
    """Name of the algorithm without its module, e.g. `sac`."""
    network: dict[str, Any]
    """The policy kind's own config."""
    spec: EnvSpec
    """Task that the policy was trained on, with the policy's observation terms only."""


class Policy(NamedTuple):
    """A policy's network and its header."""

    network: PolicyNetwork
    header: PolicyHeader


def make_policy(config: PolicyConfig, spec: EnvSpec, algorithm: str) -> Policy:
    """Return a policy whose parameters are not drawn yet.

    Args:
        config: Of a policy kind.
        spec: Of the task.
        algorithm: Name in params.yaml; the module of an import path is left out.

    Raises:
        ConfigError: the kind cannot act in this task.
    """
    seen = spec.policy_spec
    header = PolicyHeader(
        format_version=FORMAT_VERSION,
        kind=config.kind,
        algorithm=algorithm.rpartition(":")[2],
        network=dict(config.as_tree()),
        spec=seen,
    )
    return Policy(config.build(seen), header)


def encode_policy(policy: Policy) -> bytes:
    """Return the bytes of a policy file; the same policy always gives the same bytes.

    Raises:
        ConfigError: the policy's kind, or a part of its network, is no registered member, so that no reader
            would find it.
    """
    _network_config(policy.header, "policy")
    tensors = {name: tensor.contiguous() for name, tensor in policy.network.state_dict().items()}
    return save(tensors, metadata={"sacpipe": canonical_json(policy.header.as_tree())})


def write_policy(path: Path, policy: Policy) -> None:
    """Write a policy atomically.

    Raises:
        ConfigError: as `encode_policy`.
        StorageError: the file cannot be written.
    """
    write_bytes(path, encode_policy(policy))


def read_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        CheckpointError: the file is missing or incomplete, or has another version or shape.
        ConfigError: its kind, or a part of its network, is no registered member here.
    """
    if not path.is_file():
        raise CheckpointError(f"policy {path} is missing. `dvc pull` restores it, `sacpipe run` makes it.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except SafetensorError as exc:
        raise CheckpointError(
            f"policy {path} is damaged ({exc}). `dvc checkout --force` restores it."
        ) from exc
    header = _read_header(path, metadata)
    network = _network_config(header, str(path)).build(header.spec)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as exc:
        raise CheckpointError(f"policy {path}: tensors do not fit its header: {exc}") from exc
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise CheckpointError(f"policy {path}: a parameter is not finite.")
    return Policy(network.eval(), header)


def _network_config(header: PolicyHeader, source: str) -> PolicyConfig:
    """Return the config of a header's policy kind, which is a registered member."""
    try:
        kind: type[PolicyConfig] = POLICY_KINDS.find(header.kind)
    except ConfigError as exc:
        raise ConfigError(f"{source}: {exc}") from exc
    with registered_only():
        return kind.parse(header.network, where="network", source=source)


def _read_header(path: Path, metadata: dict[str, str]) -> PolicyHeader:
    try:
        tree = json.loads(metadata["sacpipe"])
        version = tree["format_version"]
    except (KeyError, TypeError, ValueError) as exc:
        raise CheckpointError(f"{path} is not a sacpipe policy: its header is missing.") from exc
    if version != FORMAT_VERSION:
        raise CheckpointError(f"policy {path} has format {version}; this program reads {FORMAT_VERSION}.")
    return PolicyHeader.parse(tree, source=str(path))
