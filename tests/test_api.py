"""The public API: what it costs to import, and that a notebook gets what the stages give."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sacpipe
from sacpipe.core.errors import (
    ConfigError,
    DivergenceError,
    InterruptedRunError,
    ObservationError,
    StageError,
    UnknownTaskError,
)
from sacpipe.core.files import sha256_file
from sacpipe.evaluation.episodes_csv import read_episodes_csv
from sacpipe.training.child import train_in_child

OUTPUTS = ("policy.safetensors", "pool/manifest.json", "metrics.json", "metrics.jsonl")


def digests(folder, curve=None):
    found = {name: sha256_file(folder / name) for name in OUTPUTS}
    return found | {"curve": sha256_file(curve or folder / "curve.csv")}


def run_python(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def test_importing_it_loads_nothing_but_the_standard_library():
    code = (
        "import sys; import sacpipe; print({name.partition('.')[0] for name in sys.modules}"
        " - sys.stdlib_module_names - {'sacpipe', '__main__'} or '')"
    )
    out = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert out.strip() == ""


def test_every_public_name_is_there_and_no_other():
    assert sacpipe.__all__ == sorted(sacpipe.__all__) == dir(sacpipe)
    assert all(getattr(sacpipe, name) is not None for name in sacpipe.__all__)
    with pytest.raises(AttributeError, match="no attribute 'trian'; public are .*train"):
        _ = sacpipe.trian


@pytest.mark.slow
class TestTrain:
    def test_it_gives_the_stages_bytes_whatever_the_notebook_set(self, finished, tmp_path):
        before = torch.get_num_threads(), torch.get_float32_matmul_precision()
        torch.set_num_threads(2)
        torch.set_float32_matmul_precision("high")
        try:
            report = sacpipe.train(finished / "params.yaml", tmp_path)
            assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == (2, "high")
        finally:
            torch.set_num_threads(before[0])
            torch.set_float32_matmul_precision(before[1])
        assert digests(tmp_path) == digests(finished / "out" / "train", finished / "results" / "curve.csv")
        assert report.as_tree() == json.loads((finished / "out" / "train" / "metrics.json").read_text())

    def test_progress_ends_at_the_last_step(self, small_train_params, tmp_path):
        steps = []

        class Progress:
            def update(self, env_steps, latest_return):
                steps.append((env_steps, latest_return))

        report = sacpipe.train(
            small_train_params.as_tree() | {"release": "ignored"}, tmp_path, progress=Progress()
        )
        assert steps == sorted(steps)
        assert steps[-1] == (report.env_steps, report.return_mean_deterministic)

    @pytest.mark.parametrize("to", ["child", "parent"])
    def test_killed_it_continues_to_the_same_bytes(self, small_train_params, tmp_path, to):
        """The parent's end is the end of the child's stdin: it writes a checkpoint and stops."""
        sacpipe.train(small_train_params, tmp_path / "whole")
        code = (
            "import json, os, signal, subprocess, sys, sacpipe\n"
            "class Kill:\n"
            "    def update(self, env_steps, latest_return):\n"
            "        children = subprocess.run(['pgrep', '-P', str(os.getpid())], capture_output=True, text=True)\n"
            "        child = int(children.stdout.split()[0])\n"
            "        print(child, flush=True)\n"
            "        os.kill(child if sys.argv[3] == 'child' else os.getpid(), signal.SIGKILL)\n"
            "sacpipe.train(json.loads(sys.argv[1]), sys.argv[2], progress=Kill())\n"
        )
        params = json.dumps(small_train_params.as_tree())
        parent = run_python(code, params, tmp_path / "killed", to)
        child = int(parent.stdout.readline())
        assert parent.wait() != 0
        if to == "parent":
            wait_until_gone(child)
        assert not (tmp_path / "killed" / "metrics.json").exists()
        sacpipe.train(small_train_params, tmp_path / "killed")
        assert digests(tmp_path / "killed") == digests(tmp_path / "whole")

    def test_a_child_that_dies_is_named_with_its_signal(self, small_train_params, tmp_path):
        class Kill:
            def update(self, env_steps, latest_return):
                pids = subprocess.run(
                    ["pgrep", "-f", "sacpipe.training.child"], capture_output=True, text=True, check=True
                )
                mine = {int(pid) for pid in pids.stdout.split() if parent_of(pid) == os.getpid()}
                for pid in mine:
                    os.kill(pid, signal.SIGKILL)

        with pytest.raises(StageError, match=r"the training process died: signal 9\."):
            train_in_child(small_train_params, tmp_path, progress=Kill())

    def test_ctrl_c_keeps_a_checkpoint_and_the_same_call_continues(self, small_train_params, tmp_path):
        class Interrupt:
            def update(self, env_steps, latest_return):
                raise KeyboardInterrupt

        sacpipe.train(small_train_params, tmp_path / "whole")
        with pytest.raises(InterruptedRunError, match="the same call continues"):
            sacpipe.train(small_train_params, tmp_path / "stopped", progress=Interrupt())
        assert list((tmp_path / "stopped").glob("work/*/checkpoints/step-*"))
        sacpipe.train(small_train_params, tmp_path / "stopped")
        assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")

    def test_what_training_raises_is_raised_here(self, small_train_params, tmp_path):
        wrong = small_train_params.as_tree()
        wrong["task"]["id"] = "point-mas-v0"
        with pytest.raises(UnknownTaskError, match=r"Did you mean point_mass/point-mass-v0\?"):
            sacpipe.train(wrong, tmp_path)
        diverging = small_train_params.as_tree()
        diverging["algorithm"]["critic_learning_rate"] = 1e38
        with pytest.raises(DivergenceError, match="step"):
            sacpipe.train(diverging, tmp_path)

    @pytest.mark.parametrize(
        ("section", "change", "message"),
        [
            ("training", {"total_steps": "many"}, r"params: training\.total_steps: .*found 'many'"),
            ("training", {"extends": "ab" * 32}, r"training\.extends: expected null.*found abababababab"),
            ("replay", {"initial_pool": {"sha256": "ab" * 32, "share": 0.5}}, "Pass initial_pool=FOLDER"),
            (
                "training",
                {"warm_start": {"sha256": "ab" * 32, "parts": "all", "first_actions": "policy"}},
                "Pass warm_start=FOLDER",
            ),
        ],
    )
    def test_wrong_params_are_refused_before_a_process_starts(
        self, small_train_params, tmp_path, section, change, message
    ):
        tree = small_train_params.as_tree()
        tree[section] |= change
        with pytest.raises(ConfigError, match=message):
            sacpipe.train(tree, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestPolicies:
    def test_a_bundle_is_evaluated_on_the_stages_episodes(self, finished, monkeypatch):
        monkeypatch.chdir(finished)
        expected = read_episodes_csv(finished / "results" / "episodes.csv")["bundle"]
        policy = sacpipe.load_policy(finished / "out" / "export" / "bundle")
        assert sacpipe.evaluate(policy, episodes=len(expected), seed=1) == expected
        assert sacpipe.load_policy().sha256 == policy.sha256

    def test_a_policy_file_acts_as_its_bundle_in_task_units(self, finished):
        bundle = sacpipe.load_policy(finished / "out" / "export" / "bundle")
        file = sacpipe.load_policy(finished / "out" / "train" / "policy.safetensors")
        assert (bundle.kind, file.kind) == ("bundle", "deterministic")
        numbers = np.linspace(-1, 1, file.spec.observation_dim, dtype=np.float32)
        observation = {"position": numbers[:2], "velocity": numbers[2:]}
        span = file.spec.action_high - file.spec.action_low
        assert (np.abs(bundle.act(observation) - file.act(observation)) <= 1e-5 * span).all()
        assert (file.act(file.spec.layout.pack(observation)) == file.act(observation)).all()
        for wrong in ({"position": numbers[:2]}, numbers, observation | {"velocity": numbers}):
            with pytest.raises(ObservationError, match="expected an observation of point_mass/point-mass-v0"):
                file.act(wrong)

    def test_arguments_that_do_not_fit_are_refused(self, finished):
        bundle = finished / "out" / "export" / "bundle"
        with pytest.raises(ConfigError, match="this bundle holds the deterministic policy only"):
            sacpipe.load_policy(bundle, stochastic=True)
        with pytest.raises(ConfigError, match="episodes: expected at least 1, found 0"):
            sacpipe.evaluate(sacpipe.load_policy(bundle), episodes=0)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until_gone(pid):
    """Wait for a process that is no child of this one."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        select.select([descriptor], [], [])
        os.close(descriptor)
