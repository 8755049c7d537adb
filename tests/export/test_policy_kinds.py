"""Every policy kind, with every trunk that fits, goes to a bundle; a kind with noise from a foreign file too."""

import numpy as np
import pytest
import torch
from bundle_factories import make_runtime, make_spec, term_tree

from sacpipe.bundle.contract import Provenance
from sacpipe.export.bundle import check_export, export_bundle
from sacpipe.export.config import ExportConfig
from sacpipe.export.evidence import Evidence, envelope, policy_observations
from sacpipe.export.inputs import recorded_inputs
from sacpipe.networks.policies import POLICY_KINDS
from sacpipe.networks.policies.squashed_gaussian import SquashedGaussianConfig, SquashedGaussianPolicy
from sacpipe.robot.policy import OnnxPolicy

pytestmark = pytest.mark.slow

VECTORS = [term_tree("speed"), term_tree("table", 2, 2, groups=["policy"]), term_tree("state", 3)]
CAMERA, SECRET = term_tree("camera", 9, 9, 2, dtype="uint8"), term_tree("secret", 2, groups=["critic"])
SPECS = {
    "vectors": make_spec(observation=[*VECTORS, SECRET]),
    "both": make_spec(observation=[SECRET, CAMERA, *VECTORS]),
    "camera": make_spec(observation=[CAMERA, SECRET]),
}
MLP, CONV = (
    {"name": "mlp", "hidden_dims": [16, 16]},
    {"name": "conv", "channels": [4, 8], "hidden_dims": [16]},
)
CONFIG = ExportConfig(opset_version=20, parity_tolerance=1e-5, golden_steps=5)


class NoisyPolicy(SquashedGaussianPolicy):
    """Exports its draws, not its mean."""

    def __init__(self, spec, config):
        super().__init__(spec, config)
        self.noise_dim = spec.action_dim

    def forward(self, *terms):
        *observed, noise = terms
        inputs = self.inputs.of_terms(self._names, observed)
        mean, log_std = self.distribution(inputs)
        return torch.tanh(mean + log_std.exp() * noise)


class NoisyConfig(SquashedGaussianConfig):
    """A kind that an installed package could register."""

    def build(self, spec):
        return NoisyPolicy(spec, self)


BOUNDS = {"log_std_bounds": [-5.0, 2.0]}
FLOW = {"num_couplings": 3, "coupling_dim": 8, "max_log_scale": 2.0}
OWN_KEYS = {
    "squashed_gaussian": BOUNDS,
    "noisy": BOUNDS,
    "sampling_network": {"noise_dim": 4},
    "real_nvp": FLOW,
}
KINDS = {name: POLICY_KINDS.find(name) for name in POLICY_KINDS.ours} | {"noisy": NoisyConfig}


def build(kind, spec_name, *, normalised=()):
    tree = {"trunk": MLP if spec_name == "vectors" else CONV, "normalised_terms": list(normalised)}
    if kind == "hierarchy":
        tree = {"upper": tree | FLOW, "lower": tree | FLOW}
    tree |= OWN_KEYS.get(kind, {})
    network = KINDS[kind].parse(tree).build(SPECS[spec_name].policy_spec)
    random = torch.Generator().manual_seed(3)
    network.reset(random)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "couplings" in name:  # a new coupling changes nothing
                parameter.uniform_(-0.5, 0.5, generator=random)
    return network.eval()


def observed(spec, num=8):
    draws = np.random.default_rng(6)
    observations = spec.layout.empty(num)
    observations.vector[:] = draws.normal(size=observations.vector.shape)
    for image in observations.images.values():
        image[...] = draws.integers(0, 256, image.shape)
    return observations


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec_name", SPECS)
def test_the_bundle_acts_as_the_network_on_observations_of_the_task(tmp_path, kind, spec_name):
    spec, network = SPECS[spec_name], build(kind, spec_name)
    whole = observed(spec)
    seen = policy_observations(whole, spec.policy_spec)
    low, high = seen.vector.min(axis=0), seen.vector.max(axis=0)
    evidence = Evidence(
        seen,
        envelope(spec.policy_spec, low, high, dict.fromkeys(seen, 1)),
        Provenance(algorithm="sac", digests={}),
    )
    export_bundle(tmp_path / "bundle", network, spec, CONFIG, evidence, make_runtime())
    robot, inputs = OnnxPolicy(tmp_path / "bundle"), recorded_inputs(seen, network.noise_dim)
    assert robot.contract.spec == spec.policy_spec
    with torch.no_grad():
        expected = spec.to_task_units(network(*inputs.tensors()).numpy())
    for row in range(len(inputs)):
        noise = None if inputs.noise is None else inputs.noise[row]
        np.testing.assert_allclose(robot.act(whole.rows(row), noise), expected[row], atol=1e-5)


def test_a_bundle_has_layer_normalisations():
    spec = SPECS["vectors"]
    network = SquashedGaussianConfig.parse(
        {
            "trunk": {"name": "layer_norm_mlp", "hidden_dims": [16, 8]},
            "normalised_terms": ["state"],
            "log_std_bounds": [-5.0, 2.0],
        }
    ).build(spec.policy_spec)
    network.reset(torch.Generator().manual_seed(3))
    check_export(network.eval(), spec, CONFIG)


def test_the_normaliser_is_inside():
    check_export(build("squashed_gaussian", "both", normalised=["table", "state"]), SPECS["both"], CONFIG)
