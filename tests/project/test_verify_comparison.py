"""How outputs and returns of two runs are compared, and what decides the tier."""

import hashlib
import shutil

import pytest

from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.project.verification_run import verification_run
from sacpipe.project.verify import compare_locks, compare_returns, is_same, is_statistical
from sacpipe.project.workspace import STAGES, Workspace

EVALUATION = EvaluationConfig.parse(
    {"episodes": 8, "bootstrap_resamples": 500, "confidence": 0.95, "video": None}
)
STATISTICAL = {f"out/{stage}/x": "differs (statistical)" for stage in STAGES}


def locks(**changes):
    expected = {stage: {"outs": [{"path": f"out/{stage}/x", "md5": stage}]} for stage in STAGES}
    got = {stage: {"outs": [dict(out) for out in entry["outs"]]} for stage, entry in expected.items()}
    for stage, outs in changes.items():
        got[stage]["outs"] = outs
    return expected, got


def marks(allowed, **changes):
    found = compare_locks(*locks(**changes), allowed)
    return {(one.output, one.expected, one.got): one.mark for one in found if one.mark != "ok"}


def test_an_output_that_is_missing_or_new_differs_in_every_tier():
    assert is_same(compare_locks(*locks(), {}), None)
    assert not is_same(compare_locks(*locks(export=[]), {}), None)
    for allowed in ({}, STATISTICAL, {"out/export/x": "differs (processor)"}):
        assert marks(allowed) == {}
        assert marks(allowed, export=[]) == {("out/export/x", "export", None): "DIFFERS"}
        more = [{"path": "out/export/x", "md5": "export"}, {"path": "out/export/y", "md5": "y"}]
        assert marks(allowed, export=more) == {("out/export/y", None, "y"): "DIFFERS"}
    other = [{"path": "out/train/x", "md5": "other"}]
    assert marks({}, train=other) == {("out/train/x", "train", "other"): "DIFFERS"}
    assert marks(STATISTICAL, train=other) == {("out/train/x", "train", "other"): "differs (statistical)"}
    assert marks({"out/export/x": "differs (processor)"}, train=other) == marks({}, train=other)


def test_returns_are_the_same_where_the_interval_holds_zero():
    committed = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    near = compare_returns([value + 0.5 for value in committed], committed, EVALUATION, 1)
    assert near.holds
    assert (near.committed_mean, near.fresh_mean) == (3.5, 4.0)
    # The mean of 8 such returns has a standard error of 2.29 / sqrt(8) = 0.81, a difference of two 1.15:
    # the interval is about 0.5 -+ 1.96 * 1.15.
    assert near.low == pytest.approx(-1.75, abs=0.4)
    assert near.high == pytest.approx(2.75, abs=0.4)
    far = compare_returns([value - 5.0 for value in committed], committed, EVALUATION, 1)
    assert not far.holds
    assert far.high < 0.0
    differing = compare_locks(*locks(train=[{"path": "out/train/x", "md5": "other"}]), STATISTICAL)
    assert is_same(differing, near)
    assert not is_same(differing, far)
    assert compare_returns([2.0, 2.0], [2.0], EVALUATION, 1).holds
    assert compare_returns([2.0, 2.0], [2.0], EVALUATION, 1).low == 0.0


def test_a_statistical_result_on_either_side_decides_the_tier(toy):
    """The project's own metrics.json counts only while it is the committed file."""
    statistical = '{"determinism": "statistical"}'
    with verification_run(Workspace(toy)) as run:
        shutil.copytree(toy / "out", run.fresh.root / "out")
        assert not is_statistical(run)
        run.project.train_metrics.write_text(statistical)
        assert not is_statistical(run)
        (committed,) = (
            out for out in run.expected["train"]["outs"] if out["path"] == "out/train/metrics.json"
        )
        committed["md5"] = hashlib.md5(statistical.encode(), usedforsecurity=False).hexdigest()
        assert is_statistical(run)
        run.project.train_metrics.unlink()
        assert not is_statistical(run)
        run.fresh.train_metrics.write_text(statistical)
        assert is_statistical(run)
