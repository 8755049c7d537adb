"""Clones of one shared bare repository. A commit is atomic; a pull is the union of both sides' files."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sacpipe.core.errors import StoreError
from sacpipe.release.world import Actor
from simulated.disk import SimulatedDisk
from simulated.processes import Process

Tree = dict[str, bytes]


@dataclass
class Remote:
    """The bare repository that the clones share."""

    tree: Tree = field(default_factory=dict)
    commits: int = 0


class SimulatedGit:
    """The repository of one clone."""

    def __init__(self, process: Process, disk: SimulatedDisk, remote: Remote) -> None:
        self._process, self._disk, self._remote = process, disk, remote
        self._tree: Tree = {}
        self._edition = 0
        self._base: Tree = {}
        """The shared tree at the last pull or push."""
        self._seen = 0
        self._known: tuple[object, tuple[str, ...]] = (None, ())

    def actor(self) -> Actor:
        """Return the operator of this machine."""
        self._process.require_alive()
        return Actor(name=f"Operator {self._process.name}", email=f"{self._process.name}@example.org")

    def uncommitted(self, folder: str) -> tuple[str, ...]:
        """Return files below a folder that differ from the commit."""
        self._process.require_alive()
        return self.changed(folder)

    def lost(self, folder: str) -> tuple[str, ...]:
        """Return files below a folder that the commit has, and the disk lacks or has otherwise."""
        self._process.require_alive()
        return tuple(path for path in self.changed(folder) if path in self._tree)

    def changed(self, folder: str) -> tuple[str, ...]:
        """Return the same outside of any process."""
        key = (folder, self._disk.edition, self._edition)
        if self._known[0] != key:
            below, found = f"{folder}/", self._disk.files(folder)
            different = {path for path, data in found.items() if self._tree.get(path) != data}
            different |= {path for path in self._tree if path not in found and path.startswith(below)}
            self._known = (key, tuple(sorted(different)))
        return self._known[1]

    def commit(self, paths: Sequence[str], message: str) -> str:
        """Commit files and folders as they are on the disk."""
        self._process.operation(f"commit {len(paths)} {message.splitlines()[0]}")
        if self._process.count in self._process.faults.git:
            self._process.simulation.trace.add(f"{self._process.name} ! commit fails")
            raise StoreError("git commit failed: a hook refused it.")
        tree = dict(self._tree)
        for path in paths:
            for changed in (path,) if self._disk.peek(path) is not None else self.changed(path):
                data = self._disk.peek(changed)
                if data is None:
                    del tree[changed]
                else:
                    tree[changed] = data
        self._tree, self._edition = tree, self._edition + 1
        return f"commit {self._edition}"

    def pull(self) -> str:
        """Merge the shared tree into the clone's; return what stops it, or nothing.

        The merged files are written as git writes them: nothing syncs them. Older ones are durable by then.
        """
        theirs, merged, arrived = self._remote.tree, dict(self._tree), 0
        for path in sorted({*theirs, *self._base}):
            own, base, other = self._tree.get(path), self._base.get(path), theirs.get(path)
            if other in (base, own):
                continue
            if own != base:
                return f"merge conflict: {path}"
            on_disk = self._disk.peek(path)
            if on_disk not in (None, own, other):
                return f"{path} would be overwritten by merge"
            arrived += 1
            if other is None:
                del merged[path]
            else:
                merged[path] = other
        self._disk.write_back()
        for path in sorted({*merged, *self._tree}):
            if merged.get(path) != self._tree.get(path):
                self._disk.put(path, merged.get(path))
        self._tree, self._base, self._seen = merged, dict(theirs), self._remote.commits
        self._edition += 1
        self._process.simulation.trace.add(f"{self._process.name} pull {arrived}")
        return ""

    def push(self) -> bool:
        """Push the clone's tree; return whether the repository took it: only where it was pulled before."""
        if self._seen != self._remote.commits:
            return False
        if self._tree != self._remote.tree:
            self._remote.tree = dict(self._tree)
            self._remote.commits += 1
            self._base, self._seen = dict(self._tree), self._remote.commits
            self._process.simulation.trace.add(f"{self._process.name} push")
        return True

    def restore(self, folder: str) -> None:
        """Write every file below a folder as it is committed, as `git restore` does."""
        for path in self.changed(folder):
            if path in self._tree:
                self._disk.put(path, self._tree[path])

    def holds(self, path: str) -> bool:
        """Return whether a file is committed."""
        return path in self._tree
