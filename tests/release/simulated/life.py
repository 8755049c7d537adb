"""A life of 100 release commands from a seed, by one or two promoters, with faults; invariants after each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sacpipe.core.errors import ReleaseError
from sacpipe.release.head import LostRaceError
from sacpipe.release.record import Release
from sacpipe.release.releases import Target
from sacpipe.tracking.registry import BUNDLE_TAG, VersionRecord
from simulated.checks import InvariantError, Robot, check_settled, require
from simulated.clone import Clone, Weather
from simulated.git import Remote
from simulated.oracle import MODEL, Reading, read
from simulated.processes import Crash, Faults, Outcome, Simulation, Trace
from simulated.recovery import Recovery, require_error
from simulated.store import Store, files_digest, simulated_bundle

COMMANDS = 100


@dataclass
class Command:
    """One release command, and what it must not do."""

    text: str
    call: Callable[[], Any]
    target: str | None = None
    """Digest that becomes the champion where the command ends well; None where it is not known before."""
    is_forbidden: str = ""
    """Why the target may not act."""
    allows: str | None = None
    """Digest whose bar it lifts."""


class Life:
    """One seed."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        self.seed = seed
        self.simulation = Simulation(seed, keep_trace=keep_trace)
        self.choice = self.simulation.random
        self.store = Store(excludes=self.choice.random() < 0.5)
        self.remote = Remote()
        self.weather = Weather.draw(self.choice)
        clones = [
            Clone(self.simulation, self.store, self.remote, name)
            for name in ("A", "B")[: self.choice.choice((1, 2))]
        ]
        self.robot = Robot(self.store, {clone.process: clone for clone in clones})
        self.recovery = Recovery(self.simulation, self.store, self.remote, self.robot)
        self.recovery.clones = self.clones = clones
        self.barred: set[str] = set()
        """Digests whose rollback ended well, and that no command with --again has named since."""
        self.acknowledged: list[str] = []
        """Newest record of each command that ended well."""
        for _ in range(3):
            self._register()

    def run(self) -> str:
        """Live; return the digest of the trace.

        Raises:
            InvariantError: an invariant does not hold.
        """
        done = 0
        while done < COMMANDS:
            if self.choice.random() < 0.1:
                self._register()
            if self.choice.random() < self.weather.hand / 3:
                self._hand()
            if len(self.clones) == 2 and self.choice.random() < 0.4:
                self._race()
                done += 2
            else:
                self._one(self.choice.choice(self.clones))
                done += 1
        self._end()
        return self.simulation.trace.digest()

    def _one(self, clone: Clone) -> None:
        """One command of one clone, alone."""
        command = self._command(clone)
        faults = self.weather.faults(clone, self._hand, self._damage)
        outcome = self.recovery.run(clone, self._announced(clone, command), faults)
        self._after(clone, command, outcome)
        if self.choice.random() < 0.6:
            self.recovery.settle(clone)
        if self.choice.random() < 0.7 and len(self.clones) == 2:
            self.recovery.push(clone)

    def _race(self) -> None:
        """A command of each clone at the same time."""
        is_quiet = self.choice.random() < 0.35
        if is_quiet:
            self._agree()
            self.simulation.seconds += 200_000.0  # the lease of a command that died has ended
        self.recovery.may_fork |= not (is_quiet and self.store.excludes)
        commands = {clone: self._command(clone, only_promote=is_quiet) for clone in self.clones}
        for clone in self.clones:
            clone.process.start(
                Faults() if is_quiet else self.weather.faults(clone, self._hand, self._damage)
            )
        self.robot.has_raced = not self.store.excludes
        before = {clone: set(read(clone.disk).entries) for clone in self.clones}
        outcomes = self.simulation.run(
            {clone.process: self._announced(clone, command) for clone, command in commands.items()}
        )
        for clone, command in commands.items():
            self._after(clone, command, outcomes[clone.process], is_alone=False)
        if is_quiet:
            self._check_race(before, outcomes)
        for clone in self.clones:
            if self.choice.random() < 0.6:
                self.recovery.settle(clone)

    def _after(self, clone: Clone, command: Command, outcome: Outcome, *, is_alone: bool = True) -> None:
        """Judge how a command ended."""
        clone.longest = max(clone.longest * 9 // 10, clone.process.count, 10)
        if isinstance(outcome.error, Crash):
            self.recovery.may_fork = len(self.clones) > 1
            if self.choice.random() < self.weather.power:
                self.simulation.trace.add(f"{clone.process.name} loses power")
                clone.disk.crash()
            return
        if outcome.error is not None:
            require_error(outcome)
            self.recovery.may_fork |= len(self.clones) > 1 and not isinstance(outcome.error, ReleaseError)
            self.simulation.trace.add(f"{clone.process.name} fails: {outcome.error}")
            return
        self.simulation.trace.add(f"{clone.process.name} is done: {outcome.value}")
        if command.is_forbidden:
            raise InvariantError(f"{command.is_forbidden}: expected an error of '{command.text}', found none")
        tip = read(clone.disk).tip
        self.acknowledged += [] if tip is None else [tip.digest]
        if is_alone and not self.robot.is_alias_foreign:
            named = self.robot.named()
            if command.text.startswith("rollback") and self.robot.left not in (None, named):
                self.barred |= {self.robot.left}
            require("a command does what it says", expected=command.target or named, found=named)
            require("a barred digest never acts", expected=False, found=named in self.barred)
            check_settled(clone, self.store, self.robot)

    def _check_race(self, before: dict[Clone, set[str]], outcomes: dict[Any, Outcome]) -> None:
        """Check that one of two promoters wins where the store excludes, and that both agree afterwards."""
        errors = [outcomes[clone.process].error for clone in before]
        if self.store.excludes:
            found = [str(error) for error in errors]
            require(f"one of two promoters wins ({found})", expected=1, found=errors.count(None))
        for (clone, known), error in zip(before.items(), errors, strict=True):
            if isinstance(error, LostRaceError):
                left = set(read(clone.disk).entries) - known
                require("a promoter that lost leaves no record", expected=set(), found=left)
        self._agree()

    def _agree(self) -> None:
        """Let every clone settle and share its records, and compare them."""
        for _ in range(2):
            for clone in self.clones:
                self.recovery.settle(clone)
                self.recovery.push(clone)
        readings = [read(clone.disk).entries for clone in self.clones]
        for clone, reading in zip(self.clones, readings, strict=True):
            require("all clones have one history", expected=list(readings[0]), found=list(reading))
            lost = [digest for digest in self.acknowledged if digest not in reading]
            require(f"no acknowledged record is lost by {clone.process.name}", expected=[], found=lost)
            check_settled(clone, self.store, self.robot)

    def _announced(self, clone: Clone, command: Command) -> Callable[[], Any]:
        self.simulation.trace.add(f"{clone.process.name} command: {command.text}")
        self.barred -= {command.allows}
        return command.call

    def _command(self, clone: Clone, *, only_promote: bool = False) -> Command:
        """Draw a command as the operator of a clone gives it, who knows that clone's history."""
        reading, kind = read(clone.disk), self.choice.random()
        if only_promote or kind < 0.65:
            return self._promote(clone, reading, is_sound=only_promote)
        if kind < 0.75:
            return Command("settle", clone.releases.settle)
        former = reading.former()
        if not former or kind < 0.9:
            return Command("rollback", lambda: clone.releases.rollback(None, reason="worse"))
        to = self.choice.choice(former)
        release = Release(version=self._number(to), bundle=to)
        return Command(
            f"rollback --to {to[:12]}",
            lambda: clone.releases.rollback(release, reason="worse"),
            target=to,
            is_forbidden="a barred digest never acts" if to in self.barred else "",
        )

    def _promote(self, clone: Clone, reading: Reading, *, is_sound: bool) -> Command:
        champion, barred = reading.champion(), reading.barred()
        digests = sorted(self.recovery.contents)
        if is_sound:
            digests = [
                digest
                for digest in digests
                if digest not in barred | self.robot.damaged | self.robot.refused | {champion}
            ] or [self._register(is_sound=True)]
        to = self.choice.choice(digests)
        is_off = not is_sound and self.choice.random() < 0.1
        if is_off or (to in self.robot.refused and self.choice.random() < 0.2):
            self.robot.refused.discard(to)  # the gate is off, or the candidate is judged better now
        is_accepted = to not in self.robot.refused
        again = to in barred and self.choice.random() < 0.4
        judged_against = champion if self.choice.random() < 0.95 or is_sound else None
        target = Target(
            self._version(to),
            verdict=None if is_off else {"accepted": is_accepted, "candidate": to},
            is_accepted=is_accepted,
            judged_against=judged_against,
        )
        forbidden = "" if is_accepted else "a refused digest never acts"
        if not is_off and judged_against != champion and reading.open_intent() is None:
            forbidden = "a verdict counts against the champion that it names"
        if to in self.barred and not again:
            forbidden = "a barred digest never acts"
        return Command(
            f"promote {to[:12]}{' --again' * again}{' (refused)' * (not is_accepted)}",
            lambda: clone.releases.promote(target, reason="better", again=again),
            target=to,
            is_forbidden=forbidden if to != champion else "",
            allows=to if again else None,
        )

    def _register(self, *, is_sound: bool = False) -> str:
        """Register a candidate, as `sacpipe run` does."""
        content = f"policy {len(self.recovery.contents)} of seed {self.seed}".encode()
        files = simulated_bundle(content)
        digest = files_digest(files)
        self.recovery.contents[digest] = content
        self.store.files[digest] = files
        policy = self.store.policy(MODEL)
        number = max([0, *policy.versions, *policy.deleted]) + 1
        policy.versions[number] = VersionRecord(MODEL, number, "run", digest, {BUNDLE_TAG: digest}, ())
        self.simulation.trace.add(f"register {digest[:12]} as version {number}")
        if not is_sound and self.choice.random() < 0.25:
            self.robot.refused.add(digest)
        return digest

    def _version(self, digest: str) -> VersionRecord:
        policy = self.store.policy(MODEL)
        known = {one.bundle_digest: one for one in (*policy.lost.values(), *policy.versions.values())}
        return known[digest]

    def _number(self, digest: str) -> int:
        return self._version(digest).version

    def _hand(self) -> None:
        """Move the champion's alias by hand."""
        version = self.choice.choice([None, *sorted(self.store.policy(MODEL).versions)])
        self.simulation.trace.add(f"a hand moves the alias to version {version}")
        self.store.move_by_hand(MODEL, "champion", version)

    def _damage(self) -> None:
        """Change a byte of a version, or delete it."""
        versions = self.store.policy(MODEL).versions
        number = self.choice.choice(sorted(versions))
        digest = versions[number].bundle_digest
        if digest in self.robot.damaged:
            return
        self.robot.damaged.add(digest)
        self.simulation.trace.add(f"version {number} is damaged")
        if self.choice.random() < 0.5:
            self.store.flip_a_byte(MODEL, number)
        else:
            self.store.delete_by_hand(MODEL, number)

    def _end(self) -> None:
        """Let all faults end."""
        self._agree()
        self.simulation.trace.add("end")


def live(seed: int, *, keep_trace: bool = False) -> tuple[Trace, str | None]:
    """Live the life of a seed; return its trace, and what broke with the command that replays it."""
    life = Life(seed, keep_trace=keep_trace)
    try:
        life.run()
    except InvariantError as exc:
        again = f"PYTHONPATH=.:tests/release python -m simulated {seed}"
        return life.simulation.trace, f"seed {seed}, step {life.simulation.trace.steps}: {exc}\n    {again}"
    return life.simulation.trace, None
