"""The replay buffer: the newest transitions in memory.

A transition is one packed record; images are stored once. Episode ids are not stored, but how far each
transition is from the end of its episode. Samplers draw from `view()`.

Several environments add in turn: with K of them, number i, counted from the first ever added, is of
environment i modulo K, so the next transition of its episode is K slots further.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sacpipe.replay.episode_ends import EpisodeEnds
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.view import BufferView, Ring
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

Parts = Sequence[tuple[int, Callable[[], Transitions]]]
"""Length and reader of each part of a pool, in order."""


class ReplayBuffer:
    """A ring of transitions in memory. Not thread-safe.

    Args:
        spec: Task of the transitions.
        capacity: Maximum number of transitions, at least 1.
        num_environments: Number of environments whose transitions are added in turn, beginning with the
            first. The capacity is rounded down to a multiple of it.
    """

    def __init__(self, spec: EnvSpec, capacity: int, num_environments: int = 1) -> None:
        self._stride = num_environments
        self._places = max(1, capacity // num_environments)  # of each environment
        self.capacity = self._places * num_environments
        self._ring = Ring(spec, self.capacity, num_environments)
        records = self._ring.records
        self._observations, self._actions = records["observations"], records["actions"]
        self._next_observations, self._rewards = records["next_observations"], records["rewards"]
        self._terminations, self._truncations = records["terminations"], records["truncations"]
        steps, starts = records["steps_to_end"], self._ring.starts
        self._ends = [
            EpisodeEnds(steps[first::num_environments], starts[first]) for first in range(num_environments)
        ]

    def __len__(self) -> int:
        return len(self._ring)

    def view(self) -> BufferView:
        """Return what samplers see of this buffer; it shows later additions too."""
        return BufferView(self._ring)

    def add(self, transition: Transition) -> None:
        """Add one transition, of the environment whose turn it is; a full ring overwrites its oldest."""
        ring = self._ring
        number, slot = ring.added, ring.added % self.capacity
        observation, action, reward, following, terminated, truncated, episode_id = transition
        self._observations[slot] = observation.vector
        self._actions[slot] = action
        self._next_observations[slot] = following.vector
        self._rewards[slot] = reward
        self._terminations[slot] = terminated
        self._truncations[slot] = truncated
        if ring.images is not None:
            ring.images.put(slot, observation, following)
        ends = self._ends[number % self._stride]
        ends.add(number // self._stride, episode_id, ended=bool(terminated or truncated))
        ring.added += 1

    def extend(self, transitions: Transitions) -> None:
        """Add many transitions of one environment; the result is the same as one `add` for each.

        Raises:
            ValueError: the transitions have other terms or another action than this buffer's task, or the
                buffer is of several environments.
        """
        if self._stride != 1:
            raise ValueError("expected a buffer of one environment, found one of several; see load_in_turn")
        self._extend(transitions, 0, self._ring.added)
        self._ring.added += len(transitions)

    def load(self, parts: Parts) -> None:
        """Extend by parts in order; a part that later parts would overwrite completely is not read.

        If a reader fails, the buffer must not be used any more.

        Args:
            parts: Length and reader of each part, all of one environment.
        """
        remaining = sum(count for count, _ in parts)
        for count, read in parts:
            remaining -= count
            if remaining >= self.capacity:
                self._ring.added += count
                self._ends[0].skip_to(self._ring.added)
            else:
                self.extend(read())

    def load_in_turn(self, parts: Parts, environments: NDArray[np.integer]) -> None:
        """Fill an empty buffer with episodes of several environments, as if `add` had taken turns.

        Args:
            parts: Length and reader of each part; each episode's transitions are neighbours, and the episodes
                of one environment are in order. All environments have equally many transitions.
            environments: Environment of each episode, by its id.

        Raises:
            ValueError: the environments have not equally many transitions, or the buffer is not empty.
        """
        counts = [0] * self._stride
        for _, read in parts:
            transitions = read()
            of_rows = environments[transitions.episode_ids]
            for environment in np.unique(of_rows).tolist():
                rows = np.flatnonzero(of_rows == environment)
                self._extend(transitions[rows], environment, counts[environment])
                counts[environment] += len(rows)
        if len({*counts}) > 1 or self._ring.added:
            raise ValueError(f"expected equally many transitions of each environment, found {counts}")
        self._ring.added = sum(counts)

    def _extend(self, transitions: Transitions, environment: int, count: int) -> None:
        """Put transitions of an environment after its first `count` ones, without counting them."""
        self._check_task(transitions)
        end, begin = count + len(transitions), count
        if len(transitions) > self._places:
            begin = end - self._places
            self._ends[environment].skip_to(begin)
        while begin < end:
            place = begin % self._places
            following = min(end, begin + self._places - place)
            self._put(transitions[begin - count : following - count], environment, begin)
            begin = following

    def _put(self, part: Transitions, environment: int, count: int) -> None:
        """Copy a part into an environment's places; it fits before the last of them."""
        ring, first = self._ring, count % self._places * self._stride + environment
        rows = slice(first, first + len(part) * self._stride, self._stride)
        self._observations[rows] = part.observations.vector
        self._actions[rows] = part.actions
        self._next_observations[rows] = part.next_observations.vector
        self._rewards[rows] = part.rewards
        self._terminations[rows] = part.terminations > 0
        self._truncations[rows] = part.truncations > 0
        if ring.images is not None:
            for row in range(len(part)):
                slot = first + row * self._stride
                ring.images.put(slot, part.observations.rows(row), part.next_observations.rows(row))
        ended = (part.terminations > 0) | (part.truncations > 0)
        self._ends[environment].extend(count, part.episode_ids, ended)

    def _check_task(self, transitions: Transitions) -> None:
        spec = self._ring.spec
        expected = (spec.layout.shapes, spec.action_dim)
        found = (transitions.observations.layout.shapes, transitions.actions.shape[1])
        if found != expected:
            raise ValueError(f"expected terms and action_dim {expected}, found {found}")
