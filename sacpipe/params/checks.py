"""What only a whole params.yaml and its task can tell: refusals of later stages, found before the first step.

As a module (`python -m sacpipe.params.checks FILE`) it checks a file; where it refuses, it writes the message
to stderr and exits with 2. The train stage starts it so: if it imported later sections, it would depend on
them.
"""

import sys
from contextlib import closing
from itertools import pairwise
from pathlib import Path

from sacpipe.bundle.contract import check_safe_action
from sacpipe.bundle.files import MAX_BYTES
from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.export.opset import check_opset
from sacpipe.params.model import Params
from sacpipe.specs.env_spec import EnvSpec

_FLOAT_BYTES = 4


def check_params(params: Params, spec: EnvSpec) -> None:
    """Refuse what the stages after training would refuse.

    Args:
        params: The whole file.
        spec: Specification of its task.

    Raises:
        ConfigError: export or evaluation would fail; names the key.
    """
    _check_golden_steps(params, spec)
    _check_policy_size(params, spec)
    check_opset(params.export.opset_version)
    if params.guards.safe_action is not None:
        try:
            check_safe_action(params.guards.safe_action, spec)
        except ValueError as exc:
            raise ConfigError(f"params.yaml: {exc}.") from exc


def _check_golden_steps(params: Params, spec: EnvSpec) -> None:
    steps, recorded = params.export.golden_steps, params.training.total_steps
    if steps > recorded:
        raise ConfigError(
            f"params.yaml: export.golden_steps: expected at most training.total_steps, {recorded}, because "
            f"the golden sequence is the beginning of the pool; found {steps}. Lower it or train longer."
        )
    size = steps * (spec.observation_dim + spec.action_dim) * _FLOAT_BYTES
    if size > MAX_BYTES["golden.npz"]:
        max_steps = MAX_BYTES["golden.npz"] // (size // steps)
        raise ConfigError(
            f"params.yaml: export.golden_steps: expected at most {max_steps}, because golden.npz has at most "
            f"{MAX_BYTES['golden.npz']} bytes; found {steps}, {size} bytes for {spec.task}. Lower it."
        )


def _check_policy_size(params: Params, spec: EnvSpec) -> None:
    widths = (spec.observation_dim, *params.algorithm.hidden_dims, spec.action_dim)
    size = _FLOAT_BYTES * sum((before + 1) * after for before, after in pairwise(widths))
    if size > MAX_BYTES["policy.onnx"]:
        raise ConfigError(
            "params.yaml: algorithm.hidden_dims: expected an actor of at most "
            f"{MAX_BYTES['policy.onnx']} bytes, the limit of policy.onnx in a bundle; found {size} bytes. "
            "Lower the units."
        )


def main() -> int:
    """Check the file that the command line names; return the exit code."""
    path = Path(sys.argv[1])
    try:
        params = Params.load(path)
        with closing(params.task.make()) as environment:
            check_params(params, environment.spec)
    except SacpipeError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
