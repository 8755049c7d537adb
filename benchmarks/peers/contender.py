"""One peer, trained on command: `go SECONDS` on standard input, steps and seconds on standard output.

Runs in the peers' own environment, so it imports nothing of sacpipe. Every peer gets the same task, the
same sizes (256x256, batch 256, one update a step) and its own way of doing the rest.
"""

import argparse
import json
import os
import sys
import time

import gymnasium
import numpy as np


class SuiteTask(gymnasium.Env):
    """A dm_control task as a Gymnasium environment: flat float32 observations, as both peers want them."""

    def __init__(self, domain: str, task: str, seed: int) -> None:
        from dm_control import suite

        self._task = suite.load(domain, task, task_kwargs={"random": seed})
        action = self._task.action_spec()
        self.action_space = gymnasium.spaces.Box(
            action.minimum.astype(np.float32), action.maximum.astype(np.float32)
        )
        size = sum(int(np.prod(spec.shape)) for spec in self._task.observation_spec().values())
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def _flat(self, observation: dict) -> np.ndarray:
        return np.concatenate([np.ravel(value) for value in observation.values()]).astype(np.float32)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return self._flat(self._task.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        moment = self._task.step(action)
        terminated = moment.last() and moment.discount == 0.0
        truncated = moment.last() and not terminated
        return self._flat(moment.observation), float(moment.reward), terminated, truncated, {}


def make_task(name: str, seed: int) -> gymnasium.Env:
    """Return `gymnasium/ID` or `dm_control/DOMAIN-TASK`."""
    universe, _, rest = name.partition("/")
    return gymnasium.make(rest) if universe == "gymnasium" else SuiteTask(*rest.split("-", 1), seed)


def make_model(peer: str, task: gymnasium.Env, seed: int, random_steps: int) -> object:
    """Return a peer's learner with its own defaults beside the sizes all share."""
    settings = {
        "batch_size": 256,
        "buffer_size": 1_000_000,
        "gradient_steps": 1,
        "learning_rate": 3e-4,
        "learning_starts": random_steps,
        "seed": seed,
        "train_freq": 1,
        "verbose": 0,
    }
    if peer == "stable-baselines3":
        import torch
        from stable_baselines3 import SAC

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        return SAC("MlpPolicy", task, device="cpu", policy_kwargs={"net_arch": [256, 256]}, **settings)
    from sbx import SAC

    return SAC("MlpPolicy", task, policy_kwargs={"net_arch": [256, 256]}, **settings)


def speed(model: object, task: str) -> None:
    """Train for as long as each line says."""
    from stable_baselines3.common.callbacks import BaseCallback

    class UntilTime(BaseCallback):
        end = 0.0

        def _on_step(self) -> bool:
            return time.perf_counter() < self.end

    until = UntilTime()
    for line in sys.stdin:
        seconds = float(line.split()[1])
        first, start = model.num_timesteps, time.perf_counter()
        until.end = start + seconds
        model.learn(10**9, callback=until, reset_num_timesteps=False)
        row = {"steps": model.num_timesteps - first, "seconds": time.perf_counter() - start}
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=["stable-baselines3", "sbx"])
    parser.add_argument("task")
    arguments = parser.parse_args()
    speed(make_model(arguments.peer, make_task(arguments.task, 0), 0, 300), arguments.task)
