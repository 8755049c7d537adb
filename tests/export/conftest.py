"""Tasks, networks and a bundle for the export tests. An export takes a second: one is shared per session."""

import numpy as np
import pytest
import torch
from bundle_factories import make_runtime, make_spec, term_tree

from sacpipe.bundle.contract import Provenance
from sacpipe.export.bundle import export_bundle
from sacpipe.export.config import ExportConfig
from sacpipe.export.evidence import Evidence, envelope
from sacpipe.export.inputs import PolicyInputs
from sacpipe.specs.observation import Observation

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


class NoisyPixels(torch.nn.Module):
    """A stochastic policy of an image, a table, a number and a vector: convolutions, then a Gaussian of tanh."""

    noise_dim = 3

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.convolutions = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3), torch.nn.ReLU()
        )
        self.hidden = torch.nn.Linear(8 * 5 * 5 + 4 + 1 + 2, 16)
        self.head = torch.nn.Linear(16, 6)

    def forward(self, camera, table, height, state, noise):
        pixels = self.convolutions(camera.permute(0, 3, 1, 2).float() / 255.0).flatten(1)
        parts = [pixels, table.reshape(-1, 4), height.unsqueeze(-1), state]
        mean, log_std = self.head(torch.relu(self.hidden(torch.cat(parts, dim=1)))).chunk(2, dim=-1)
        return torch.tanh(mean + log_std.clamp(-5.0, 2.0).exp() * noise)


PIXEL_SPEC = make_spec(
    observation=[
        term_tree("camera", 16, 16, 3, dtype="uint8"),
        term_tree("table", 2, 2),
        term_tree("height (m)/left"),
        term_tree("tensor_0", 2, groups=["policy"]),
    ],
    action=[
        {"name": f"joint_{n}", "unit": "N m", "low": low, "high": high}
        for n, (low, high) in enumerate(BOUNDS)
    ],
)


def observations_of(spec, rows) -> Observation:
    """Return observations without images whose packed vectors are some rows."""
    return Observation(spec.layout, np.asarray(rows, np.float32), {})


@pytest.fixture(scope="session")
def inputs_of():
    """Return a function that makes the inputs of a deterministic policy of the vector."""
    return lambda spec, rows: PolicyInputs(observations_of(spec, rows), None)


@pytest.fixture(scope="session")
def pixel_spec():
    return PIXEL_SPEC


@pytest.fixture(scope="session")
def pixel_policy():
    return NoisyPixels().eval()


@pytest.fixture(scope="session")
def pixel_observations():
    draws = np.random.default_rng(2)
    vector = draws.normal(size=(12, PIXEL_SPEC.observation_dim)).astype(np.float32)
    return Observation(
        PIXEL_SPEC.layout, vector, {"camera": draws.integers(0, 256, (12, 16, 16, 3), np.uint8)}
    )


@pytest.fixture(scope="session")
def spec():
    return make_spec(4, BOUNDS)


@pytest.fixture(scope="session")
def policy():
    return Policy().eval()


@pytest.fixture(scope="session")
def recorded():
    return np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)


def make_evidence(observations) -> Evidence:
    """Return evidence of a training whose pool has these observations."""
    provenance = Provenance(algorithm="sac", digests={"policy": "0f" * 32})
    spec = make_spec(observation=[term.as_tree() for term in observations.layout.terms])
    low, high = observations.vector.min(axis=0), observations.vector.max(axis=0)
    return Evidence(observations, envelope(spec, low, high, dict.fromkeys(observations, 1)), provenance)


@pytest.fixture(scope="session")
def evidence(spec, recorded):
    return make_evidence(observations_of(spec, recorded))


@pytest.fixture(scope="session")
def config():
    return ExportConfig(opset_version=20, parity_tolerance=1e-5, golden_steps=12)


@pytest.fixture(scope="session")
def export(policy, spec, config, evidence):
    """Export the network to a folder, with another config or other evidence."""

    def run(folder, config=config, evidence=evidence):
        return export_bundle(folder, policy, spec, config, evidence, make_runtime())

    return run


@pytest.fixture(scope="session")
def exported(tmp_path_factory, export):
    """The folder of the bundle, and the report of its export."""
    folder = tmp_path_factory.mktemp("export") / "bundle"
    return folder, export(folder)


@pytest.fixture(scope="session")
def pixel_export(tmp_path_factory, pixel_policy, pixel_spec, pixel_observations, config):
    """The folder of the bundle of the stochastic policy with an image."""
    folder = tmp_path_factory.mktemp("pixels") / "bundle"
    evidence = make_evidence(pixel_observations)
    return folder, export_bundle(folder, pixel_policy, pixel_spec, config, evidence, make_runtime())


@pytest.fixture(scope="session")
def policy_onnx(exported):
    return (exported[0] / "policy.onnx").read_bytes()


@pytest.fixture(scope="session")
def make_policy():
    return Policy
