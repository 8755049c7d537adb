"""Gymnasium's pendulum with a mass that differs by episode: the policy does not know it, critics may."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from numpy.typing import NDArray

_LOWEST_KG, _HIGHEST_KG = 0.6, 1.6


class HiddenMassPendulum(PendulumEnv):
    """The pendulum with a mass of 0.6 to 1.6 kg, drawn at each reset.

    Args:
        critics_know: Whether the critics see the mass.
    """

    def __init__(self, *, critics_know: bool = True, **options: Any) -> None:
        super().__init__(**options)
        limits = np.float32([_LOWEST_KG]), np.float32([_HIGHEST_KG])
        self._state_space = self.observation_space
        spaces = {"state": self._state_space, "mass_kg": gymnasium.spaces.Box(*limits, dtype=np.float32)}
        self.observation_space = gymnasium.spaces.Dict(spaces if critics_know else {"state": spaces["state"]})
        self.observation_groups = {"mass_kg": ["critic"]} if critics_know else {}
        self._critics_know = critics_know

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Draw the mass after the state."""
        observation, info = super().reset(seed=seed, options=options)
        self.m = float(self.np_random.uniform(_LOWEST_KG, _HIGHEST_KG))
        return self._seen(observation), info

    def step(self, u: NDArray[np.float32]) -> Any:
        """Make one step."""
        observation, *others = super().step(u)
        return (self._seen(observation), *others)

    def _seen(self, observation: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        seen = {"state": observation}
        return seen | ({"mass_kg": np.float32([self.m])} if self._critics_know else {})


gymnasium.register("HiddenMassPendulum-v0", entry_point=HiddenMassPendulum, max_episode_steps=200)
