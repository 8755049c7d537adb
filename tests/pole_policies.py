"""Policies of InvertedPendulum as bundles of one matrix, and a project whose registry holds them."""

from pathlib import Path

import numpy as np
from bundle_factories import make_bundle, make_onnx

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.envs import find_task
from sacpipe.project.workspace import Workspace
from sacpipe.release.config import ReleaseParams
from sacpipe.release.evidence import Evidence
from sacpipe.release.scoring import RuntimeScored, entry_ranges
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.registry import POLICY_TAG, VersionRecord

TASK = "gymnasium/InvertedPendulum-v5"
MODEL = "pendulum"
BALANCES = (0.5, 5.0, 0.5, 1.0)
"""Gains of position, angle and their velocities with which the pole stands for all 1,000 steps."""
FALLS = (0.0, 0.0, 0.0, 0.0)
"""No force: the pole falls after about 20 steps."""
_OBSERVATIONS = np.array([[0, 0, 0, 0], [0.1, 0.01, 0, 0], [0, 0.05, 0, 0.1]], np.float32)


def make_environment():
    """Make the task."""
    return find_task(TASK).make()


def write_pendulum(folder: Path, gains=BALANCES, **changes) -> Path:
    """Write the bundle of the policy action = gains * observation, within the bounds."""
    environment = make_environment()
    spec = environment.spec
    environment.close()
    weight = np.array(gains, np.float32)[:, None]
    sizes = {term.name: term.size for term in spec.layout.vector_terms}
    model = make_onnx(weight, low=[-3.0], high=[3.0], terms=sizes)
    actions = np.clip(_OBSERVATIONS @ weight, -3.0, 3.0)
    return make_bundle(folder, model, spec, _OBSERVATIONS, actions, **changes)


def scored(folder: Path, environment, gains=BALANCES, **changes) -> RuntimeScored:
    """Return the scores of a policy."""
    return score(open_bundle(write_pendulum(folder, gains, **changes)), environment)


def score(bundle: Bundle, environment) -> RuntimeScored:
    """Return the scores of a bundle."""
    return RuntimeScored(bundle, environment, 1, entry_ranges(bundle.contract))


def evidence_of(candidate: RuntimeScored, champion: RuntimeScored | None = None) -> Evidence:
    """Return evidence in which all else holds."""
    return Evidence(candidate.contract.spec, candidate, champion, None, 0.0, ())


def params_with(*rules, mode="enforce", seed=1, task=TASK) -> ReleaseParams:
    """Return the sections of a commit with these rules."""
    suite, _, task_id = task.partition("/")
    return ReleaseParams.parse(
        {
            "seed": seed,
            "task": {"suite": suite, "id": task_id, "options": {}, "metrics": []},
            "release": {"model_name": MODEL, "mode": mode, "auto": False, "rules": list(rules)},
        }
    )


class PendulumProject:
    """A project with a registry in a folder."""

    def __init__(self, root: Path) -> None:
        (root / ".sacpipe").mkdir(parents=True)
        (root / "sacpipe.yaml").write_text("tracking: folder\n")
        self.workspace = Workspace(root)
        self.tracker = open_ledger(self.workspace)

    def register(self, gains=BALANCES, *, champion=False, **changes) -> VersionRecord:
        """Register a policy, as the champion if it is to be that."""
        folder = write_pendulum(
            self.workspace.root / f"bundle-{len(list(self.workspace.root.iterdir()))}", gains, **changes
        )
        bundle = open_bundle(folder)
        run = self.tracker.ensure_run(bundle.digest, "export", {}, {})
        registry, tags = self.tracker.registry, {POLICY_TAG: OnnxPolicy(bundle).onnx_sha256}
        record = registry.register(MODEL, self.tracker.log_model(run, folder), run, bundle.digest, tags)
        if champion:
            registry.set_alias(MODEL, "champion", record.version)
        return registry.version(MODEL, record.version)

    def kept(self) -> list[Path]:
        """Return the files of kept verdicts."""
        return sorted((self.workspace.state / "verdicts").glob("*"))
