"""Tasks and networks for the export tests. Exports take about a second, so the common one is shared."""

import numpy as np
import pytest
import torch
from factories import make_spec

from sacpipe.export.onnx import export_policy

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
def policy_onnx(policy, spec):
    return export_policy(policy, spec, 20)


@pytest.fixture(scope="session")
def recorded():
    return np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)


@pytest.fixture(scope="session")
def make_policy():
    return Policy
