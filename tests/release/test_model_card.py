"""The model card of a version: what it shows, that it is deterministic, and how it is kept short."""

import json
from pathlib import Path

import pytest
from bundle_factories import make_runtime, term_tree
from factories import make_bundle, make_onnx, make_spec

from sacpipe.core.errors import BundleError
from sacpipe.project.workspace import Workspace
from sacpipe.release.model_card import MAX_CHARS, model_card
from sacpipe.release.verdict import Finding, Scores, Verdict
from sacpipe.tracking.registry import VersionRecord


def finding(rule: str, expected: str, found: str, ok: bool) -> Finding:
    return Finding(
        rule=rule, expected=expected, found=found, ok=ok, figure=1.0, threshold=2.0, unit="", advice=""
    )


def verdict(*findings: Finding) -> Verdict:
    return Verdict(
        format_version=1,
        accepted=all(one.ok for one in findings),
        mode="enforce",
        model="Reach",
        version=3,
        candidate="a" * 64,
        champion="e" * 64,
        commit=None,
        findings=findings,
        episodes=40,
        time="2026-01-01T00:00:00Z",
        scores=Scores(candidate=(), champion=()),
    )


VERDICT = verdict(
    finding("floor", "at least 9,300", "155 | <b>low</b>", ok=False),
    finding("delay", "at least 9,000", "9,100", ok=True),
)


def version(number: int = 3) -> VersionRecord:
    tags = {"sacpipe.bundle_digest": "a" * 64, "sacpipe.policy_sha256": "b" * 64, "sacpipe.commit": "c" * 40}
    return VersionRecord("Reach", number, "run", "model", tags, ())


def outputs(root: Path, *, names: int = 1, evaluations: int = 5) -> Workspace:
    """The outputs of a project whose policy has `names` observation terms."""
    workspace = Workspace(root)
    terms = [term_tree(f"sensor_{n:03}_of_a_long_name", 1) for n in range(names)]
    spec = make_spec(2, [(-1.0, 2.5)], observation=terms)
    model = make_onnx([[0.001]] * names, terms={term["name"]: 1 for term in terms})
    runtime = make_runtime(guards=[{"name": "shape", "fallback": "stop"}]).as_tree()
    make_bundle(workspace.bundle, model, spec, [[1.0] * names], [[0.001 * names]], runtime=runtime)
    returns = {"return_mean": 9359.81, "return_ci_low": 9300.0, "return_ci_high": 9400.5, "episodes": 20}
    returns |= {"return_min": 1.0, "return_max": 9999.0}
    workspace.evaluate.mkdir(parents=True)
    workspace.evaluate_metrics.write_text(json.dumps({"bundle": returns}))
    workspace.train.mkdir(parents=True)
    rows = [
        {"env_steps": 100 * n, "gradient_steps": n, "evaluation/deterministic/return_mean": n * n}
        for n in range(evaluations)
    ]
    workspace.train_rows.write_text("".join(json.dumps(row) + "\n" for row in rows))
    params = {"params.yaml": {"evaluation": {"confidence": 0.95}}}
    evaluate = {"cmd": "x", "params": params, "outs": []}
    train_params = {"params.yaml": {"replay": {"initial_pool": {"sha256": "f" * 64, "share": 0.5}}}}
    train = {
        "cmd": "x",
        "params": train_params,
        "outs": [{"path": "out/train/pool", "md5": "d" * 32 + ".dir"}],
    }
    entries = {"train": train, "evaluate": evaluate}
    workspace.dvc_lock.write_text(json.dumps({"schema": "2.0", "stages": entries}))
    return workspace


def test_a_card_says_what_a_version_is_and_what_was_not_tested(tmp_path: Path) -> None:
    workspace = outputs(tmp_path)
    card = model_card(workspace, version(), VERDICT)
    for part in (
        "# Reach version 3",
        "example/Reach-v0, algorithm sac. Bundle `" + "a" * 64,
        "mean 9,359.81, 95 % interval 9,300 to 9,400.5, over 20 episodes; lowest 1, highest 9,999.",
        "**Refused**, in mode `enforce`, by 40 episodes; champion eeeeeeeeeeee.",
        r"| floor | 155 \| &lt;b>low&lt;/b> | at least 9,300 | **refused** |",
        "| delay | 9,100 | at least 9,000 | ok |",
        "    sacpipe serve models:/Reach/3",
        "Not tested: a robot, because every return here is of a simulator; noise of the sensors; "
        "observations that do not arrive; changed masses; changed friction; the time of a step.",
        "(name: fallback): shape: stop.",
        "| training, out/train/pool (md5) | `" + "d" * 32 + ".dir` |",
        "| initial, data/pool (SHA-256 of its manifest) | `" + "f" * 64 + "` |",
        "| commit | `" + "c" * 40 + "` |",
        "Control period: 0.02 s. Time limit: 100 steps.",
        "| joint_0 | N m | -1 | 2.5 |",
        "| sensor_000_of_a_long_name | 1 | float32 | m | -10 | 10 |",
        "    ▁▁▃▅█",  # 0, 1, 4, 9, 16: rounds of 7 x value / 16
        "| 400 | 16 |",
    ):
        assert part in card
    assert "\n\n\n" not in card
    assert "sacpipe promote" not in card  # it was refused
    assert card == model_card(workspace, version(), VERDICT)
    assert str(tmp_path) not in card


def test_a_card_without_a_verdict_and_without_an_evaluation_says_so(tmp_path: Path) -> None:
    workspace = outputs(tmp_path, evaluations=0)
    workspace.evaluate_metrics.unlink()
    card = model_card(workspace, version())
    assert "**Return**: not known" in card
    assert "This version was not judged." in card
    assert '    sacpipe promote 3 --reason "WHY"' in card
    assert "Learning curve" not in card


@pytest.mark.parametrize(("names", "shown"), [(10, 10), (60, 32), (500, 32)])
def test_a_long_table_loses_its_last_rows_and_a_line_says_how_many(
    tmp_path: Path, names: int, shown: int
) -> None:
    card = model_card(outputs(tmp_path, names=names, evaluations=400), version(), VERDICT)
    assert len(card) <= MAX_CHARS
    assert card.count("| sensor_") == shown
    assert (f"*{names - shown} more are in contract.json.*" in card) == (names > shown)
    assert card.endswith("| 39,900 | 159,201 |\n")


def test_a_card_that_no_table_makes_short_enough_is_cut_at_a_line_and_says_so(tmp_path: Path) -> None:
    own = verdict(*[finding("own", "x" * 300, "y", ok=True)] * 30)
    card = model_card(outputs(tmp_path), version(), own)
    assert len(card) <= MAX_CHARS
    assert card.endswith("x | ok |\n\n*This card was cut at 5,000 characters.*\n")


def test_a_missing_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        model_card(Workspace(tmp_path), version())
