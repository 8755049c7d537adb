"""What a later stage would refuse is refused from a whole params.yaml and its task."""

import subprocess
import sys

import pytest
from factories import make_spec
from small_project import small_params

from sacpipe.core.errors import ConfigError
from sacpipe.export import opset
from sacpipe.params.checks import check_params
from sacpipe.params.model import Params

SPEC = make_spec(4, [(-1.0, 1.0), (-0.5, 0.5)])


@pytest.fixture
def params(tmp_path):
    (tmp_path / "params.yaml").write_text(small_params())
    return Params.load(tmp_path / "params.yaml")


def changed(params, section, **values):
    return params.replace(**{section: getattr(params, section).as_tree() | values})


def test_the_printed_file_passes(params):
    check_params(params, SPEC)


@pytest.mark.parametrize("steps", [2, 63, 64, 65])
def test_a_printed_file_of_any_length_passes(tmp_path, steps):
    (tmp_path / "params.yaml").write_text(
        small_params(steps=100).replace("total_steps: 100 ", f"total_steps: {steps} ")
    )
    text = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(
        text.replace("golden_steps: 8 ", f"golden_steps: {min(steps, 64)} ").replace(
            "random_steps: 5 ", "random_steps: 1 "
        )
    )
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
        (
            "algorithm",
            {"hidden_dims": [20_000, 20_000]},
            r"hidden_dims: expected an actor of at most 268435456",
        ),
        ("guards", {"safe_action": [0.0, 0.0, 0.0]}, r"guards\.safe_action: expected 2 numbers within"),
        ("guards", {"safe_action": [0.0, 0.6]}, r"guards\.safe_action: expected 2 numbers within"),
    ],
)
def test_what_export_would_refuse_is_refused(params, section, values, message):
    with pytest.raises(ConfigError, match=message):
        check_params(changed(params, section, **values), SPEC)


def test_a_golden_sequence_beyond_its_file_is_refused_with_the_longest(params):
    wide = make_spec(200_000, [(-1.0, 1.0)])
    with pytest.raises(
        ConfigError, match=r"golden_steps: expected at most 83, because golden\.npz has at most 67108864"
    ):
        check_params(changed(params, "export", golden_steps=84), wide)
    check_params(changed(params, "export", golden_steps=83), wide)


def test_an_operator_set_that_the_runtime_does_not_know_is_refused():
    with pytest.raises(
        ConfigError, match=r"export\.opset_version: expected an operator set that onnx .* found 99"
    ):
        opset.check_opset(99)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("evaluation", {"bootstrap_resamples": 10**12}, "less than or equal to 1000000"),
        ("release", {"model_name": "x" * 257}, "at most 256 characters"),
    ],
)
def test_what_would_fail_after_training_is_out_of_range(params, section, values, message):
    with pytest.raises(ConfigError, match=message):
        changed(params, section, **values)


@pytest.mark.slow
def test_as_a_module_it_says_only_what_is_wrong(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(small_params().replace("golden_steps: 8 ", "golden_steps: 900 "))
    command = [sys.executable, "-m", "sacpipe.params.checks", str(path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr.startswith("params.yaml: export.golden_steps: expected at most")
    assert found.stderr.count("\n") == 1
