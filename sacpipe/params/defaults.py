"""A complete params.yaml for any task: what `sacpipe params` prints, and what the committed file is.

Budgets are Softlearning's per-task table (examples/development/variants.py at 13cf187; Swimmer as of
December 2019, since the last version could not run it), and our own where it has none.
"""

import re
from typing import NamedTuple

from sacpipe.core.errors import ConfigError
from sacpipe.envs import find_task
from sacpipe.specs.env_spec import EnvSpec


class Budget(NamedTuple):
    """How long a family of tasks is trained, and what a release must reach."""

    pattern: str
    """Regular expression over `universe/id`; the first that matches wins."""
    total_steps: int
    min_return_mean: float | None
    """A floor below the published results of plain SAC at this budget; None where none is published."""
    hidden_dim: int = 256
    """Units of both hidden layers: the paper's, except where half of them learn the task as surely."""
    learning_rate: str = "3.0e-4"
    """Of critics, actor and temperature: the paper's, except where docs/results.md has a better one."""


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
# Every value of the pipeline; none lives anywhere else. `dvc repro` runs again what a changed value reaches.
# Made by `sacpipe params {name}`; change one with `dvc exp run -S training.total_steps=...` or by hand.

seed: {seed}                          # names every stream of random numbers of the run

task:                            # `sacpipe tasks` lists all
  universe: {universe}
  id: {id}
  options: {{}}                    # keyword arguments of the task

algorithm:                       # Soft Actor-Critic, arXiv:1812.05905
  name: sac
  hidden_dims: [{hidden_dim}, {hidden_dim}]        # units of each hidden layer, actor and critics
  discount: 0.99                 # per step
  tau: 0.005                     # share of the critics taken into their targets at each target update
  target_update_interval: 1      # gradient steps
  num_critics: 2
  actor_q: {actor_q:<22}# critics' value in the actor's loss: min (paper) or mean (Softlearning's last)
  critic_learning_rate: {learning_rate}
  actor_learning_rate: {learning_rate}
  adam_epsilon: {adam_epsilon:<17}# in Adam's denominator
  log_std_min: -20.0             # bounds of the Gaussian's log standard deviation, before the squash
  log_std_max: 2.0
  normalise_observations: false  # take out a running mean and variance
  matmul_precision: float32      # of products in an update; bfloat16 is fast on CPUs that have it
  temperature:                   # weight of the entropy term
    mode: automatic              # or `mode: fixed` with `value:` alone
    initial: 1.0
    learning_rate: {learning_rate}
    objective: {objective:<18}# what multiplies the entropy gap: log_temperature or temperature
    target_entropy_per_dimension: -1.0  # nats

replay:
  capacity: {capacity:<21}# transitions the learner samples from; the pool keeps all
  segment_transitions: {segment:<10}# transitions in one sealed file of the pool
  format: compact                # or full: every next observation stored
  initial_pool: null             # or {{sha256: of data/pool/manifest.json, share: of each batch, to 1.0}}

training:
  total_steps: {total_steps:<18}# environment steps
  random_steps: {random_steps:<17}# first steps, uniformly random, before the first update
  batch_size: 256                # transitions
  updates_per_step: 1            # gradient steps after each environment step
  evaluation_interval_steps: {evaluation_interval}
  evaluation_episodes: 5         # of each evaluation, deterministic and stochastic
  log_interval_steps: {log_interval:<11}# steps averaged into one row of metrics
  checkpoint_interval_steps: {checkpoint_interval}
  num_threads: 1                 # of PyTorch's arithmetic; part of the result's identity
  extends: null                  # stage key of a finished run to continue; `sacpipe run --extend` sets it

export:
{export}
guards:                          # what a robot refuses, and what it does then; part of the contract
{guards}
evaluation:
{evaluation}
release:
  model_name: {model_name}
  min_return_mean: {floor}       # floor for the bundle's mean return; null for none
"""

_EXPORT = """\
  opset_version: 20              # of the ONNX operator set
  parity_tolerance: 1.0e-4       # largest difference between torch and ONNX, as a share of the action range
  golden_steps: 64               # recorded inputs and outputs a robot replays before it trusts the bundle
"""

_GUARDS = """\
  max_age_periods: 2.0           # an older observation is refused; in control periods, as the next two
  max_future_periods: 0.5        # how far in the future an observation may be stamped
  deadline_periods: 0.8          # of one step's computation
  max_action_change: 1.0         # from one step to the next, share of each action's range; 1 allows all
  envelope_margin: 0.1           # how far a start may lie outside what training saw, share of its range
  max_last_steps: 5              # `last` in a row, then `stop`
  safe_action: null              # in the task's units; null for zero
  blend_steps: 0                 # over which a new policy takes over; 0 for at once
  fallbacks:                     # last, hold, zero, safe, stop; limit where that can be done
    shape: stop
    observation_not_finite: last
    observation_old: last
    observation_from_future: last
    observation_repeated: last
    observation_out_of_order: last
    start_outside_envelope: safe
    inference_failed: stop
    action_not_finite: stop
    action_outside_bounds: stop
    action_change: limit
    deadline_missed: last
"""

_EVALUATION = """\
  episodes: 20                   # of the final evaluation; seeds are the same for every policy
  bootstrap_resamples: 10000
  confidence: 0.95               # of the bootstrap interval
  video:                         # of the first episode, where a renderer is present; null for none
    height: 320                  # pixels
    width: 480
    frames_per_s: 30.0           # at most; the film runs in real time
    max_s: 20.0                  # longest film
"""


def params_text(name: str, *, steps: int | None, seed: int, preset: str) -> str:
    """Return the text of a complete params.yaml.

    Args:
        name: `universe/id`.
        steps: Environment steps, or None for the task's budget.
        seed: Of the run.
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
    floor = budget.min_return_mean
    return _TEMPLATE.format(
        name=spec.task,
        seed=seed,
        universe=task.universe,
        id=task.id,
        hidden_dim=budget.hidden_dim,
        learning_rate=budget.learning_rate,
        **_PRESETS[preset],
        **_intervals(total, spec),
        export=_EXPORT,
        guards=_GUARDS,
        evaluation=_EVALUATION,
        model_name=re.sub(r"[^A-Za-z0-9._-]+", "-", spec.task.partition("/")[2]),
        floor="null" if floor is None else floor,
    )


_PRESETS = {
    "paper": {"actor_q": "min", "adam_epsilon": "1.0e-8", "objective": "log_temperature"},
    "softlearning": {"actor_q": "mean", "adam_epsilon": "1.0e-7", "objective": "temperature"},
}


def _intervals(total: int, spec: EnvSpec) -> dict[str, int]:
    """Return the counts that follow from a budget; at most ten random episodes, as Softlearning."""
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
