"""Made-up episodes whose every observation is unique, for the contract test of a sampler."""

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ContractError
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, RecordedRewards, Transition
from sacpipe.specs.terms import BOTH, Group, Term, vector_term

_ENDS = ((False, True), (True, False), (True, True), (False, False))
"""Terminated and truncated at the end of an episode, in turn; the last one breaks off without an end."""
_LENGTHS = (5, 1, 8, 3, 2, 13)
_PLACES_PER_PIXEL = 251
_NEAR = 0.5
"""Distance to a goal at which an episode terminates, if the goal is another than the recorded one."""


def walk_spec(*, goals: bool, image: bool) -> EnvSpec:
    """Return a task with a vector, and with terms of a goal and an image if asked for."""
    terms = [vector_term("state", 3, unit="1", source="walk")]
    if goals:
        seen: tuple[Group, ...] = (*BOTH, "achieved_goal")
        terms.append(vector_term("achieved", 2, unit="m", source="walk", groups=seen))
        desired: tuple[Group, ...] = (*BOTH, "desired_goal")
        terms.append(vector_term("desired", 2, unit="m", source="walk", groups=desired))
    if image:
        terms.append(
            Term(
                name="camera",
                shape=(2, 3, 1),
                dtype="uint8",
                unit="1",
                source="walk",
                groups=("policy", "critic"),
            )
        )
    return EnvSpec.parse(
        {
            "task": "walk/walk-v0",
            "observation": [term.as_tree() for term in terms],
            "action": [
                {"name": f"joint_{index}", "unit": "1", "low": -1.0, "high": 1.0} for index in range(2)
            ],
            "control_period_s": None,
            "max_episode_steps": None,
        }
    )


class Walk:
    """Transitions numbered from 0. Places are numbers of observations: those of all episodes differ.

    Args:
        spec: Task that `walk_spec` returned.
        count: Number of transitions.
    """

    def __init__(self, spec: EnvSpec, count: int) -> None:
        self._layout = spec.layout
        lengths = np.resize(_LENGTHS, count)
        self.episodes: NDArray[np.int64] = np.repeat(np.arange(count), lengths)[:count]
        """Episode of each transition. Shape (count,)."""
        self._places = np.arange(count) + self.episodes
        ends = np.array([_ENDS[episode % len(_ENDS)] for episode in self.episodes])
        is_last = np.append(self.episodes[1:] != self.episodes[:-1], False)
        self.terminations: NDArray[np.bool_] = ends[:, 0] & is_last
        self.truncations: NDArray[np.bool_] = ends[:, 1] & is_last
        self.rewards = np.cos(self._places).astype(np.float32)
        self.actions = np.stack([np.sin(self._places), np.cos(self._places)], axis=1).astype(np.float32)
        self._place_numbers = {int(place): number for number, place in enumerate(self._places)}

    def transition(self, number: int) -> Transition:
        """Return one transition."""
        return Transition(
            self.observations(np.array([number])).rows(0),
            self.actions[number],
            float(self.rewards[number]),
            self.next_observations(np.array([number])).rows(0),
            bool(self.terminations[number]),
            bool(self.truncations[number]),
            int(self.episodes[number]),
        )

    def observations(self, numbers: NDArray[np.int64]) -> Observation:
        """Return the observations before the steps."""
        return self._at(self._places[numbers], self.episodes[numbers])

    def next_observations(self, numbers: NDArray[np.int64]) -> Observation:
        """Return the observations after the steps."""
        return self._at(self._places[numbers] + 1, self.episodes[numbers])

    def find_rewards(self) -> RecordedRewards | None:
        """Return the task's reward function; None for a task without goals."""
        return self.compute_rewards if "desired" in self._layout.shapes else None

    def compute_rewards(
        self, _observations: Observation, _actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        """Return minus the distance to the goal, and a termination where it is below 0.5. Shapes (N,)."""
        offsets = next_observations["achieved"] - next_observations["desired"]
        distances: FloatArray = np.abs(offsets).sum(axis=1)
        return -distances, (distances < _NEAR).astype(np.float32)

    def numbers_of(self, observations: Observation) -> NDArray[np.int64]:
        """Return the number of the transition that begins with each observation.

        The last observation of an episode has the number after that of its last transition.

        Raises:
            ContractError: an observation belongs to no transition.
        """
        numbers = []
        for row, state in enumerate(observations["state"]):
            place = float(state[0])
            number = self._place_numbers.get(int(place)) if place.is_integer() else None
            if number is None and place.is_integer() and int(place) - 1 in self._place_numbers:
                number = self._place_numbers[int(place) - 1] + 1
            if number is None:
                raise ContractError(
                    f"expected recorded observations, found state {state.tolist()} in row {row}."
                )
            numbers.append(number)
        return np.array(numbers, dtype=np.int64)

    def _at(self, places: NDArray[np.int64], episodes: NDArray[np.int64]) -> Observation:
        found = self._layout.empty(len(places))
        found["state"][...] = np.stack([places, -places, places * 0.5], axis=1)
        if "achieved" in found.layout.shapes:
            found["achieved"][...] = np.stack([np.sin(places), np.cos(places)], axis=1)
            found["desired"][...] = np.stack([10.0 + episodes, -episodes], axis=1)
        for image in found.images.values():
            image[:, 0] = (places % _PLACES_PER_PIXEL)[:, None, None]
            image[:, 1] = (places // _PLACES_PER_PIXEL)[:, None, None]
        return found
