"""A complete params.yaml for any task. `sacpipe params` prints it, and the committed params.yaml is one.

The budgets are those of Softlearning's table of tasks (examples/development/variants.py at 13cf187; Swimmer
as of December 2019, because the last version could not run it), and our own for other tasks.
"""

import re
from typing import NamedTuple

from sacpipe.core.errors import ConfigError
from sacpipe.envs import find_task
from sacpipe.specs.env_spec import EnvSpec


class Budget(NamedTuple):
    """Training length and release gate of a family of tasks."""

    pattern: str
    """Regular expression for task suite and id, e.g. `gymnasium/Ant-`; the first match is used."""
    total_steps: int
    """Environment steps of the training."""
    min_return_mean: float | None
    """Lowest mean return of a release, below the published results of SAC at this budget; None if there are
    none."""
    hidden_dim: int = 256
    """Units of both hidden layers: the paper's, or half of it if that learns the task as reliably."""
    learning_rate: str = "3.0e-4"
    """Learning rate of critics, actor and temperature: the paper's, or a better one of docs/results.md."""


BUDGETS = (
    Budget(r"gymnasium/InvertedDoublePendulum-", 20_000, 9_300.0, hidden_dim=128),
    Budget(r"gymnasium/InvertedPendulum-", 50_000, 900.0),
    Budget(r"gymnasium/Pendulum-", 10_000, -250.0),
    Budget(r"gymnasium/Reacher-", 100_000, -8.0),
    Budget(r"gymnasium/Swimmer-", 500_000, 30.0),
    Budget(r"gymnasium/Hopper-", 1_000_000, 2_000.0),
    Budget(r"gymnasium/HalfCheetah-", 3_000_000, 9_000.0, learning_rate="1.0e-3"),
    Budget(r"gymnasium/Walker2d-", 3_000_000, 3_500.0),
    Budget(r"gymnasium/Ant-", 3_000_000, 3_500.0),
    Budget(r"gymnasium/Humanoid(Standup)?-", 10_000_000, 4_500.0),
    Budget(r"dm_control/cartpole-(balance|swingup)$", 3_000_000, 800.0),
    Budget(r"dm_control/ball_in_cup-", 3_000_000, 900.0),
    Budget(r"dm_control/cheetah-run", 10_000_000, 700.0),
    Budget(r"dm_control/(hopper-hop|manipulator-bring_ball|quadruped-|humanoid)", 10_000_000, None),
    Budget(r"dm_control/walker-", 1_000_000, 500.0),
    Budget(r"dm_control/", 3_000_000, None),
    Budget(r"point_mass/", 3_000, None),
    Budget(r"", 1_000_000, None),
)

_TEMPLATE = """\
# All values of the pipeline; no other file has defaults. `dvc repro` runs the stages that a change affects.
# Made by `sacpipe params {name}`; change a value by hand or with `dvc exp run -S training.total_steps=...`.

seed: {seed}                          # of all random numbers of the run

task:                            # task suite and task; `sacpipe tasks` lists all
  suite: {suite}
  id: {id}
  options: {{}}                    # keyword arguments of the task

algorithm:                       # Soft Actor-Critic, arXiv:1812.05905
  name: sac
  hidden_dims: [{hidden_dim}, {hidden_dim}]        # units of each hidden layer, actor and critics
  discount: 0.99                 # per step
  tau: 0.005                     # weight of the critics in their targets at each target update
  target_update_interval: 1      # gradient steps
  num_critics: 2
  actor_q: {actor_q:<22}# value in the actor's loss: min of the critics (paper) or mean (Softlearning)
  critic_learning_rate: {learning_rate}
  actor_learning_rate: {learning_rate}
  adam_epsilon: {adam_epsilon:<17}# in Adam's denominator
  log_std_min: -20.0             # bounds of the Gaussian's log standard deviation, before the squash
  log_std_max: 2.0
  normalise_observations: false  # true subtracts the running mean and divides by the standard deviation
  matmul_precision: float32      # of the products in an update; bfloat16 is faster on CPUs that support it
  temperature:                   # weight of the entropy term
    mode: automatic              # or `mode: fixed` with `value:` only
    initial: 1.0
    learning_rate: {learning_rate}
    objective: {objective:<18}# factor of the entropy gap in the loss: log_temperature or temperature
    target_entropy_per_dimension: -1.0  # nats

replay:
  capacity: {capacity:<21}# transitions in the replay buffer; the pool keeps all
  segment_transitions: {segment:<10}# transitions in one file of the pool
  format: compact                # or full, which stores every next observation
  initial_pool: null             # or {{sha256: of data/pool/manifest.json, share: of each batch, up to 1.0}}

training:
  total_steps: {total_steps:<18}# environment steps
  random_steps: {random_steps:<17}# first steps, with uniformly random actions, before the first update
  batch_size: 256                # transitions
  updates_per_step: 1            # gradient steps after each environment step
  evaluation_interval_steps: {evaluation_interval}
  evaluation_episodes: 5         # of each evaluation, deterministic and stochastic
  log_interval_steps: {log_interval:<11}# steps averaged in one row of metrics
  checkpoint_interval_steps: {checkpoint_interval}
  num_threads: 1                 # of PyTorch's arithmetic; another number gives other bytes
  extends: null                  # stage key of a finished run to continue; `sacpipe run --extend` sets it

export:
{export}
guards:                          # checks of the robot's runtime, and its fallbacks; part of the contract
{guards}
evaluation:
{evaluation}
release:
  model_name: {model_name}
  min_return_mean: {min_return:<14}# lowest mean return of the bundle that is released; null for none
"""

_EXPORT = """\
  opset_version: 20              # of the ONNX operator set
  parity_tolerance: 1.0e-4       # largest difference between torch and ONNX, as a share of the action range
  golden_steps: {golden_steps:<17}# recorded steps that a robot replays before it uses the bundle
"""

_GUARDS = """\
  max_age_periods: 2.0           # an older observation is refused; in control periods, as the next two
  max_future_periods: 0.5        # how far a time stamp may be ahead of the robot's clock
  deadline_periods: 0.8          # longest computation of one step
  max_action_change: 1.0         # from one step to the next, share of each action's range; 1 allows all
  envelope_margin: 0.1           # distance of a first observation from the training range, share of the range
  max_last_steps: 5              # `last` in a row, then `stop`
  safe_action: null              # in the task's units; null for zero
  blend_steps: 0                 # steps over which a new policy replaces the old one; 0 for at once
  fallbacks:                     # last, hold, zero, safe or stop
    shape: stop
    observation_not_finite: last
    observation_old: last
    observation_from_future: last
    observation_repeated: last
    observation_out_of_order: last
    start_outside_envelope: safe
    inference_failed: stop
    action_not_finite: stop
    action_outside_bounds: stop  # or limit
    action_change: limit         # clips the action; only here and for action_outside_bounds
    deadline_missed: last
"""

_EVALUATION = """\
  episodes: 20                   # of the final evaluation; seeds are the same for every policy
  bootstrap_resamples: 10000
  confidence: 0.95               # of the bootstrap interval
  video:                         # of the first episode, if a renderer is present; null for none
    height: 320                  # pixels
    width: 480
    frames_per_s: 30.0           # about; the video runs in real time
    max_s: 20.0                  # longest video
"""


def params_text(name: str, *, steps: int | None, seed: int, preset: str) -> str:
    """Return the text of a complete params.yaml.

    Args:
        name: Task suite and id, e.g. `gymnasium/Ant-v5`.
        steps: Environment steps, or None for the task's budget.
        seed: Seed of the run.
        preset: `paper` or `softlearning`.

    Raises:
        UnknownTaskError: no such task.
        ConfigError: the task cannot be trained, or a number is out of range.
    """
    task = find_task(name)
    environment = task.make()
    spec = environment.spec
    environment.close()
    budget = next(budget for budget in BUDGETS if re.match(budget.pattern, spec.task))
    total = budget.total_steps if steps is None else steps
    if total < 2:
        raise ConfigError(f"--steps: expected at least 2, found {total}.")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"--seed: expected 0 to {2**31 - 1}, found {seed}.")
    min_return = budget.min_return_mean
    return _TEMPLATE.format(
        name=spec.task,
        seed=seed,
        suite=task.suite,
        id=task.id,
        hidden_dim=budget.hidden_dim,
        learning_rate=budget.learning_rate,
        **_PRESETS[preset],
        **_intervals(total, spec),
        export=_EXPORT.format(golden_steps=min(64, total)),
        guards=_GUARDS,
        evaluation=_EVALUATION,
        model_name=re.sub(r"[^A-Za-z0-9._-]+", "-", spec.task.partition("/")[2]),
        min_return="null" if min_return is None else str(min_return),
    )


_PRESETS = {
    "paper": {"actor_q": "min", "adam_epsilon": "1.0e-8", "objective": "log_temperature"},
    "softlearning": {"actor_q": "mean", "adam_epsilon": "1.0e-7", "objective": "temperature"},
}


def _intervals(total: int, spec: EnvSpec) -> dict[str, int]:
    """Return the counts that follow from a budget; as in Softlearning, at most ten random episodes."""
    episode = spec.max_episode_steps or 1000
    return {
        "total_steps": total,
        "random_steps": max(1, min(10 * episode, total // 20)),
        "capacity": min(1_000_000, total),
        "segment": max(1, min(100_000, total // 4)),
        "evaluation_interval": max(1, min(25_000, total // 10)),
        "log_interval": max(1, min(5_000, total // 40)),
        "checkpoint_interval": max(1, min(25_000, total // 4)),
    }
