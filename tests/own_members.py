"""A project with an algorithm and a sampler of its own, and an installed package with another sampler."""

from small_project import make_project, with_values

LEARNER = """
import json
from pathlib import Path

import yaml

from my_gains import SCALE
from sacpipe.algorithms.sac import SACConfig

HERE = Path(__file__).parent
LIMITS = json.loads((HERE / "robot/limits.json").read_text())


class Mine(SACConfig):
    \"\"\"An own algorithm.\"\"\"

    name: str

    def build(self, spec, seed):
        (HERE / "robot/start.txt").read_text()
        return super().build(spec, seed)
"""
SAMPLER = """
from sacpipe.core.config import Config
from sacpipe.replay.samplers.uniform import Uniform


class Sampler(Config):
    \"\"\"An own sampler.\"\"\"

    name: str

    def build(self, spec, discount):
        return Uniform(spec, discount)
"""
FILES = {
    "my_learner.py": LEARNER,
    "my_gains.py": "SCALE = 1.0\n",
    "my_sampler.py": SAMPLER,
    "robot/limits.json": "{}",
    "robot/start.txt": "",
    "my_notes.py": "",
}
OWN = {"my_learner.py", "my_gains.py", "my_sampler.py", "robot/limits.json", "robot/start.txt"}


def make_own_members(folder, *, algorithm="my_learner:Mine", sampler="my_sampler:Sampler"):
    """Make a small project that chooses members. Nothing names yet what they read."""
    make_project(folder)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    params = folder / "params.yaml"
    text = params.read_text().replace("  name: sac ", f"  name: {algorithm} ")
    text = text.replace("    name: uniform ", f"    name: {sampler} ")
    params.write_text(with_values(text, random_steps=5))
    return folder


def make_installation(folder, version="2.0"):
    """Install a distribution with a sampler `far`; return the folder for PYTHONPATH."""
    installed = folder / "site-packages"
    metadata = installed / "far_samplers-2.0.dist-info"
    files = {
        installed / "far_samplers" / "__init__.py": SAMPLER,
        metadata / "METADATA": f"Metadata-Version: 2.1\nName: far-samplers\nVersion: {version}\n",
        metadata / "top_level.txt": "far_samplers\n",
        metadata / "entry_points.txt": "[sacpipe.samplers]\nfar = far_samplers:Sampler\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return installed
