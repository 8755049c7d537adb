"""Whether a graph that was run again gave what its committed dvc.lock says.

Floor 5. Outputs are compared by digest. Where a result is only `statistical` (a simulator that did not
repeat itself), two runs differ in their bytes, and the returns of the policies are compared instead.
docs/reproducibility.md.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ContractError
from sacpipe.core.files import read_json
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.evaluation.episodes_csv import read_episodes_csv
from sacpipe.evaluation.statistics import difference_interval
from sacpipe.project.dvc.commands import DvcStore, read_lock
from sacpipe.project.rerun import PREFIX, Locked, Rerun
from sacpipe.project.stage_key import DiskTree, dvc_md5, locked_outs
from sacpipe.project.workspace import STAGES

EPISODES = "out/evaluate/episodes.csv"
TRAIN_METRICS = "out/train/metrics.json"

Mark = Literal["ok", "DIFFERS", "differs (statistical)"]


class Comparison(Config):
    """One output of a stage, as it was committed and as it came out again."""

    stage: str
    output: str
    expected: str | None
    """DVC's digest in the committed dvc.lock; None where that names no such output."""
    got: str | None
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
    """What of params.yaml the comparison of returns depends on."""

    seed: int = Field(ge=0)
    evaluation: EvaluationConfig


def verify_outputs(again: Rerun) -> list[Comparison]:
    """Compare every output of every stage, which all must have run."""
    return compare_locks(again.expected, read_lock(again.fresh.dvc_lock), statistical=is_statistical(again))


def verify_returns(again: Rerun) -> ReturnsComparison:
    """Compare the deterministic returns with the committed ones, of this folder or of DVC's cache.

    Raises:
        StoreError: the cache lacks them; `dvc fetch` may bring them.
        ContractError: a file does not hold them.
    """
    params = _ReturnsParams.load_sections(again.fresh.params)
    if _project_holds(again, "evaluate", EPISODES):
        committed = _returns(again.project.episodes)
    else:
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            committed = _returns(_place_episodes(again, Path(folder)))
    return compare_returns(_returns(again.fresh.episodes), committed, params.evaluation, params.seed)


def is_statistical(again: Rerun) -> bool:
    """Return whether either result says of itself that its bytes cannot be expected again."""
    known = [again.fresh.train_metrics]
    if _project_holds(again, "train", TRAIN_METRICS):
        known.append(again.project.train_metrics)
    return any(read_json(path, ContractError).get("determinism") == "statistical" for path in known)


def is_same(outputs: Sequence[Comparison], returns: ReturnsComparison | None) -> bool:
    """Return the verdict: no output differs where it must not, and returns, where compared, are the same."""
    return all(one.mark != "DIFFERS" for one in outputs) and (returns is None or returns.holds)


def compare_locks(expected: Locked, got: Locked, *, statistical: bool) -> list[Comparison]:
    """Compare the outputs two lock files name, stage by stage.

    Args:
        expected: The committed one.
        got: The fresh one.
        statistical: Whether other bytes are no mismatch by themselves. A missing output always is one.
    """
    found = []
    for stage in STAGES:
        old, new = locked_outs(expected[stage]), locked_outs(got[stage])
        for path in {**old, **new}:
            expected_md5, got_md5 = old.get(path), new.get(path)
            mark = _mark(expected_md5, got_md5, statistical=statistical)
            found.append(Comparison(stage=stage, output=path, expected=expected_md5, got=got_md5, mark=mark))
    return found


def _mark(expected: str | None, got: str | None, *, statistical: bool) -> Mark:
    if expected == got:
        return "ok"
    return "differs (statistical)" if statistical and None not in (expected, got) else "DIFFERS"


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


def _project_holds(again: Rerun, stage: str, path: str) -> bool:
    """Return whether the project's own copy of an output is the committed one."""
    tree = DiskTree(again.project.root)
    return tree.holds(path) and dvc_md5(tree, path) == locked_outs(again.expected[stage]).get(path)


def _place_episodes(again: Rerun, folder: Path) -> Path:
    """Bring the committed episodes from the project's DVC cache."""
    entry = again.expected["evaluate"]
    outs = [out for out in entry["outs"] if out["path"] == EPISODES]
    DvcStore(again.project.root).place({"evaluate": {"cmd": entry["cmd"], "outs": outs}}, folder)
    return folder / EPISODES


def _returns(path: Path) -> list[float]:
    episodes = read_episodes_csv(path).get("deterministic")
    if not episodes:
        raise ContractError(f"{path} holds no episodes of the deterministic policy. Run the evaluate stage.")
    return [episode.episode_return for episode in episodes]
