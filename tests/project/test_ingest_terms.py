"""A task with terms that only critics or goal samplers see takes no recordings: a robot has no such terms."""

import gymnasium as gym
import numpy as np
import pytest

from sacpipe.core.errors import PoolFormatError
from sacpipe.project.ingest import ingest
from sacpipe.project.workspace import Workspace


class Goal(gym.Env):
    """A point and the place it shall reach."""

    def __init__(self):
        place = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)
        names = ("observation", "achieved_goal", "desired_goal")
        self.observation_space = gym.spaces.Dict(dict.fromkeys(names, place))
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return dict.fromkeys(self.observation_space, np.zeros(1)), {}

    def step(self, action):
        return dict.fromkeys(self.observation_space, np.zeros(1)), 0.0, False, False, {}


def test_terms_that_no_robot_records_are_named_before_any_recording_is_read(tmp_path):
    gym.register("IngestGoal-v0", entry_point=Goal, max_episode_steps=5)
    task = "{suite: gymnasium, id: IngestGoal-v0, options: {}, metrics: []}"
    (tmp_path / "params.yaml").write_text(f"task: {task}\n")
    with pytest.raises(
        PoolFormatError, match=r"IngestGoal-v0, whose policy does not see achieved_goal: a robot records"
    ):
        ingest(Workspace(tmp_path), [tmp_path / "recording-000001"], known_bundles=None)
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
