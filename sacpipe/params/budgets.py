"""Training lengths and release gates by family of tasks.

The lengths are those of Softlearning's table of tasks (examples/development/variants.py at 13cf187; Swimmer
as of December 2019, because the last version could not run it), and our own for other tasks.
"""

import re

from sacpipe.specs.budget import Budget

BUDGETS = (
    (r"gymnasium/InvertedDoublePendulum-", Budget(20_000, 9_300.0, hidden_dim=128)),
    (r"gymnasium/InvertedPendulum-", Budget(50_000, 900.0)),
    (r"gymnasium/Pendulum-", Budget(10_000, -250.0)),
    (r"gymnasium/Reacher-", Budget(100_000, -8.0)),
    (r"gymnasium/Swimmer-", Budget(500_000, 30.0)),
    (r"gymnasium/Hopper-", Budget(1_000_000, 2_000.0)),
    (r"gymnasium/HalfCheetah-", Budget(3_000_000, 9_000.0, learning_rate=1.0e-3)),
    (r"gymnasium/Walker2d-", Budget(3_000_000, 3_500.0)),
    (r"gymnasium/Ant-", Budget(3_000_000, 3_500.0)),
    (r"gymnasium/Humanoid(Standup)?-", Budget(10_000_000, 4_500.0)),
    (r"dm_control/cartpole-(balance|swingup)$", Budget(3_000_000, 800.0)),
    (r"dm_control/ball_in_cup-", Budget(3_000_000, 900.0)),
    (r"dm_control/cheetah-run", Budget(10_000_000, 700.0)),
    (r"dm_control/(hopper-hop|manipulator-bring_ball|quadruped-|humanoid)", Budget(10_000_000)),
    (r"dm_control/walker-", Budget(1_000_000, 500.0)),
    (r"dm_control/", Budget(3_000_000)),
    (r"point_mass/", Budget(3_000)),
    (r"softlearning/MultiGoal-", Budget(10_000, hidden_dim=128, learning_rate=1.0e-3)),
    (r"", Budget(1_000_000)),
)
"""Regular expression for task suite and id, and the budget; the first match is used.

A minimum return is below the published results of SAC at this budget. Units and learning rates are the
paper's, or smaller or better ones of docs/results.md that learn the task as reliably.
"""


def budget_of(task: str) -> Budget:
    """Return the budget of a task's family.

    Args:
        task: Task suite and id, e.g. `gymnasium/Ant-v5`.
    """
    return next(budget for pattern, budget in BUDGETS if re.match(pattern, task))
