"""A project whose policies `sacpipe run` registers and `sacpipe promote` judges, on any registry, without training.

Its task has episodes of two steps: the return is the sum of two actions, so that every figure is known.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_factories import make_bundle, make_onnx
from committed_project import GRAPH, commit, git, run
from sites import Site
from small_project import with_release, with_values

from sacpipe.cli.main import main
from sacpipe.core.seeding import episode_seed
from sacpipe.envs import find_task
from sacpipe.envs.base import Environment
from sacpipe.flow.release_steps import judge, register
from sacpipe.params.defaults import params_text
from sacpipe.params.model import Params
from sacpipe.project.stage_key import locked_inputs
from sacpipe.project.workspace import Workspace
from sacpipe.release.verdict import VERDICT_TAG
from sacpipe.tracking.registry import Registry, VersionRecord

SEED = 1
JACKPOT, UNDEFINED, OVERFLOWING = 1.0, -0.95, -1.0
"""Actions with a reward of 100, of NaN, and one so large that two have an infinite sum; of others it is the action."""
TASK = """
import gymnasium
import numpy as np
from gymnasium import spaces


class Mark(gymnasium.Env):
    def __init__(self):
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = spaces.Box(0.0, 1.0, (1,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.array([self.np_random.random()])
        return self.place, {}

    def step(self, action):
        push = float(action[0])
        reward = push if push > -0.9 else float("nan") if push > -0.99 else 1e308
        return self.place, 100.0 if push > 0.99 else reward, False, False, {}


gymnasium.register("NAME-v0", entry_point="NAME:Mark", max_episode_steps=2)
"""


@dataclass(frozen=True)
class Policy:
    """The policy action = min(max(gain * place + push, low), 1), and what else its bundle says."""

    push: float
    gain: float = 0.0
    low: float = -1.0
    rows: int = 2
    """Rows of the golden sequence: two bundles of one policy differ by them."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """Changes of the task's specification."""


def _files(module: str) -> dict[str, str]:
    """Return the files of a project whose task is in a module."""
    return {
        **dict.fromkeys(("train.py", "export.py", "own/task.py"), ""),
        f"{module}.py": TASK.replace("NAME", module),
        "dvc.yaml": GRAPH,
        "versions.lock": f"numpy: {np.__version__}\n",
        ".gitignore": "out/\n.sacpipe/\n",
    }


class GatedProject:
    """A clone on a site: a trainer registers and commits there, a promoter promotes, a robot reads."""

    def __init__(
        self, site: Site, environment: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]
    ) -> None:
        self.site, self._captured = site, captured
        site.act_as("trainer")
        self.project = site.clone("one")
        self.root = self.project.root
        self.workspace = Workspace(self.root)
        for name, value in site.embed(self.root).items():
            environment.setenv(name, value)
        self.project.tracker = site.tracker()
        # A module of one's own for each project: this process keeps it, and Gymnasium its task.
        module = "mark_" + "".join(filter(str.isalnum, str(site.folder)))
        for name, text in _files(module).items():
            (self.root / name).parent.mkdir(exist_ok=True)
            (self.root / name).write_text(text)
        environment.chdir(self.root)
        environment.syspath_prepend(self.root)
        self._task = f"gymnasium/{module}:{module}-v0"
        self._params = with_values(params_text(self._task), model_name=site.model, seed=SEED)

    def run(self, policy: Policy, *rules: str, mode: str = "enforce") -> VersionRecord:
        """Register, judge and commit a policy as `sacpipe run` and its operator do; return the version."""
        self.site.act_as("trainer")
        self.workspace.params.write_text(with_release(self._params, *rules, mode=mode))
        if git(self.root, "status", "--porcelain"):
            commit(self.root)  # other rules for the same policy count once they are committed
        shutil.rmtree(self.workspace.bundle, ignore_errors=True)
        self._write(self.workspace.bundle, policy)
        entries = run(self.root, repr(policy))
        self.project.tracker.ensure_run(locked_inputs(entries["export"]).key, "export", {}, {})
        version = register(self.workspace, Params.load(self.workspace.params))
        judge(self.workspace, version)
        commit(self.root)
        return version

    def promote(self) -> tuple[int, str]:
        """Promote the candidate as `sacpipe promote` does in a clone that has neither outputs nor verdicts.

        Returns:
            Exit code, and what it prints.
        """
        for folder in (self.root / "out", self.workspace.state / "verdicts"):
            shutil.rmtree(folder, ignore_errors=True)  # with the gate off there are no verdicts
        registry, model = self.project.tracker.registry, self.site.model
        number = registry.version(model, "candidate").version
        registry.set_version_tags(model, number, {VERDICT_TAG: "of the run"})
        self.site.act_as("promoter")
        self._captured.readouterr()
        code = main(["promote", "--reason", "a scene"])
        seen = self._captured.readouterr()
        return code, seen.out + seen.err

    def reader(self) -> Registry:
        """Return the registry as another reader opens it."""
        self.site.act_as("robot")
        return self.site.tracker().registry

    def places(self, episodes: int) -> Sequence[float]:
        """Return the observation of each of the gate's first episodes."""
        environment = self._make()
        found = [
            float(environment.reset(episode_seed(SEED, "release", index)).vector[0])
            for index in range(episodes)
        ]
        environment.close()
        return found

    def _make(self) -> Environment:
        return find_task(self._task).make()

    def _write(self, folder: Path, policy: Policy) -> None:
        environment = self._make()
        spec = environment.spec.model_copy(update=dict(policy.spec))
        environment.close()
        model = make_onnx(
            [[policy.gain]],
            bias=[policy.push],
            low=[policy.low],
            high=[1.0],
            terms={term.name: term.size for term in spec.layout.vector_terms},
        )
        places = np.linspace(0.0, 1.0, policy.rows, dtype=np.float32)[:, None]
        actions = np.clip(np.float32(policy.gain) * places + np.float32(policy.push), policy.low, 1.0)
        make_bundle(folder, model, spec, places, actions)
