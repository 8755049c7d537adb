"""What an operator does until a clone is settled again: only what a release command advises, and nothing else.

An advice that the state of the world does not explain breaks an invariant: the code itself made that state.
"""

from collections.abc import Callable
from typing import Any

from sacpipe.core.errors import BusyError, SacpipeError
from simulated.checks import InvariantError, Robot, check_remote, check_settled, require
from simulated.clone import Clone
from simulated.git import Remote
from simulated.oracle import FOLDER, MODEL, Reading, read
from simulated.processes import Crash, Faults, Outcome, Simulation
from simulated.store import Store, simulated_bundle

_TRIES = 12


class Recovery:
    """The operators of all clones, on a quiet day: nothing fails."""

    def __init__(self, simulation: Simulation, store: Store, remote: Remote, robot: Robot) -> None:
        self._simulation, self._store, self._remote, self._robot = simulation, store, remote, robot
        self.clones: list[Clone] = []
        self.contents: dict[str, bytes] = {}
        """Policy of each bundle that was ever registered, as DVC keeps it."""
        self.may_fork = False
        """Whether clones released in turns that a crash or a fault interrupted, or at the same time."""

    def run(self, clone: Clone, call: Callable[[], Any], faults: Faults | None = None) -> Outcome:
        """Run one command of one clone, alone."""
        clone.process.start(faults or Faults())
        return self._simulation.run({clone.process: call})[clone.process]

    def settle(self, clone: Clone) -> None:
        """Let the operator of a clone do what the commands advise until its history is settled.

        Raises:
            InvariantError: the advice has no cause, or leads nowhere.
        """
        intent, named = read(clone.disk).open_intent(), self._robot.named()
        said = ""
        for _ in range(_TRIES):
            outcome = self.run(clone, clone.releases.settle)
            if outcome.error is None:
                break
            require_error(outcome)
            said = str(outcome.error)
            self._heed(clone, outcome.error)
            intent = None
        else:
            raise InvariantError(f"recovery ends: found the same advice after {_TRIES} tries: {said}")
        check_settled(clone, self._store, self._robot)
        self._robot.has_raced = False
        if intent is not None and named == intent.to and named not in self._robot.damaged:
            require("recovery finishes what the alias shows", expected=named, found=self._robot.named())

    def _heed(self, clone: Clone, error: BaseException) -> None:
        """Do what helps in the state that the world is in."""
        reading = read(clone.disk)
        head = self._store.policy(MODEL).tags.get("sacpipe.release_head", "")
        if isinstance(error, BusyError):
            raise InvariantError(f"a lock ends with its process: found {error}")
        if any(clone.git.holds(path) for path in clone.git.changed(FOLDER)):
            clone.git.restore(FOLDER)  # a power cut took files that a pull had written
        elif head and not any(digest in head for digest in reading.entries):
            self._fetch(clone, head, error)
        elif "is being released by" in str(error):
            self._wait()
        elif len(reading.tips) > 1:
            self._join(clone, error)
        else:
            self._end_drift(clone, reading, error)

    def _fetch(self, clone: Clone, head: str, error: BaseException) -> None:
        """Bring the newest record from the clone that has it."""
        others = [
            other for other in self.clones if any(digest in head for digest in read(other.disk).entries)
        ]
        if not others:
            raise InvariantError(f"the newest published record is on some disk: found none, and {error}")
        for other in others:
            self.commit(other)
            self.push(other)
        self.pull(clone)
        if not any(digest in head for digest in read(clone.disk).entries):
            raise InvariantError(f"git brings the newest record: found it missing still, and {error}")

    def _join(self, clone: Clone, error: BaseException) -> None:
        """Join a fork, with all sides present."""
        if not self.may_fork:
            raise InvariantError(f"a fork has a cause: found none, and {error}")
        for other in self.clones:
            self.commit(other)
            self.push(other)
        for other in self.clones:
            self.pull(other)
        if len(read(clone.disk).tips) > 1:
            outcome = self.run(clone, lambda: clone.releases.resolve("both were released"))
            if outcome.error is not None:
                require_error(outcome)
                self._wait()
                self._heal()
            self.push(clone)

    def _end_drift(self, clone: Clone, reading: Reading, error: BaseException) -> None:
        """Adopt or restore what a hand did; first register again what is lost."""
        champion, named = reading.champion(), self._robot.named()
        lost = {champion, named} & self._robot.damaged
        if not (lost or ((self._robot.is_alias_foreign or self._robot.has_raced) and champion != named)):
            raise InvariantError(f"an error has a cause: found none, and {type(error).__name__}: {error}")
        if lost and self._simulation.random.random() < 0.7:
            self._heal()
        if champion == named:
            self._heal()
            return
        may_adopt = named not in self._robot.refused | set(reading.barred())
        adopts = may_adopt and self._simulation.random.random() < 0.5
        call = clone.releases.adopt if adopts else clone.releases.restore
        outcome = self.run(clone, lambda: call("a hand moved it"))
        if outcome.error is not None:
            require_error(outcome)
            self._wait()
            if not adopts:
                self._heal()

    def _wait(self) -> None:
        """Wait for the end of a lease that a dead command left; a clock may have been a day ahead."""
        self._simulation.seconds += 200_000.0

    def _heal(self) -> None:
        """Write and register again what was damaged, as `ledger rebuild` does from DVC's bytes."""
        self._store.heal(
            MODEL, {digest: simulated_bundle(self.contents[digest]) for digest in sorted(self._robot.damaged)}
        )
        self._robot.damaged.clear()
        self._simulation.trace.add("heal")

    def push(self, clone: Clone) -> None:
        """Pull and push, as far as git takes it."""
        self.pull(clone)
        before = dict(self._remote.tree)
        clone.git.push()
        check_remote(before, self._remote)

    def pull(self, clone: Clone) -> None:
        """Pull, which takes every merge: two clones write other files."""
        if stopped := clone.git.pull():
            raise InvariantError(f"git merges the release records of two clones: found {stopped}")

    def commit(self, clone: Clone) -> None:
        """Commit records that no command could commit, as `git add release/*.json` does."""
        clone.process.start(Faults())
        paths = [path for path in clone.git.changed(FOLDER) if "/." not in path and not clone.git.holds(path)]
        clone.git.commit(paths, "records of a command that was interrupted")


def require_error(outcome: Outcome) -> None:
    """Check that a command ended by an error of the product's own, or by its death."""
    if not isinstance(outcome.error, (SacpipeError, Crash)):
        raise InvariantError(f"a command ends by its own errors: found {outcome.error!r}") from outcome.error
