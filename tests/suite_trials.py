"""Tasks of every suite that `make acceptance` trains for 2,000 steps, exports and evaluates: three at least."""

from typing import Any, NamedTuple

ENVS = "sacpipe/envs"
OWN = f"{ENVS}/softlearning"
COMPOSER = frozenset({f"{ENVS}/dm_control.py", f"{ENVS}/dm_control_composer.py"})
MODELS = frozenset({f"{OWN}/mujoco_simulation.py", f"{OWN}/models"})


class Trial(NamedTuple):
    """One task."""

    task: str
    options: dict[str, Any]
    files: frozenset[str] | None = None
    """Files of the suites that its run depends on besides `SHARED`; None where nothing is expected of them."""


SHORT, SECONDS = {"max_episode_steps": 200}, {"time_limit": 2.0}
TRIALS = [
    Trial("gymnasium/HalfCheetah-v5", SHORT),
    Trial("gymnasium/Hopper-v5", SHORT),
    Trial("gymnasium/InvertedPendulum-v5", {}),
    Trial("gymnasium/BipedalWalker-v3", SHORT),
    Trial("gymnasium/BipedalWalkerHardcore-v3", SHORT),
    Trial("gymnasium/LunarLanderContinuous-v3", SHORT),
    Trial("dm_control/cartpole-swingup", SECONDS),
    Trial("dm_control/cheetah-run", SECONDS),
    Trial("dm_control/finger-turn_hard", SECONDS),
    Trial("dm_control/manipulation-reach_site_features", {"time_limit": 4.0}, COMPOSER),
    Trial("dm_control/manipulation-lift_brick_features", {"time_limit": 4.0}, COMPOSER),
    Trial("dm_control/locomotion-cmu_humanoid_go_to_target", {"time_limit": 3.0}, COMPOSER),
    Trial("point_mass/point-mass-v0", {}),
    Trial("point_mass/point-mass-v0", {"actuator_angle_deg": 30.0}),
    Trial("point_mass/point-mass-v0", {"force_limit_n": 4.0}),
    Trial("softlearning/MultiGoal-Default-v0", {}, frozenset({f"{OWN}/multi_goal.py"})),
    Trial(
        "softlearning/Pusher2d-DefaultReach-v0",
        {"max_episode_steps": 100},
        MODELS | {f"{OWN}/pusher_2d.py"},
    ),
    Trial("softlearning/Ant-SimpleMaze-v0", {"max_episode_steps": 200}, MODELS | {f"{OWN}/ant_maze.py"}),
]
"""Tasks of one parametrised test. The suite `point_mass` has one id, so options tell its tasks apart."""

BY_COMMANDS = {
    "gymnasium_robotics/FetchReach-v4": ["is_success", "goal_distance"],
    "gymnasium_robotics/PointMaze_UMaze-v3": ["success", "goal_distance"],
    "gymnasium_robotics/AdroitHandPen-v1": ["success"],
}
"""Tasks that a test trains by the commands, with the metrics of the printed params."""

SHARED = {
    f"{ENVS}/{name}.py"
    for name in (
        "action_bounds", "base", "built_task", "environment_process", "info_metrics", "mujoco_terms", "observation_reader",
        "step_values", "task_environment", "softlearning/suite",
    )
}  # fmt: skip
"""Files of the suites that the runs of several depend on."""


def tried(suite: str) -> list[Any]:
    """Return the trials of a suite, each by what tells it apart."""
    apart = [(trial.task, str(trial.options)) for trial in TRIALS]
    return [one for one in [*apart, *((task, "") for task in BY_COMMANDS)] if one[0].startswith(f"{suite}/")]
