"""`sacpipe verify` compares what a commit gives in another folder with what its dvc.lock names.

One test runs the real graph. The others run a toy graph of the same three stages whose `pipelines` package
is not the installed one, so that only the commit's own code can make its outputs.
"""

import json
import re
import shutil
import signal
import subprocess
import sys

import pytest
from small_project import environment, git
from toy_project import commit, edit, left, snapshot

from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.processor_kind import record_kind, this_processor
from sacpipe.project.stage_key import locked_inputs
from sacpipe.project.terminal import termination_as_interrupt
from sacpipe.project.workspace import STAGES, Workspace


def rows(seen):
    """Return the mark of each output in the table."""
    lines = [re.split(r"  +", line) for line in seen.out.splitlines()]
    return {line[1]: line[4] for line in lines if line[0] in STAGES}


@pytest.mark.acceptance
def test_a_real_result_is_reproduced_whatever_edits_are_uncommitted(project, call, scratch):
    (project / "sacpipe" / "training" / "loop.py").write_text("raise SystemExit('an unfinished edit')\n")
    edit(project / "params.yaml", "seed: 1 ", "seed: 2 ")
    before = snapshot(project)
    seen = call(project, "verify")
    assert seen.code == 0, seen.out + seen.err
    outputs = {out["path"] for entry in read_lock(project / "dvc.lock").values() for out in entry["outs"]}
    assert rows(seen) == dict.fromkeys(outputs, "ok")
    assert f"{len(outputs)} of {len(outputs)} outputs" in seen.out
    assert re.search("^not in commit .*: params.yaml, sacpipe/training/loop.py$", seen.err, re.MULTILINE)
    assert [f"{stage}: ran" in seen.err for stage in STAGES] == [True] * 3
    assert "Running stage" not in seen.err
    assert snapshot(project) == before
    assert left(scratch) == []


def test_other_code_and_another_digest_are_named(toy, committed_toy, call, scratch, monkeypatch):
    """The commit changed the policy without a new result, and one digest of its dvc.lock was edited."""
    edit(toy / "pipelines" / "stages" / "train.py", "gain 1", "gain 2")
    digest = read_lock(toy / "dvc.lock")["train"]["outs"][-1]["md5"]
    edit(toy / "dvc.lock", digest, "0" * 32 + ".dir")
    commit(toy)
    cache = snapshot(committed_toy, ".dvc/cache")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # an operator's setting must not select the installed code
    seen = call(toy, "verify", "--json", "--keep")
    assert seen.code == 1, seen.err
    found = {row["output"]: row for row in json.loads(seen.out)}
    assert {path: row["mark"] for path, row in found.items()} == {
        "out/train/metrics.json": "ok",
        "out/train/policy.safetensors": "DIFFERS",
        "out/train/pool": "DIFFERS",
        "out/export/bundle": "DIFFERS",
        "results/episodes.csv": "ok",
    }
    assert found["out/train/pool"] == {
        "stage": "train",
        "output": "out/train/pool",
        "expected": "0" * 32 + ".dir",
        "got": digest,
        "mark": "DIFFERS",
    }
    assert "was made from other inputs (train: pipelines/stages/train.py)" in seen.err
    assert "not in commit" not in seen.err
    (kept,) = left(scratch)
    assert f"kept: {kept}" in seen.err
    assert (kept / "out" / "train" / "policy.safetensors").read_text() == "gain 2"
    assert snapshot(committed_toy, ".dvc/cache") == cache


def test_a_statistical_result_is_compared_by_its_returns(toy, call, scratch):
    """Other bytes each time, about the same returns; no cache is needed for the committed episodes."""
    edit(toy / "pipelines" / "stages" / "train.py", '"gain 1", "exact"', 'os.urandom(8).hex(), "statistical"')
    edit(toy / "pipelines" / "stages" / "evaluate.py", "float(n)}", "n + 0.25}")
    commit(toy)
    shutil.rmtree(toy / "out")
    (toy / ".dvc" / "config").write_text("[core]\n analytics = false\n")
    before = snapshot(toy)
    seen = call(toy, "verify")
    assert seen.code == 0, seen.out + seen.err
    marks = rows(seen)
    assert marks.pop("out/train/pool") == "ok"
    assert set(marks.values()) == {"differs (statistical)"}
    line = seen.out.splitlines()[-1]
    assert re.fullmatch(
        r"deterministic return: committed 3.5, fresh 3.75; 95 % interval of the difference \[-\d.*, \d.*\] "
        "holds 0: the same result",
        line,
    )
    assert {path for path, kept in snapshot(toy).items() if before.get(path) != kept} <= {".dvc/tmp/rwlock"}
    assert left(scratch) == []


def record_kinds(toy, **changed):
    """Write results/kind.yaml for the runs in the toy's dvc.lock, on another kind of processor where named."""
    for stage, entry in read_lock(toy / "dvc.lock").items():
        kind = this_processor().replace(**changed.get(stage, {}))
        record_kind(Workspace(toy), stage, locked_inputs(entry).key, kind)


OTHER = {"model": "99", "name": "A processor", "instructions": "avx2 fma"}


def test_a_result_of_another_processor_is_compared_by_its_returns(toy, call, scratch):
    """What the other processor computed and what reads it may have other bytes; what came before may not."""
    record_kinds(toy, train=OTHER, export=OTHER, evaluate=OTHER)
    edit(toy / "pipelines" / "stages" / "train.py", '"gain 1"', '"gain 2"')
    edit(toy / "pipelines" / "stages" / "evaluate.py", "float(n)}", "n + 0.25}")
    commit(toy)
    seen = call(toy, "verify")
    assert seen.code == 0, seen.out + seen.err
    assert rows(seen) == {
        "out/train/metrics.json": "ok",
        "out/train/policy.safetensors": "differs (processor)",
        "out/train/pool": "ok",
        "out/export/bundle": "differs (processor)",
        "results/episodes.csv": "differs (processor)",
    }
    (line,) = (line for line in seen.err.splitlines() if "computed on" in line)
    assert line.startswith("train, export, evaluate was computed on A processor; this processor is ")
    assert "model 99 there and " in line
    names = "out/train/metrics.json, out/train/policy.safetensors, out/train/pool, out/export/bundle, "
    assert f"other bytes are allowed of {names}results/episodes.csv, and returns are compared" in line
    assert "holds 0: the same result" in seen.out
    assert not re.search("differs .statistical|DIFFERS", seen.out)

    edit(toy / "pipelines" / "stages" / "evaluate.py", "n + 0.25}", "n + 25.0}")
    commit(toy)
    seen = call(toy, "verify")
    assert (seen.code, "does not hold 0: another result" in seen.out) == (1, True)

    record_kinds(toy, evaluate=OTHER)
    commit(toy)
    seen = call(toy, "verify")
    found = rows(seen)
    assert (found["out/train/policy.safetensors"], found["results/episodes.csv"]) == (
        "DIFFERS",
        "differs (processor)",
    )
    assert seen.code == 1


def test_the_kind_of_another_run_excuses_nothing(toy, call, scratch):
    """A restored stage leaves the file with the kind of the run before, under that run's key."""
    record_kind(Workspace(toy), "train", "0" * 64, this_processor().replace(**OTHER))
    edit(toy / "pipelines" / "stages" / "train.py", '"gain 1"', '"gain 2"')
    commit(toy)
    seen = call(toy, "verify")
    assert seen.code == 1
    assert rows(seen)["out/train/policy.safetensors"] == "DIFFERS"
    assert "computed on" not in seen.err


def test_results_that_are_not_those_of_the_commits_lock_are_refused(toy, call, scratch):
    edit(toy / "results" / "episodes.csv", "deterministic,0,0,0.0", "deterministic,0,0,9.0")
    commit(toy)
    seen = call(toy, "verify")
    assert seen.code == 2
    assert re.search(
        r"results/episodes\.csv in commit \w{12}: expected md5 \w{32}, .*, found \w{32}\.", seen.err
    )
    git(toy, "rm", "--quiet", "-r", "results")
    commit(toy)
    seen = call(toy, "verify")
    assert (seen.code, "found no such file" in seen.err) == (2, True)
    (toy / "results").mkdir()
    (toy / "results" / "kind.yaml").write_text("<<<<<<< HEAD\n")
    git(toy, "checkout", "--quiet", "HEAD~2", "--", "results/episodes.csv")
    commit(toy)
    seen = call(toy, "verify")
    assert (seen.code, "git checkout results/kind.yaml" in seen.err) == (2, True), seen.err
    assert left(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(toy, scratch, number):
    (toy / "pipelines" / "stages" / "train.py").write_text(
        "import signal\nprint('at work', flush=True)\nsignal.pause()\n"
    )
    commit(toy)
    with subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "sacpipe.cli.main",
            "verify",
        ],  # the installed command, not the toy's package
        cwd=toy,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert any(line == "at work\n" for line in process.stderr)
        assert len(left(scratch)) == 1
        process.send_signal(number)
        messages = process.stderr.read()
        assert process.wait() == 3
    assert "verification was interrupted" in messages
    assert left(scratch) == []


def test_without_a_commit_or_a_whole_result_there_is_nothing_to_verify(toy, call, scratch):
    shutil.rmtree(toy / ".git")
    seen = call(toy, "verify")
    assert (seen.code, "has no git commit to verify" in seen.err) == (2, True)
    git(toy, "init", "--quiet")
    for stages, message in [
        ({"evaluate"}, r"dvc\.lock in commit \w{12} lacks stage 'evaluate'"),
        (None, r"dvc\.lock is not in commit \w{12}"),
    ]:
        lock = read_lock(toy / "dvc.lock")
        if stages is None:
            (toy / "dvc.lock").unlink()
        else:
            kept = {name: entry for name, entry in lock.items() if name not in stages}
            (toy / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": kept}))
        commit(toy)
        seen = call(toy, "verify")
        assert seen.code == 2
        assert re.search(message, seen.err), seen.err
    assert left(scratch) == []


def test_termination_is_an_interrupt_only_meanwhile():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
