"""One peer, trained for a speed or for a curve.

    contender.py speed PEER TASK                     for each `go SECONDS` on standard input, steps and
                                                     seconds on standard output
    contender.py learn PEER TASK STEPS SEED FOLDER   writes FOLDER/curve.json

Runs in the peers' own environment, so it imports nothing of sacpipe. Every peer gets the same task, the
same sizes (256x256, batch 256, one update a step) and its own way of doing the rest.
"""

import json
import os
import sys
import time
from pathlib import Path

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
        """Begin the next episode; the task's own stream says where."""
        super().reset(seed=seed, options=options)
        return self._flat(self._task.reset().observation), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Take one step; the suite terminates only where its discount is zero."""
        moment = self._task.step(action)
        terminated = moment.last() and moment.discount == 0.0
        truncated = moment.last() and not terminated
        return self._flat(moment.observation), float(moment.reward), terminated, truncated, {}


def make_task(name: str, seed: int) -> gymnasium.Env:
    """Return `gymnasium/ID` or `dm_control/DOMAIN-TASK`."""
    suite, _, rest = name.partition("/")
    return gymnasium.make(rest) if suite == "gymnasium" else SuiteTask(*rest.split("-", 1), seed)


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
    if peer == "stable-baselines3-td3":
        import torch
        from stable_baselines3 import TD3
        from stable_baselines3.common.noise import NormalActionNoise

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        size = task.action_space.shape[0]
        settings |= {
            "action_noise": NormalActionNoise(
                np.zeros(size), np.full(size, 0.1)
            ),  # the paper's; SB3 has none
            "learning_rate": 1e-3,  # TD3's default in SB3 and in its paper
            "policy_kwargs": {"net_arch": [256, 256]},
        }
        return TD3("MlpPolicy", task, device="cpu", **settings)
    if peer == "stable-baselines3":
        import torch
        from stable_baselines3 import SAC

        torch.set_num_threads(len(os.sched_getaffinity(0)))
        return SAC("MlpPolicy", task, device="cpu", policy_kwargs={"net_arch": [256, 256]}, **settings)
    from sbx import SAC

    return SAC("MlpPolicy", task, policy_kwargs={"net_arch": [256, 256]}, **settings)


def speed(model: object) -> None:
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


def learn(model: object, task: str, steps: int, seed: int, folder: Path) -> None:
    """Train with twenty evaluations of ten deterministic episodes; the clock stands still meanwhile."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Curve(BaseCallback):
        def __init__(self) -> None:
            super().__init__()
            self.points: list[dict[str, float]] = []
            self.task = make_task(task, seed + 1000)
            self.away = 0.0
            self.start = time.perf_counter()

        def _play(self, episode: int) -> float:
            observation, _ = self.task.reset(seed=10_000 * seed + episode)
            total, over = 0.0, False
            while not over:
                action, _ = self.model.predict(observation, deterministic=True)
                observation, reward, terminated, truncated, _ = self.task.step(action)
                total, over = total + float(reward), terminated or truncated
            return total

        def _on_step(self) -> bool:
            if self.num_timesteps % (steps // 20) == 0:
                now = time.perf_counter()
                mean = float(np.mean([self._play(episode) for episode in range(10)]))
                spent = round(now - self.start - self.away, 1)
                self.points.append({"env_steps": self.num_timesteps, "return_mean": mean, "seconds": spent})
                self.away += time.perf_counter() - now
            return True

    curve = Curve()
    model.learn(steps, callback=curve)
    (folder / "curve.json").write_text(json.dumps({"points": curve.points}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["speed", peer, task]:
            speed(make_model(peer, make_task(task, 0), 0, 300))
        case ["learn", peer, task, steps, seed, folder]:
            model = make_model(peer, make_task(task, int(seed)), int(seed), 10_000)
            learn(model, task, int(steps), int(seed), Path(folder))
        case _:
            sys.exit(__doc__)
