"""Writes the outputs of a finished run: policy, replay pool, curve and metrics."""

import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

from sacpipe.core.config import Config
from sacpipe.core.files import (
    copy_file,
    remove_leftovers,
    sha256_file,
    storage_errors,
    write_bytes,
    write_json,
)
from sacpipe.engines import tier_of
from sacpipe.networks.policy_file import write_policy
from sacpipe.specs.metric import Reward, Steps, Unit
from sacpipe.training.checkpoint import KeptEvaluation
from sacpipe.training.foreign_members import member_errors
from sacpipe.training.run import Run


class TrainingReport(Config):
    """out/train/metrics.json: where the run ended."""

    env_steps: Steps
    """Environment steps taken."""
    gradient_steps: Annotated[int, Unit("updates")]
    """Updates made."""
    episodes: Annotated[int, Unit("episodes")]
    """Training episodes that ended."""
    return_mean_deterministic: Reward
    """Mean return of the deterministic action in the last evaluation."""
    return_mean_stochastic: Reward
    """Mean return of actions with noise in the last evaluation."""
    policy_sha256: str
    pool_sha256: str
    """Of the pool's manifest, which holds the digest of every segment."""
    determinism: Literal["exact", "same-device", "statistical"]
    """The tier of reproducibility: `exact` is the same bytes on every x86-64-v3 processor; `same-device` the
    same bytes on the same kind of processor; `statistical` the same distribution of returns, because a
    simulator did not repeat itself."""
    num_threads: int
    kept: KeptEvaluation | None = None
    """Evaluation whose policy is in policy.safetensors; None, and left out of the file, where it is the
    policy of the last step (`training.keep: last`)."""

    def as_tree(self) -> dict[str, Any]:
        """Return plain JSON values."""
        tree = super().as_tree()
        return tree if self.kept is not None else {name: tree[name] for name in tree if name != "kept"}

    def compared(self) -> dict[str, float]:
        """Return the numbers by which people compare trainings."""
        names = ("env_steps", "episodes", "return_mean_deterministic", "return_mean_stochastic")
        numbers = {name: getattr(self, name) for name in names}
        if self.kept is not None:
            numbers |= {f"kept_{name}": value for name, value in self.kept.as_tree().items()}
        return numbers


def publish(run: Run, destination: Path, curve: Path | None = None) -> TrainingReport:
    """Write the run's outputs.

    The run's folder keeps its checkpoint: if anything fails before DVC has the outputs, the same command
    publishes again from there, without training.

    Args:
        run: The finished run.
        destination: Folder of the outputs.
        curve: Path of the learning curve; `curve.csv` in the same folder by default.

    Raises:
        StorageError: the destination cannot be written; the run can be published again.
    """
    with storage_errors(destination):
        destination.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(destination / "pool", ignore_errors=True)
        remove_leftovers(destination)
        run.pool.finish()
        run.writer.publish(destination / "pool")
        copy_file(run.folder / "metrics.jsonl", destination / "metrics.jsonl")
        curve = curve or destination / "curve.csv"
        curve.parent.mkdir(parents=True, exist_ok=True)
        copy_file(run.folder / "curve.csv", curve)
    _write_policy(run, destination / "policy.safetensors")
    returns = run.evaluator.returns
    report = TrainingReport(
        env_steps=run.env_steps,
        gradient_steps=run.learner.gradient_steps,
        episodes=len(run.episode_environments) - run.num_environments,
        return_mean_deterministic=returns["deterministic"],
        return_mean_stochastic=returns["stochastic"],
        policy_sha256=sha256_file(destination / "policy.safetensors"),
        pool_sha256=sha256_file(destination / "pool" / "manifest.json"),
        determinism=tier_of(run.params.engine) if run.determinism == "exact" else run.determinism,
        num_threads=run.params.engine.num_threads,
        kept=run.kept.evaluation,
    )
    write_json(destination / "metrics.json", report.as_tree())
    return report


def _write_policy(run: Run, path: Path) -> None:
    """Write the kept policy, or the last one where none is kept."""
    if run.kept.file is not None:
        write_bytes(path, run.kept.file)
        return
    with member_errors(run.algorithm, "policy()", run.env_steps):
        policy = run.learner.policy()
    write_policy(path, policy)
