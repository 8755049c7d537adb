"""A small project folder after a run, with the outputs of every stage."""

import csv
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_factories import make_bundle, make_onnx, make_spec, term_tree
from ruamel.yaml import YAML

from sacpipe.core.files import sha256_file, write_bytes, write_json, write_text
from sacpipe.project.workspace import Workspace
from sacpipe.release.verdict import Verdict
from sacpipe.replay.pool.manifest import PoolManifest, SegmentEntry
from sacpipe.replay.pool.segments import segment_name
from sacpipe.report.outputs import Outputs
from sacpipe.report.page import write_report

TERMS = {
    "observation": [
        term_tree("pose", 8, unit="rad", source="qpos"),
        term_tree("tip <height>", 1, unit="rad", source="qpos"),
    ],
    "action": [{"name": f"joint_{n}", "unit": "N·m", "low": -1.5, "high": 1.5} for n in range(3)],
    "control_period_s": 0.05,
    "max_episode_steps": 1000,
}
REASONS = [
    {
        "rule": "minimum return",
        "expected": "mean return of at least 4000",
        "found": "5801.20 over 10",
        "ok": True,
    },
    {"rule": "parity of torch and ONNX", "expected": "at most 0.0001", "found": "3.1e-07", "ok": True},
]


NO_SCORES = {"candidate": [], "champion": []}


def verdict_of(reasons, scores=NO_SCORES):
    """Return the verdict that some findings give."""
    numbers = {"figure": None, "threshold": None, "unit": "", "advice": ""}
    return Verdict.parse(
        {
            "format_version": 1,
            "accepted": all(one["ok"] for one in reasons),
            "mode": "enforce",
            "model": "halfcheetah",
            "version": 1,
            "candidate": "a" * 64,
            "champion": None,
            "commit": None,
            "findings": [numbers | one for one in reasons],
            "episodes": 10,
            "time": "2026-01-01T00:00:00+00:00",
            "scores": scores,
        }
    )


SAC_SIGNALS: dict[str, Callable[[float, np.random.Generator], float]] = {
    "critic/loss": lambda share, random: 4 + 40 * share * math.exp(random.normal(0, 0.25)),
    "critic/q_mean": lambda share, random: 420 * share + random.normal(0, 6),
    "actor/entropy_nats": lambda share, random: -3 + 5.0 * math.exp(-9 * share) + random.normal(0, 0.15),
    "temperature/value": lambda share, random: (
        0.19 * share + math.exp(-30 * share) + abs(random.normal(0, 0.003))
    ),
}


class Project:
    """A project folder after a run, with the files and columns of every stage."""

    def __init__(self, root: Path, *, suite: str = "gymnasium", task: str = "HalfCheetah-v5") -> None:
        self.root, self.workspace = root, Workspace(root)
        self.spec = make_spec(task=f"{suite}/{task}", **TERMS)
        self.params = {
            "seed": 7,
            "task": {"suite": suite, "id": task, "options": {}, "metrics": []},
            "algorithm": {
                "name": "sac",
                "hidden_dims": [256, 256],
                "discount": 0.99,
                "temperature": {"mode": "automatic", "initial": 1.0, "target_entropy_per_dimension": -1.0},
            },
            "replay": {
                "capacity": 1000000,
                "segment_transitions": 100000,
                "format": "compact",
                "initial_pool": None,
            },
            "evaluation": {"episodes": 5, "bootstrap_resamples": 1000, "confidence": 0.95, "video": None},
            "release": {"model_name": "halfcheetah", "mode": "enforce", "auto": False, "rules": []},
        }
        self.signals = SAC_SIGNALS
        """Metrics of the learner, as functions of the share of training and a random generator."""
        self.task_metrics: dict[str, dict[str, float]] = {}
        """Of each policy, by name."""

    @property
    def outputs(self) -> Outputs:
        """The outputs on disk, as a section reads them."""
        return Outputs(self.workspace, verdict_of(REASONS))

    def write(
        self, *, points: int = 12, episodes: int = 5, total_steps: int = 120_000, rows: int = 60
    ) -> "Project":
        """Write everything; `points` evaluations of `episodes` episodes, `rows` update rows."""
        random = np.random.default_rng(3)
        with (self.root / "params.yaml").open("w") as file:
            YAML().dump(self.params, file)
        self._write_train(random, points, episodes, total_steps, rows)
        self._write_bundle()
        self._write_evaluate(episodes)
        self.write_lock()
        return self

    def _write_train(self, random, points, episodes, total_steps, rows):
        train = self.root / "out" / "train"
        steps = (
            [round(total_steps * n / max(points - 1, 1)) for n in range(points)]
            if points > 1
            else [total_steps]
        )
        curve = [
            [step, policy, n, n, self.learned(step / total_steps) * scale + random.normal(0, 300), 1000]
            for step in steps
            for policy, scale in (("deterministic", 1.0), ("stochastic", 0.87))
            for n in range(episodes)
        ]
        self.write_table(
            self.workspace.curve, ["env_steps", "policy", "episode", "seed", "return", "length"], curve
        )
        lines = []
        for index in range(rows):
            share = (index + 1) / rows
            step = round(total_steps * share)
            values = {name: signal(share, random) for name, signal in self.signals.items()}
            lines.append({"env_steps": step, "gradient_steps": step} | values)
            back = self.learned(share) * 0.8 + random.normal(0, 500)
            lines.append({"env_steps": step, "episode/return": back, "episode/length": 1000})
        write_text(train / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        write_bytes(train / "policy.safetensors", b"weights")
        size = max(total_steps // 3, 1)
        entry = {"transitions": size, "size_bytes": size * 96, "sha256": "c" * 64}
        segments = tuple(
            SegmentEntry.parse(entry | {"file": segment_name(size * n), "first_step": size * n})
            for n in range(3)
        )
        PoolManifest.describe(self.spec, "compact", segments).write(train / "pool")
        self.report = {
            "env_steps": total_steps,
            "gradient_steps": total_steps - 5000,
            "episodes": 120,
            "return_mean_deterministic": 5800.0,
            "return_mean_stochastic": 5200.0,
            "policy_sha256": sha256_file(train / "policy.safetensors"),
            "pool_sha256": sha256_file(train / "pool" / "manifest.json"),
            "determinism": "exact",
            "num_threads": 1,
        }
        write_json(train / "metrics.json", self.report)

    @staticmethod
    def learned(share: float) -> float:
        """Return a plausible return after a share of training."""
        return -280 + 6100 * (1 - math.exp(-3.4 * share))

    def _write_bundle(self):
        policy = sha256_file(self.root / "out" / "train" / "policy.safetensors")
        pool = sha256_file(self.root / "out" / "train" / "pool" / "manifest.json")
        sizes = self.spec.observation_dim, self.spec.action_dim
        make_bundle(
            self.root / "out" / "export" / "bundle",
            make_onnx(np.zeros(sizes), terms={term.name: term.size for term in self.spec.observation}),
            self.spec,
            *(np.zeros((8, size)) for size in sizes),
            provenance={"algorithm": "sac", "digests": {"policy": policy, "pool": pool}},
        )
        parity = {
            "bundle_digest": sha256_file(self.root / "out" / "export" / "bundle" / "manifest.json"),
            "parity_tolerance": 1e-4,
            "parity_max_error": 3.1e-7,
            "parity_max_error_synthetic": 2.2e-6,
            "parity_observations": 640,
        }
        write_json(self.root / "out" / "export" / "metrics.json", parity)

    def _write_evaluate(self, episodes):
        evaluate = self.root / "out" / "evaluate"
        rows, summary = [], {}
        for policy, mean in (("deterministic", 5800.0), ("stochastic", 5200.0), ("bundle", 5800.0)):
            noise = np.random.default_rng(11 if policy != "stochastic" else 12).normal(0, 180, episodes)
            returns = (mean + noise).tolist()
            rows += [[policy, n, 100 + n, value, 1000, "false", "true"] for n, value in enumerate(returns)]
            summary[policy] = self.summarised(returns)
        header = ["policy", "episode", "seed", "return", "length", "terminated", "truncated"]
        self.write_table(self.workspace.episodes, header, rows)
        write_json(evaluate / "metrics.json", summary)
        write_text(
            evaluate / "video" / "WHY_NO_VIDEO.txt",
            "No off-screen renderer works here: EGL and OSMesa failed.\n",
        )

    def write_lock(self):
        """Write dvc.lock with the digests of the files on disk."""
        params = {
            "seed": self.params["seed"],
            "task": self.params["task"],
            "algorithm": self.params["algorithm"],
        }
        wiring = {
            "train": (
                ["sacpipe/core", "sacpipe/training"],
                [
                    *(f"out/train/{name}" for name in ("policy.safetensors", "metrics.json", "pool")),
                    "results/curve.csv",
                ],
            ),
            "export": (
                ["out/train/policy.safetensors", "out/train/pool"],
                ["out/export/bundle", "out/export/metrics.json"],
            ),
            "evaluate": (
                ["out/train/policy.safetensors", "out/export/bundle"],
                ["out/evaluate/metrics.json", "results/episodes.csv"],
            ),
        }
        stages = {}
        for stage, (deps, outs) in wiring.items():
            stages[stage] = {
                "cmd": f"python -m pipelines.stages.{stage}",
                "deps": [
                    {"path": path, "hash": "md5", "md5": "d" * 32, "size": 12345, "nfiles": 4}
                    for path in deps
                ],
                "params": {"params.yaml": params if stage == "train" else {"seed": params["seed"]}},
                "outs": [self._locked(path) for path in outs],
            }
        with (self.root / "dvc.lock").open("w") as file:
            YAML().dump({"schema": "2.0", "stages": stages}, file)

    def _locked(self, name: str) -> dict[str, object]:
        path = self.root / name
        entry = {"path": name, "hash": "md5"}
        if path.is_dir():
            return entry | {"md5": "e" * 32 + ".dir", "size": 4096, "nfiles": len(list(path.iterdir()))}
        data = path.read_bytes()
        return entry | {"md5": hashlib.md5(data, usedforsecurity=False).hexdigest(), "size": len(data)}

    def page(self, reasons=REASONS, scores=NO_SCORES) -> str:
        """Write the report and return it; without reasons, the release gate did not run."""
        verdict = None if reasons is None else verdict_of(reasons, scores)
        return write_report(self.workspace, verdict, self.root / "report.html").read_text("utf-8")

    @staticmethod
    def write_table(path: Path, header: list[str], rows: list[list[object]]) -> None:
        """Write a CSV file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])

    def summarised(self, returns: list[float]) -> dict[str, object]:
        """Return what the evaluate stage says of some returns."""
        low, high = (min(returns), max(returns)) if len(set(returns)) > 1 else (returns[0], returns[0])
        return {
            "episodes": len(returns),
            "return_mean": float(np.mean(returns)),
            "return_median": float(np.median(returns)),
            "return_iqm": float(np.mean(returns)),
            "return_std": float(np.std(returns)),
            "return_min": min(returns),
            "return_max": max(returns),
            "return_ci_low": low,
            "return_ci_high": high,
            "length_mean": 1000.0,
            "task_metrics": self.task_metrics,
        }


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One realistic run that no test changes."""
    return Project(tmp_path_factory.mktemp("run")).write()


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A small run of the test's own, to be changed."""
    return Project(tmp_path).write(points=3, episodes=3, rows=8)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[..., Project]:
    """Make the folder of an unusual run; nothing is written yet."""

    def make(**names: str) -> Project:
        root = tmp_path / "unusual"
        root.mkdir()
        return Project(root, **names)

    return make
