"""HalfCheetah whose step takes 30 ms of waiting, as a slow simulator's: `slowed:SlowedCheetah-v0`."""

import time
from typing import Any

import gymnasium
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

STEP_S = 0.030


class SlowedCheetah(HalfCheetahEnv):
    """Waits until a step has taken 30 ms. It needs no core meanwhile, unlike most simulators."""

    def step(self, action: Any) -> Any:
        """Take a step, then wait."""
        until = time.monotonic() + STEP_S
        found = super().step(action)
        time.sleep(max(0.0, until - time.monotonic()))
        return found


gymnasium.register("SlowedCheetah-v0", entry_point="slowed:SlowedCheetah", max_episode_steps=25)
