"""One SHA-256 of what the native engine computes in float32: `python tests/signature.py`, `make signature`.

It stands for a short training, its bundle, and actions of a network by the kernels. While it stays, a change of
the code has changed no number of these. `--parts` prints the digest of every part.
"""

import sys

from sacpipe.core.fixed_arithmetic import restart_fixed

if __name__ == "__main__":
    restart_fixed()  # before NumPy is loaded; a process in the fixed environment goes on

import tempfile
from pathlib import Path

import factories
import numpy as np
import torch

from sacpipe.bundle.contract import Provenance
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.core.files import sha256_bytes, sha256_file
from sacpipe.export.bundle import export_bundle
from sacpipe.export.config import ExportConfig
from sacpipe.export.evidence import act_on, gather_evidence
from sacpipe.kernels.inference import SingleForward
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import Perceptrons
from sacpipe.networks.kernel_outputs import evaluate_by_kernels
from sacpipe.networks.policy_file import read_policy
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run

OUTPUTS = ("policy.safetensors", "curve.csv", "metrics.json", "metrics.jsonl", "pool")
BUNDLE = ("policy.onnx", "contract.json", "golden.npz", "manifest.json")


def short_params(task, steps, **changes):
    """Return all sections of params.yaml for a short training by kernels that use several threads."""
    training = {
        "total_steps": steps,
        "random_steps": steps // 4,
        "batch_size": 100,
        "evaluation_interval_steps": steps // 2,
        "evaluation_episodes": 2,
        "log_interval_steps": steps // 4,
        "checkpoint_interval_steps": steps // 2,
    }
    algorithm = {"network": {"name": "mlp", "hidden_dims": [200, 100]}, "normalise_observations": True}
    engine = {"name": "native", "precision": "float32"}
    return factories.make_params(
        task, training=training, algorithm=algorithm | changes.pop("algorithm", {}), engine=engine, **changes
    )


class Onlooker:
    """Shows no progress."""

    def update(self, env_steps, latest_return):
        pass


def train_briefly(params, folder):
    """Train in this process; return the folder of the outputs."""
    torch.set_num_threads(1)
    sections = TrainParams.parse({name: params[name] for name in TrainParams.model_fields})
    run = open_run(sections, folder / "work", "k")
    try:
        train(run, lambda: False, Onlooker())
        publish(run, folder / "out")
    finally:
        run.close()
    return folder / "out"


def file_digests(folder, names):
    """Return the SHA-256 of files, and of folders by their files' digests in the order of their paths."""
    found = {}
    for name in names:
        path = folder / name
        files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())
        lines = [f"{sha256_file(file)} {file.relative_to(folder).as_posix()}\n" for file in files]
        found[name] = sha256_bytes("".join(lines).encode())
    return found


def export_briefly(params, trained, folder):
    """Export the policy as the stage does: golden actions are the kernels'. Return the bundle's folder."""
    config, runtime = ExportConfig.parse(params["export"]), RuntimeSettings.parse(params["runtime"])
    policy, pool = read_policy(trained / "policy.safetensors"), ReplayPool.open(trained / "pool")
    spec, steps = policy.header.spec, config.golden_steps
    provenance = Provenance(algorithm="sac", digests={"policy": sha256_file(trained / "policy.safetensors")})
    evidence = gather_evidence(pool, spec, steps, provenance)
    assert evaluate_by_kernels(policy.network)
    golden = act_on(policy.network, spec.policy_spec, evidence.observations.rows(slice(steps)))
    evidence = evidence._replace(golden_actions=golden)
    export_bundle(folder, policy.network, spec, config, evidence, runtime)
    return folder


def actions_digest(count=1000):
    """Return the digest of the outputs of a network for so many observations, one at a time."""
    draws, dims = np.random.default_rng(1), (17, 256, 100, 12)
    stack = Perceptrons(Memory(), 1, dims, has_slow=False, is_critic=False)
    for layer in stack.layers:
        weight = draws.normal(size=(1, layer.inputs, layer.outputs)) / np.sqrt(layer.inputs)
        layer.put(layer.parameters, weight.astype(np.float32), np.zeros((1, 1, layer.outputs), np.float32))
    forward, rows = SingleForward(stack), draws.normal(size=(count, dims[0])).astype(np.float32)
    return sha256_bytes(b"".join(forward(row).astype("<f4").tobytes() for row in rows))


def parts():
    """Return the digest of every part."""
    params = short_params("point_mass/point-mass-v0", 400)
    with tempfile.TemporaryDirectory() as name:
        trained = train_briefly(params, Path(name))
        bundle = export_briefly(params, trained, Path(name, "bundle"))
        found = file_digests(trained, OUTPUTS)
        found |= {f"bundle/{key}": value for key, value in file_digests(bundle, BUNDLE).items()}
    return found | {"actions": actions_digest()}


def signature(found):
    """Return one digest of all parts."""
    return sha256_bytes("".join(f"{name} {digest}\n" for name, digest in found.items()).encode())


if __name__ == "__main__":
    computed = parts()
    if "--parts" in sys.argv[1:]:
        sys.stdout.write("".join(f"{digest}  {name}\n" for name, digest in computed.items()))
    sys.stdout.write(f"{signature(computed)}\n")
