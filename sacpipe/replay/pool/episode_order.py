"""Keeps the transitions of each episode together in a pool while several episodes run at once.

Episodes are in the pool in the order in which they began. The oldest running episode is written step by step;
the transitions of later ones wait in memory until all episodes before theirs have ended. No environment takes
more steps than the oldest episode meanwhile, so at most its length waits for each other environment.
"""

from collections.abc import Callable, Collection, Iterator

from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.records import Transition


class EpisodeOrder:
    """Appends transitions of several running episodes to a pool. Episode ids count the episodes begun.

    Args:
        writer: Of the pool.
        running: Ids of the running episodes.
        waiting: What `waiting` returned, after a resume.
    """

    def __init__(
        self, writer: PoolWriter, running: Collection[int], waiting: Transitions | None = None
    ) -> None:
        self._writer = writer
        self._oldest = min(running)
        """Id of the episode that is written step by step."""
        self._waiting: dict[int, list[Transition]] = {}
        self._ended: set[int] = set()
        for transition in () if waiting is None else waiting.each():
            self._waiting.setdefault(transition.episode_id, []).append(transition)
        self._ended.update(self._waiting.keys() - {*running})

    def append(self, transition: Transition) -> None:
        """Add one transition of a running episode.

        Raises:
            StorageError: see `PoolWriter.append`.
        """
        if transition.episode_id == self._oldest:
            self._writer.append(transition)
        else:
            self._waiting.setdefault(transition.episode_id, []).append(transition)

    def end(self, episode_id: int) -> None:
        """End a running episode.

        Raises:
            StorageError: see `PoolWriter.append`.
        """
        self._ended.add(episode_id)
        while self._oldest in self._ended:
            self._ended.remove(self._oldest)
            self._oldest += 1
            for transition in self._waiting.pop(self._oldest, ()):
                self._writer.append(transition)

    def waiting(self) -> Transitions | None:
        """Return the transitions that the pool does not have yet, by episode; None if there are none."""
        found = list(self._in_order())
        return Transitions.of_steps(found) if found else None

    def tail(self, episode_id: int) -> Transitions:
        """Return the transitions of a running episode so far; no rows if it has not begun."""
        waiting = self.waiting()
        if episode_id == self._oldest or waiting is None:
            return self._writer.tail(episode_id)
        return waiting[waiting.episode_ids == episode_id]

    def parts(self) -> list[tuple[int, Callable[[], Transitions]]]:
        """Return length and reader of the pool's segments in order, and of what waits."""
        waiting = self.waiting()
        parts = self._writer.parts()
        return parts if waiting is None else [*parts, (len(waiting), lambda: waiting)]

    def finish(self) -> None:
        """Write what waits, and finish the pool. To continue, resume the writer from an earlier position.

        Raises:
            StorageError: see `PoolWriter.finish`.
        """
        for transition in self._in_order():
            self._writer.append(transition)
        self._writer.finish()

    def _in_order(self) -> Iterator[Transition]:
        return (transition for _, rows in sorted(self._waiting.items()) for transition in rows)
