"""A task, a network and its bundle for the export tests. An export takes a second: one is shared per session."""

import numpy as np
import pytest
import torch
from bundle_factories import make_spec
from factories import make_guards

from sacpipe.bundle.contract import Provenance
from sacpipe.export.bundle import Evidence, export_bundle
from sacpipe.export.config import ExportConfig

BOUNDS = ((-1.0, 1.0), (-0.4, 0.4), (0.0, 50.0))


class Policy(torch.nn.Module):
    """A normaliser, one hidden layer, tanh."""

    def __init__(self, observation_dim=4, action_dim=3, gain=1.0):
        super().__init__()
        draws = np.random.default_rng(7)
        self.first = torch.nn.Linear(observation_dim, 16)
        self.last = torch.nn.Linear(16, action_dim)
        self.register_buffer("mean", torch.linspace(-3.0, 3.0, observation_dim))
        self.register_buffer("scale", torch.full((observation_dim,), 0.5))
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.from_numpy(gain * draws.normal(size=tuple(parameter.shape)) * 0.5))

    def forward(self, observations):
        normalised = ((observations - self.mean) * self.scale).clamp(-10.0, 10.0)
        return torch.tanh(self.last(torch.relu(self.first(normalised))))


@pytest.fixture(scope="session")
def spec():
    return make_spec(4, BOUNDS)


@pytest.fixture(scope="session")
def policy():
    return Policy().eval()


@pytest.fixture(scope="session")
def recorded():
    return np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)


@pytest.fixture(scope="session")
def evidence(recorded):
    provenance = Provenance(algorithm="sac", digests={"policy": "0f" * 32})
    return Evidence(recorded, recorded.min(axis=0), recorded.max(axis=0), provenance)


@pytest.fixture(scope="session")
def config():
    return ExportConfig(opset_version=20, parity_tolerance=1e-5, golden_steps=12)


@pytest.fixture(scope="session")
def export(policy, spec, config, evidence):
    """Export the network to a folder, with another config or other evidence."""

    def run(folder, config=config, evidence=evidence):
        return export_bundle(folder, policy, spec, config, evidence, make_guards())

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory, export):
    """The folder of the bundle, and the report of its export."""
    folder = tmp_path_factory.mktemp("export") / "bundle"
    return folder, export(folder)


@pytest.fixture(scope="session")
def policy_onnx(exported):
    return (exported[0] / "policy.onnx").read_bytes()


@pytest.fixture(scope="session")
def make_policy():
    return Policy
