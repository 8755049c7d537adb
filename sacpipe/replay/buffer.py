"""The replay buffer: the newest transitions in memory.

A transition is one packed record; images are stored once. Episode ids are not stored, but how far each
transition is from the end of its episode. Samplers draw from `view()`.
"""

from collections.abc import Callable, Sequence

from sacpipe.replay.episode_ends import EpisodeEnds
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.ring import Ring
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition


class ReplayBuffer:
    """A ring of transitions in memory. Not thread-safe.

    Args:
        spec: Task of the transitions.
        capacity: Maximum number of transitions, at least 1.
    """

    def __init__(self, spec: EnvSpec, capacity: int) -> None:
        self.capacity = capacity
        self._ring = Ring(spec, capacity)
        records = self._ring.records
        self._observations, self._actions = records["observations"], records["actions"]
        self._next_observations, self._rewards = records["next_observations"], records["rewards"]
        self._terminations, self._truncations = records["terminations"], records["truncations"]
        self._ends = EpisodeEnds(records["steps_to_end"], self._ring.starts)

    def __len__(self) -> int:
        return len(self._ring)

    def view(self) -> BufferView:
        """Return what samplers see of this buffer; it shows later additions too."""
        return BufferView(self._ring)

    def add(self, transition: Transition) -> None:
        """Add one transition; a full ring overwrites its oldest."""
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
        self._ends.add(number, episode_id, ended=bool(terminated or truncated))
        ring.added += 1

    def extend(self, transitions: Transitions) -> None:
        """Add many transitions; the result is the same as one `add` for each.

        Raises:
            ValueError: the transitions have other terms or another action than this buffer's task.
        """
        self._check_task(transitions)
        skipped = max(0, len(transitions) - self.capacity)
        if skipped:
            self._skip(skipped)
        while skipped < len(transitions):
            slot = self._ring.added % self.capacity
            count = min(len(transitions) - skipped, self.capacity - slot)
            self._put(slot, transitions[skipped : skipped + count])
            skipped += count

    def load(self, parts: Sequence[tuple[int, Callable[[], Transitions]]]) -> None:
        """Extend by parts in order; a part that later parts would overwrite completely is not read.

        If a reader fails, the buffer must not be used any more.

        Args:
            parts: Length and reader of each part.
        """
        remaining = sum(count for count, _ in parts)
        for count, read in parts:
            remaining -= count
            if remaining >= self.capacity:
                self._skip(count)
            else:
                self.extend(read())

    def _skip(self, count: int) -> None:
        """Count transitions that would be overwritten at once, and so all transitions before them."""
        self._ring.added += count
        self._ends.skip_to(self._ring.added)

    def _put(self, slot: int, part: Transitions) -> None:
        """Copy a part into the slots from `slot` on; it fits before the ring's last slot."""
        ring, rows = self._ring, slice(slot, slot + len(part))
        self._observations[rows] = part.observations.vector
        self._actions[rows] = part.actions
        self._next_observations[rows] = part.next_observations.vector
        self._rewards[rows] = part.rewards
        self._terminations[rows] = part.terminations > 0
        self._truncations[rows] = part.truncations > 0
        if ring.images is not None:
            for row in range(len(part)):
                ring.images.put(slot + row, part.observations.rows(row), part.next_observations.rows(row))
        ended = (part.terminations > 0) | (part.truncations > 0)
        self._ends.extend(ring.added, part.episode_ids, ended)
        ring.added += len(part)

    def _check_task(self, transitions: Transitions) -> None:
        spec = self._ring.spec
        expected = (spec.layout.shapes, spec.action_dim)
        found = (transitions.observations.layout.shapes, transitions.actions.shape[1])
        if found != expected:
            raise ValueError(f"expected terms and action_dim {expected}, found {found}")
