"""What a later stage would refuse is refused from a whole params.yaml and its task."""

import resource
import subprocess
import sys

import pytest
from factories import make_spec
from small_project import small_params

from sacpipe.core.errors import ConfigError
from sacpipe.params.checks import check_members, check_opset, check_params
from sacpipe.params.model import Params

SPEC = make_spec(4, [(-1.0, 1.0), (-0.5, 0.5)])


@pytest.fixture
def params(tmp_path):
    (tmp_path / "params.yaml").write_text(small_params())
    return Params.load(tmp_path / "params.yaml")


def changed(params, section, **values):
    return params.replace(**{section: getattr(params, section).as_tree() | values})


@pytest.mark.slow
def test_the_printed_file_passes(params):
    check_params(params, SPEC)
    check_members(params, SPEC)


@pytest.mark.parametrize("steps", [2, 63, 64, 65])
def test_a_printed_file_of_any_length_passes(tmp_path, steps):
    (tmp_path / "params.yaml").write_text(small_params(steps=steps, golden_steps=min(64, steps)))
    check_params(Params.load(tmp_path / "params.yaml"), SPEC)


@pytest.mark.parametrize("opset_version", range(18, 26))
def test_every_operator_set_that_the_model_allows_is_known_here(params, opset_version):
    check_params(changed(params, "export", opset_version=opset_version), SPEC)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (
            "export",
            {"golden_steps": 201},
            r"export\.golden_steps: expected at most training.total_steps, 200,",
        ),
        ("runtime", {"safe_action": [0.0, 0.0, 0.0]}, r"runtime\.safe_action: expected 2 numbers within"),
        ("runtime", {"safe_action": [0.0, 0.6]}, r"runtime\.safe_action: expected 2 numbers within"),
        (
            "runtime",
            {"term_max_age_periods": {"stat": 1.0}},
            r"runtime\.term_max_age_periods: expected names among state, found 'stat'",
        ),
        (
            "runtime",
            {"guards": [{"name": "sensor_frozen", "fallback": "stop", "max_repeats": 3, "terms": ["pose"]}]},
            r"sensor_frozen\.terms: expected names among state, found 'pose'",
        ),
    ],
)
def test_what_export_or_the_robot_would_refuse_is_refused(params, section, values, message):
    with pytest.raises(ConfigError, match=message):
        check_params(changed(params, section, **values), SPEC)


def test_an_operator_set_that_the_runtime_does_not_know_is_refused():
    with pytest.raises(
        ConfigError, match=r"export\.opset_version: expected an operator set that onnx .* found 99"
    ):
        check_opset(99)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("evaluation", {"bootstrap_resamples": 10**12}, "less than or equal to 1000000"),
        ("release", {"model_name": "x" * 257}, "at most 256 characters"),
        ("runtime", {"guards": [{"name": "shap", "fallback": "stop"}]}, r"guards\.0.*no guard 'shap'"),
        ("algorithm", {"name": "sacc"}, r"algorithm\.name: algorithm 'sacc': expected one of sac"),
        ("algorithm", {"hidden_dims": [3]}, r"algorithm\.hidden_dims: unknown key; expected one of"),
        ("engine", {"name": "numpy"}, r"engine\.name: engine 'numpy': expected one of autograd, torch"),
        ("task", {"suite": "gymnasion"}, r"task\.suite: task suite 'gymnasion': expected one of gymnasium"),
    ],
)
def test_what_would_fail_after_training_is_out_of_range(params, section, values, message):
    with pytest.raises(ConfigError, match=message):
        changed(params, section, **values)


def test_an_engine_without_an_update_for_the_learner_is_refused_by_its_key(params):
    engine = {"name": "torch", "num_threads": 1, "matmul_precision": "float32"}
    changes = {"algorithm": small_algorithm("td3"), "engine": engine}
    with pytest.raises(
        ConfigError, match=r"^params\.yaml: engine\.name: 'torch' can update SAC only, found TD3"
    ):
        check_members(params.replace(**changes), SPEC)


def test_a_trunk_that_cannot_take_the_observations_is_refused(params):
    network = {"name": "conv", "channels": [4], "hidden_dims": [8]}
    with pytest.raises(ConfigError, match=r"^params\.yaml: algorithm\.network\.name: 'conv' needs an image"):
        check_members(changed(params, "algorithm", network=network), SPEC)


def test_a_policy_that_no_robot_reads_is_refused(params):
    wide = make_spec(9000, [(-1.0, 1.0)])
    with pytest.raises(
        ConfigError, match=r"^params\.yaml: algorithm: .*expected at most \d+ float32 entries"
    ):
        check_members(params, wide)


OWN = """
import torch
from sacpipe.algorithms.sac import SACConfig

class Mine(SACConfig):
    name: str

class Failing(Mine):
    def build(self, spec, seed):
        raise RuntimeError("no licence for this task")

class Unexportable(Mine):
    def build(self, spec, seed):
        learner = super().build(spec, seed)
        network = learner.policy().network
        forward = network.forward
        network.forward = lambda *terms: torch.sort(forward(*terms), dim=1).values
        return learner
"""


@pytest.fixture
def own(tmp_path, monkeypatch, params):
    """Return params with an own algorithm."""
    (tmp_path / "my_checked.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda name: changed(params, "algorithm", name=f"my_checked:{name}")
    sys.modules.pop("my_checked", None)


@pytest.mark.slow
def test_an_own_algorithm_passes(own):
    check_members(own("Mine").replace(engine={"name": "autograd", "num_threads": 1}), SPEC)


def test_an_error_of_an_own_algorithm_names_its_section(own):
    with pytest.raises(
        ConfigError,
        match=r"^params\.yaml: algorithm: '\S+:Failing' raised RuntimeError: no licence for this task \(",
    ):
        check_members(own("Failing"), SPEC)


@pytest.mark.slow
def test_a_policy_that_cannot_be_exported_is_refused_before_training(own):
    with pytest.raises(ConfigError, match=r"^params\.yaml: algorithm: .*(TopK|Sort)"):
        check_members(own("Unexportable"), SPEC)


def check_file(path, **options):
    command = [sys.executable, "-m", "sacpipe.params.checks", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.mark.slow
def test_as_a_module_it_says_only_what_is_wrong(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(small_params(golden_steps=900))
    found = check_file(path)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("params.yaml: export.golden_steps: expected at most")
    assert found.stderr.count("\n") == 1


@pytest.mark.slow
def test_as_a_module_it_passes_what_trains(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(small_params())
    found = check_file(path)
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")


@pytest.mark.slow
def test_networks_that_do_not_fit_into_memory_are_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(small_params(hidden_dims=[20_000, 20_000]))
    limit = 2 * 2**30
    found = check_file(path, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))
    assert found.returncode == 2
    assert "params.yaml: algorithm: " in found.stderr
    assert "allocate" in found.stderr


def small_algorithm(name):
    from sacpipe.algorithms import ALGORITHMS

    return ALGORITHMS.find(name).example().as_tree()
