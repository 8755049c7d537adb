"""A policy from wherever it is: a bundle's folder, a trained policy file, or a registry."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sacpipe.core.errors import ConfigError, ObservationError
from sacpipe.core.files import sha256_file
from sacpipe.core.seeding import generator
from sacpipe.envs.base import Policy
from sacpipe.evaluation.episodes import from_task_units
from sacpipe.simulation.open_policy import open_policy
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Arrays, Observation
from sacpipe.specs.records import FloatArray

POLICY_FILE_SUFFIX = ".safetensors"
"""Last characters of a policy file's name; another name is that of a bundle or an address."""


class LoadedPolicy(NamedTuple):
    """A policy that acts."""

    act: Callable[[Arrays], FloatArray]
    """Maps a raw observation, the array of each term by name, to an action in the task's own units, shape
    (action_dim,)."""
    unit_policy: Policy
    """The same with actions in [-1, 1], as environments and replay pools have them."""
    spec: EnvSpec
    """The task it was trained for, with the observation terms of the policy only."""
    kind: str
    """`bundle`, `deterministic` or `stochastic`; of a bundle with the input `noise`, `deterministic bundle`
    or `stochastic bundle`."""
    sha256: str
    """Of the bundle's manifest, or of the policy file."""


def load_policy(source: Path | str | None = None, *, stochastic: bool = False, seed: int = 0) -> LoadedPolicy:
    """Load a policy.

    Args:
        source: A bundle's folder or tar file, a policy.safetensors, `models:/NAME@ALIAS` or
            `models:/NAME/VERSION` of the project's registry; None for the bundle of the project around the
            current folder.
        stochastic: Whether actions are sampled, by a policy file or by a bundle with the input `noise`, which
            gets noise of zeros otherwise.
        seed: Of the sampled actions.

    Raises:
        ConfigError: the arguments do not fit each other, or the address is invalid.
        BundleError: the load gate refuses the bundle.
        CheckpointError: the policy file is damaged or missing.
        StoreError: the registry has no such alias or does not answer.
    """
    text = None if source is None else str(source)
    if text is not None and text.endswith(POLICY_FILE_SUFFIX):
        return _load_file(Path(text), stochastic=stochastic, seed=seed)
    return _load_bundle(text, stochastic=stochastic, seed=seed)


def _load_bundle(source: str | None, *, stochastic: bool, seed: int) -> LoadedPolicy:
    bundle = open_policy(source, is_realtime=False)
    spec, input_noise = bundle.contract.spec, bundle.contract.onnx.noise
    if input_noise is None:
        if stochastic:
            raise ConfigError(
                "stochastic: this bundle holds the deterministic policy only; name a policy.safetensors."
            )
        return LoadedPolicy(bundle.act, from_task_units(bundle.act, spec), spec, "bundle", bundle.digest)
    noise, zeros = generator(seed, "simulate/noise"), np.zeros(input_noise.dim, dtype=np.float32)

    def act(observation: Arrays) -> FloatArray:
        drawn = noise.standard_normal(input_noise.dim, dtype=np.float32) if stochastic else zeros
        return bundle.act(observation, drawn)

    kind = "stochastic bundle" if stochastic else "deterministic bundle"
    return LoadedPolicy(act, from_task_units(act, spec), spec, kind, bundle.digest)


def _load_file(path: Path, *, stochastic: bool, seed: int) -> LoadedPolicy:
    from sacpipe.networks.policy_file import read_policy

    network, header = read_policy(path)
    noise = generator(seed, "simulate/noise") if stochastic else None

    def unit_policy(observation: Observation) -> FloatArray:
        return network.act(observation, noise)

    def act(observation: Arrays) -> FloatArray:
        return header.spec.to_task_units(unit_policy(_packed(observation, header.spec)))

    kind = "stochastic" if stochastic else "deterministic"
    return LoadedPolicy(act, unit_policy, header.spec, kind, sha256_file(path))


def _packed(observation: Arrays, spec: EnvSpec) -> Observation:
    if isinstance(observation, Observation):
        return observation
    try:
        return spec.layout.pack(observation)
    except (KeyError, ValueError, TypeError, IndexError) as exc:
        names = ", ".join(f"{term.name} {list(term.shape)}" for term in spec.observation)
        raise ObservationError(
            f"expected an observation of {spec.task}, the array of each term ({names}), found another: {exc}."
        ) from exc
