"""Compare the outputs of a verification run with the committed dvc.lock.

Outputs are compared by digest. Two kinds of results may have other bytes: a `statistical` one (the simulator
did not repeat itself), and one that was computed on another kind of processor. Then the returns of the two
policies are compared instead. See docs/reproducibility.md.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ContractError
from sacpipe.core.files import read_json
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes_csv import read_episodes_csv
from sacpipe.evaluation.statistics import difference_interval
from sacpipe.project.dvc.lock_file import LockEntries
from sacpipe.project.moving_outputs import moving_outputs
from sacpipe.project.processor_kind import other_kinds
from sacpipe.project.stage_key import DiskTree, dvc_md5, locked_outs
from sacpipe.project.verification_run import VerificationRun
from sacpipe.project.workspace import STAGES

TRAIN_METRICS = "out/train/metrics.json"

Mark = Literal["ok", "DIFFERS", "differs (statistical)", "differs (processor)"]


class Comparison(Config):
    """One output of a stage: the committed digest and the digest of the new run."""

    stage: str
    output: str
    expected: str | None
    """DVC's digest in the committed dvc.lock; None where it names no such output."""
    got: str | None
    """DVC's digest after the new run; None where the run made no such output."""
    mark: Mark


class ReturnsComparison(Config):
    """Deterministic returns of both policies, undiscounted, in task units."""

    committed_mean: float
    fresh_mean: float
    low: float
    """Lower end of the bootstrap interval of the difference of the means, fresh minus committed."""
    high: float
    confidence: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0.0 <= self.high


class _ReturnsParams(Config):
    """The sections of params.yaml that the comparison of returns depends on."""

    seed: int = Field(ge=0)
    evaluation: EvaluationConfig


def verify_returns(run: VerificationRun) -> ReturnsComparison:
    """Compare the deterministic returns with the committed ones.

    Raises:
        ContractError: a file is missing, or holds no episodes of the deterministic policy.
    """
    params = _ReturnsParams.load_sections(run.fresh.params)
    fresh, committed = _returns(run.fresh.episodes), _returns(run.episodes)
    return compare_returns(fresh, committed, params.evaluation, params.seed)


def allowed_marks(run: VerificationRun) -> dict[str, Mark]:
    """Return, by path, how outputs with other bytes are marked; one that is left out must not have any."""
    if is_statistical(run):
        every = (path for stage in STAGES for path in locked_outs(run.expected[stage]))
        return dict.fromkeys(every, "differs (statistical)")
    moving = moving_outputs(run.expected, other_kinds(run.kinds, STAGES))
    return {path: "differs (processor)" for paths in moving.values() for path in paths}


def is_statistical(run: VerificationRun) -> bool:
    """Return whether the `determinism` of either result is `statistical`."""
    known = [run.fresh.train_metrics]
    tree, committed = DiskTree(run.project.root), locked_outs(run.expected["train"]).get(TRAIN_METRICS)
    if tree.holds(TRAIN_METRICS) and dvc_md5(tree, TRAIN_METRICS) == committed:  # the project's own copy
        known.append(run.project.train_metrics)
    return any(read_json(path, ContractError).get("determinism") == "statistical" for path in known)


def is_same(outputs: Sequence[Comparison], returns: ReturnsComparison | None) -> bool:
    """Return whether no output is marked DIFFERS and the interval of the returns, if any, holds 0."""
    return all(one.mark != "DIFFERS" for one in outputs) and (returns is None or returns.holds)


def compare_locks(expected: LockEntries, got: LockEntries, allowed: Mapping[str, Mark]) -> list[Comparison]:
    """Compare the outputs that two lock files name, stage by stage.

    Args:
        expected: The committed one.
        got: The fresh one.
        allowed: Mark of other bytes by path, where they are allowed. A missing output is a mismatch in any
            case.
    """
    found = []
    for stage in STAGES:
        old, new = locked_outs(expected[stage]), locked_outs(got[stage])
        for path in {**old, **new}:
            expected_md5, got_md5 = old.get(path), new.get(path)
            mark: Mark = "ok" if expected_md5 == got_md5 else "DIFFERS"
            if mark != "ok" and path in old and path in new:
                mark = allowed.get(path, mark)
            found.append(Comparison(stage=stage, output=path, expected=expected_md5, got=got_md5, mark=mark))
    return found


def compare_returns(
    fresh: Sequence[float], committed: Sequence[float], config: EvaluationConfig, seed: int
) -> ReturnsComparison:
    """Compare the returns of two policies by a bootstrap interval of the difference of their means."""
    low, high = difference_interval(fresh, committed, config, seed)
    return ReturnsComparison(
        committed_mean=sum(committed) / len(committed),
        fresh_mean=sum(fresh) / len(fresh),
        low=low,
        high=high,
        confidence=config.confidence,
    )


def _returns(path: Path) -> list[float]:
    episodes = read_episodes_csv(path).get("deterministic")
    if not episodes:
        raise ContractError(f"{path} holds no episodes of the deterministic policy. Run the evaluate stage.")
    return [episode.episode_return for episode in episodes]
