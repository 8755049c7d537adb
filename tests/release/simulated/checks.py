"""The invariants of a life, each named. A robot looks at the registry after each change of it."""

import json
from typing import Any

from sacpipe.tracking.registry import BARRED_TAG
from simulated.clone import Clone
from simulated.git import Remote
from simulated.oracle import FOLDER, HISTORY, MODEL, Reading, read
from simulated.processes import Process
from simulated.store import Store

HEAD_TAG = "sacpipe.release_head"
LEASE_TAG = "sacpipe.release_lease"
CHAMPION = "champion"


class InvariantError(AssertionError):
    """An invariant does not hold."""


def require(what: str, *, expected: Any, found: Any) -> None:
    """Compare, and name the invariant that is broken."""
    if found != expected:
        raise InvariantError(f"{what}: expected {expected!r:.400}, found {found!r:.400}")


class Robot:
    """A robot that follows the champion and looks after each change: it always has one verified bundle."""

    def __init__(self, store: Store, disks: dict[Process, Clone]) -> None:
        self._store, self._clones = store, disks
        self.refused: set[str] = set()
        """Digests whose newest verdict is refused."""
        self.settled: set[str | None] = {None}
        """Champions of the histories when they were last settled: no proof is needed to return to one."""
        self.is_alias_foreign = False
        """Whether a hand moved the alias, and no command has since."""
        self.damaged: set[str] = set()
        """Digests whose bytes were changed or deleted in the registry."""
        self.has_raced = False
        """Whether two promoters acted at once on a store that excludes none, and no history was settled since:
        each may have acted on a look that was old."""
        self.left: str | None = None
        """What the command that moved the alias last had seen there before."""
        self._named: str | None = None
        store.on_change = self.look

    def look(self, process: Process | None, what: str) -> None:
        """Look at what the alias names after a change."""
        named = self.named()
        if process is None:
            self.is_alias_foreign |= what == "move_by_hand" or named != self._named
        elif " champion" in what:
            self.is_alias_foreign, self.left = False, process.aliases[-1] if process.aliases else None
            self._check_move(process, named)
        elif HEAD_TAG in what:
            self._check_publication(process)
        elif LEASE_TAG in what:
            self._check_lease(process)
        self._named = named
        if self.is_alias_foreign or named is None or named in self.damaged:
            return
        version = self.version(named)
        require("a robot gets verified bytes", expected=True, found=self._store.is_intact(version))
        if not self.has_raced:
            require("a robot gets no barred version", expected="", found=version.tags.get(BARRED_TAG, ""))
        require("a refused digest never acts", expected=False, found=named in self.refused)

    def named(self) -> str | None:
        """Return the digest of the bundle that the alias names."""
        policy = self._store.policy(MODEL)
        number = policy.aliases.get(CHAMPION)
        return None if number is None else policy.versions[number].bundle_digest

    def version(self, digest: str) -> Any:
        """Return the registered version of a bundle, or None."""
        versions = self._store.policy(MODEL).versions.values()
        return next((one for one in versions if one.bundle_digest == digest), None)

    def _check_move(self, process: Process, named: str | None) -> None:
        """Check a move: it is announced, it is compared with the alias as it is, and its target is proven."""
        intent = read(self._clones[process].disk).open_intent()
        if intent is None:
            raise InvariantError(f"an alias moves under an intent: found none, and it names {named} now")
        is_known = named in process.proven or named in self.settled or named == intent.before
        require("a version is proven before it acts", expected=True, found=is_known)
        require("an alias is read right before it is set", expected="versions", found=process.calls[-2])
        moves = {"set_alias", "delete_alias"} & set(process.calls[:-1])
        if named == intent.before and any(intent.digest[:12] in path for path in process.written):
            require("a promoter undoes its own move alone", expected=True, found=bool(moves))
        known = process.aliases[-2:] if named == intent.before else process.aliases[-1:]
        expected = intent.to if named == intent.before else intent.before
        require("an alias moves from where the intent says", expected=True, found=expected in known)

    def _check_lease(self, process: Process) -> None:
        """Check that a lease is not taken from another clone before its end."""
        now = self._store.policy(MODEL).tags[LEASE_TAG]
        seen = json.loads(process.tags.get(LEASE_TAG) or "{}")
        if now and seen and seen["owner"] != json.loads(now)["owner"]:
            require(
                "a lease is taken after its end", expected=True, found=seen["expires"] <= process.latest_s
            )

    def _check_publication(self, process: Process) -> None:
        """Check what a process did before it published a record that it wrote."""
        reading, tags = read(self._clones[process].disk), self._store.policy(MODEL).tags
        tip = reading.entries.get(json.loads(tags[HEAD_TAG])["sha256"])
        if tip is None:
            raise InvariantError(
                f"a record is on the disk before it is published: found none, and {tags[HEAD_TAG]}"
            )
        if not any(tip.digest[:12] in path for path in process.written):
            return
        moves = [number for number, call in enumerate(process.calls) if call in {"set_alias", "delete_alias"}]
        since = process.calls[moves[-1] :] if moves else process.calls
        if tip.kind == "moved" or (tip.kind == "restored" and moves):
            require("an alias is read after it is set", expected=True, found="versions" in since)
        elif tip.kind == "proven":
            if tip.to is not None:
                require("a champion is proven after the move", expected=True, found="prove" in since)
                since = since[max(n for n, call in enumerate(since) if call == "prove") :]
            require("an alias is read after the proof", expected=True, found="versions" in since[1:])


def check_settled(clone: Clone, store: Store, robot: Robot) -> None:
    """Check that nothing is half registered after a command or a recovery ended well."""
    reading, policy = read(clone.disk), store.policy(MODEL)
    require("a settled history has one tip", expected=True, found=len(reading.tips) <= 1)
    require("no intent is open", expected=None, found=reading.open_intent())
    require("the alias is where the history says", expected=reading.champion(), found=robot.named())
    head = policy.tags.get(HEAD_TAG, "")
    tip = reading.tip
    require("the head is the tip", expected=True, found=not head if tip is None else tip.digest in head)
    tagged = {one.bundle_digest for one in policy.versions.values() if one.tags.get(BARRED_TAG)}
    registered = {one.bundle_digest for one in policy.versions.values()}
    require("barred tags are the history's", expected=reading.barred() & registered, found=tagged)
    changed = [path for path in clone.git.changed(FOLDER) if path.startswith(HISTORY)]
    require("records are committed", expected=[], found=changed)
    verdicts = [
        f"{FOLDER}/verdicts/{entry.verdict}.json" for entry in reading.entries.values() if entry.verdict
    ]
    missing = [path for path in verdicts if not clone.git.holds(path)]
    require("verdicts of records are committed", expected=[], found=missing)
    leftover = [path for path in clone.disk.files(FOLDER) if "/." in path and clone.git.holds(path)]
    require("no leftover is committed", expected=[], found=leftover)
    check_prefix(clone, reading)
    robot.settled = {reading.champion()}


def check_prefix(clone: Clone, reading: Reading) -> None:
    """Check that the history before is a prefix of this one; a joined fork keeps both sides in their order."""
    order = {digest: number for number, digest in enumerate(reading.entries)}
    lost = [digest for digest in clone.seen if digest not in order]
    require("no published record is lost", expected=[], found=lost)
    for entry in reading.entries.values():
        for parent in entry.parents:
            require(
                "a record follows its parents",
                expected=True,
                found=order.get(parent, 1 << 60) < order[entry.digest],
            )
    clone.seen = list(order)


def check_remote(before: dict[str, bytes], remote: Remote) -> None:
    """Check that a push only adds records."""
    changed = [
        path for path, data in before.items() if path.startswith(HISTORY) and remote.tree.get(path) != data
    ]
    require("a pushed record stays as it is", expected=[], found=changed)
