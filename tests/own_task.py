"""A project with a task of its own: two modules, a model of two files, and gains in YAML."""

from small_project import make_project

TASKS = """
import gymnasium as gym
import mujoco
import numpy as np
import yaml
from pathlib import Path

import my_helper

HERE = Path(__file__).parent
class Arm(gym.Env):
    def __init__(self, render_mode=None):
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.model = mujoco.MjModel.from_xml_path(str(HERE / "robot/arm.xml"))
        self.data = mujoco.MjData(self.model)
        self.gains = yaml.safe_load((HERE / "robot/gains.yaml").read_text())

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[0] = self.np_random.uniform(-1, 1)
        return np.array([self.data.qpos[0], self.data.qvel[0]]), {}

    def step(self, action):
        self.data.ctrl[0] = self.gains["p"] * float(action[0])
        mujoco.mj_step(self.model, self.data, 5)
        found = np.array([self.data.qpos[0], self.data.qvel[0]])
        if found[1] > 1e9:
            np.loadtxt(HERE / "robot/late.txt")
        return found, my_helper.reward(found[0]), False, False, {}

gym.register("Arm-v0", entry_point="my_tasks:Arm", max_episode_steps=20)
"""
MODEL = """
<mujoco><include file="joint.xml"/><actuator><motor joint="j"/></actuator></mujoco>
"""
JOINT = """
<mujoco><worldbody><body><joint name="j" type="slide" axis="1 0 0"/><geom size=".1" mass="1.0"/></body></worldbody></mujoco>
"""
FILES = {
    "my_tasks.py": TASKS,
    "my_helper.py": "def reward(x):\n    return -abs(x)\n",
    "robot/arm.xml": MODEL,
    "robot/joint.xml": JOINT,
    "robot/gains.yaml": "p: 1.0\n",
    "robot/late.txt": "1.0\n",
    "robot/readme.txt": "not read",
    "my_notes.py": "",
}
OWN = {"my_tasks.py", "my_helper.py", "robot/arm.xml", "robot/joint.xml", "robot/gains.yaml"}


def make_arm(folder):
    """Make a small project of the task. Nothing names yet what the task reads."""
    make_project(folder)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    params = folder / "params.yaml"
    params.write_text(
        params.read_text()
        .replace("suite: point_mass", "suite: gymnasium")
        .replace("id: point-mass-v0", "id: my_tasks:Arm-v0")
        .replace("metrics: [is_success]", "metrics: []")
    )
    return folder
