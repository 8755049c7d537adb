"""What only a whole params.yaml and its task can tell: refusals of later stages, found before the first step.

As a module (`python -m sacpipe.params.checks FILE`) it checks a file, and exports the policy as it is before
training; where it refuses, it writes the message to stderr and exits with 2. The train stage starts it so: if
it imported later sections, it would depend on them.
"""

import os
import resource
import sys
from contextlib import closing
from pathlib import Path

from sacpipe.bundle.contract import check_runtime
from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.envs.base import require_time_limit
from sacpipe.envs.task_environment import recorded_rewards
from sacpipe.export.bundle import check_export
from sacpipe.networks.policy_file import encode_policy
from sacpipe.params.model import Params
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.training.foreign_members import section_errors
from sacpipe.training.memory import available_bytes
from sacpipe.training.samplers import FindRewards, build_sampler


def check_opset(version: int) -> None:
    """Load a model of one node, because each release of the runtime reads operator sets up to its own.

    Args:
        version: `export.opset_version`.

    Raises:
        ConfigError: a policy of this version could be exported, but not run here.
    """
    import onnx

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, at import
    import onnxruntime
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "probe", ends[:1], ends[1:])
    operators = [helper.make_opsetid("", version)]
    model = helper.make_model(graph, opset_imports=operators, ir_version=10)
    try:
        onnx.checker.check_model(model)
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as exc:
        reason = " ".join(str(exc).split())[:200]
        raise ConfigError(
            f"params.yaml: export.opset_version: expected an operator set that onnx {onnx.__version__} and "
            f"onnxruntime {onnxruntime.__version__} know, found {version}: {reason} Lower it, or install "
            "newer packages."
        ) from exc


def check_params(params: Params, spec: EnvSpec) -> None:
    """Refuse what the stages after training would refuse, as far as that is known without a learner.

    Args:
        params: The whole file.
        spec: Specification of its task.

    Raises:
        ConfigError: export, evaluation or the robot's runtime would fail; names the key.
    """
    steps, recorded = params.export.golden_steps, params.training.min_steps
    is_open = params.training.stop_at_return is not None
    limit = (
        "the first step at which training.stop_at_return ends a run" if is_open else "training.total_steps"
    )
    if steps > recorded:
        raise ConfigError(
            f"params.yaml: export.golden_steps: expected at most {limit}, {recorded}, because "
            f"the golden sequence is the beginning of the pool; found {steps}. Lower it or train longer."
        )
    check_opset(params.export.opset_version)
    require_time_limit(spec)
    check_runtime(params.runtime, spec)


def check_members(params: Params, spec: EnvSpec, find_rewards: FindRewards = lambda: None) -> None:
    """Build the sampler, the learner and its engine, and export the policy as it is before training.

    Args:
        params: The whole file.
        spec: Specification of its task.
        find_rewards: Returns the task's rewards of recorded steps, if it has some.

    Raises:
        ConfigError: a member cannot be built for this task, or its policy cannot be written or exported;
            names the section.
    """
    with section_errors("algorithm", params.algorithm.name):
        learner = params.algorithm.build(spec, params.seed)
    with section_errors("engine", params.engine.name):
        learner = params.engine.attach(learner)
    build_sampler(params.replay.sampler, spec, learner, find_rewards)
    with section_errors("algorithm", params.algorithm.name):
        policy = learner.policy()
        encode_policy(policy)
        check_export(policy.network, spec, params.export)


def limit_memory() -> None:
    """Let an allocation of more memory than this machine has fail: its system would end processes."""
    available = available_bytes()
    if available is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = available if hard == resource.RLIM_INFINITY else min(available, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def main() -> int:
    """Check the file that the command line names; return the exit code."""
    path = Path(sys.argv[1])
    try:
        limit_memory()
        params = Params.load(path)
        with closing(params.task.make()) as environment:
            check_params(params, environment.spec)
            check_members(params, environment.spec, lambda: recorded_rewards(environment))
    except SacpipeError as exc:
        sys.stderr.write(f"{exc}\n")
        return exc.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
