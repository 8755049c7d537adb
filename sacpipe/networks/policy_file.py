"""policy.safetensors: the actor and a header that describes it. docs/policy.md has the format.

The tensors are the actor's parameters and normaliser. One metadata entry, `sacpipe`, has the header as
canonical JSON (one entry only, because safetensors writes several in no fixed order).
"""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from sacpipe.core.config import Config
from sacpipe.core.errors import CheckpointError
from sacpipe.core.files import canonical_json, write_bytes
from sacpipe.networks.actor import SquashedGaussianActor
from sacpipe.networks.normaliser import Normaliser
from sacpipe.specs.env_spec import EnvSpec

FORMAT_VERSION = 1


class PolicyHeader(Config):
    """Shape and meaning of the tensors."""

    format_version: Literal[1]
    kind: Literal["squashed_gaussian"]
    """Kind of the policy's distribution."""
    algorithm: str
    """Name of the algorithm, e.g. `sac`."""
    hidden_dims: tuple[int, ...]
    """Units of each hidden layer."""
    log_std_bounds: tuple[float, float]
    """Lowest and highest log standard deviation, before the squash."""
    normalised: bool
    """Whether the actor normalises its observations."""
    spec: EnvSpec
    """Task that the policy was trained on."""


class Policy(NamedTuple):
    """An actor and its header."""

    actor: SquashedGaussianActor
    header: PolicyHeader


def build_actor(header: PolicyHeader) -> SquashedGaussianActor:
    """Return an actor with the header's shape and uninitialised weights."""
    spec = header.spec
    return SquashedGaussianActor(
        spec.observation_dim,
        spec.action_dim,
        header.hidden_dims,
        log_std_bounds=header.log_std_bounds,
        normaliser=Normaliser(spec.observation_dim) if header.normalised else None,
    )


def write_policy(path: Path, policy: Policy) -> None:
    """Write a policy atomically; the same policy always gives the same bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    tensors = {name: tensor.contiguous() for name, tensor in policy.actor.state_dict().items()}
    write_bytes(path, save(tensors, metadata={"sacpipe": canonical_json(policy.header.as_tree())}))


def read_policy(path: Path) -> Policy:
    """Read a policy.

    Raises:
        CheckpointError: the file is missing or incomplete, or has another version or shape.
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
    actor = build_actor(header)
    try:
        actor.load_state_dict(tensors)
    except RuntimeError as exc:
        raise CheckpointError(f"policy {path}: tensors do not fit its header: {exc}") from exc
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise CheckpointError(f"policy {path}: a parameter is not finite.")
    return Policy(actor.eval(), header)


def _read_header(path: Path, metadata: dict[str, str]) -> PolicyHeader:
    try:
        tree = json.loads(metadata["sacpipe"])
        version = tree["format_version"]
    except (KeyError, TypeError, ValueError) as exc:
        raise CheckpointError(f"{path} is not a sacpipe policy: its header is missing.") from exc
    if version != FORMAT_VERSION:
        raise CheckpointError(f"policy {path} has format {version}; this program reads {FORMAT_VERSION}.")
    return PolicyHeader.parse(tree, source=str(path))
