"""Mistakes that are planted in the release code: the lives of 300 seeds must find each.

Each replaces one text of one module, in memory, before the module is loaded. The text must be there once.
"""

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


class Mistake(NamedTuple):
    """A text of a module, and the text in its place."""

    module: str
    right: str
    wrong: str


MISTAKES = {
    "a record is not synced before the rename": Mistake(
        "history", "    disk.sync(temporary)  # before", "    # before"
    ),
    "a record is written in place": Mistake(
        "history", 'temporary = f"{folder}/.{name}.tmp"', "temporary = path"
    ),
    "leftovers of a crash are kept": Mistake(
        "history", "                disk.remove(", "                disk.read("
    ),
    "the names of records are not synced": Mistake(
        "history", "    disk.sync_folder(folder)\n", "    del folder\n"
    ),
    "the head is written before the record": Mistake(
        "log",
        "        try:\n            write_durably(self.world.disk, self._path(record), record.data)\n",
        "        try:\n            publish(self.world.registry, self.model, self.published, record)\n"
        "            self.published = record.sha256\n"
        "            write_durably(self.world.disk, self._path(record), record.data)\n",
    ),
    "a record follows the first one": Mistake(
        "log",
        "follows = parents or ((tip,) if tip else ())",
        "follows = tuple(self.history.records.values())[:1]",
    ),
    "the alias is not compared": Mistake(
        "log", "if bundle_of(found) != bundle_of(expected):", "if found is expected is None and self is None:"
    ),
    "the lease of another is taken": Mistake(
        "lease", "found.owner != self._owner and now", "found.owner == 0 and now"
    ),
    "a lease never ends": Mistake("lease", " and now.timestamp() < found.expires", ""),
    "the store's lock is not taken": Mistake(
        "lease",
        "stack.enter_context(world.registry.exclusive(model))",
        "True",
    ),
    "the alias is not read before it is set": Mistake(
        "move", "        log.require_unchanged(before)\n        is_moved", "        is_moved"
    ),
    "the alias is not read after it is set": Mistake(
        "move",
        "    log.require_unchanged(to)\n    if (tip",
        "    if (tip",
    ),
    "the alias is not read before proven": Mistake(
        "move", '    log.require_unchanged(to)\n    log.append("proven"', '    log.append("proven"'
    ),
    "a version is not proven before the intent": Mistake(
        "move", "        log.world.prove(log.world.registry, version)\n", ""
    ),
    "a champion is not proven after the move": Mistake(
        "move",
        "        log.world.prove(log.world.registry, find_version(log.world, log.model, to))",
        "        pass",
    ),
    "recovery always finishes": Mistake(
        "move",
        "    if bundle_of(alias_now(log.world, log.model)) == bundle_of(intent.to):\n        failure",
        "    if failure is None or failure:\n        failure",
    ),
    "recovery always undoes": Mistake(
        "move", "failure = failure or _failure_to_finish(log, intent, facts)", 'failure = failure or "undone"'
    ),
    "a move is undone on paper alone": Mistake("move", "        _put_back(log, intent)\n", ""),
    "an alias that is put back is not read again": Mistake(
        "move", "    log.require_unchanged(champion)\n", ""
    ),
    "a loser undoes what it did not move": Mistake("move", "if is_moved and bundle_of", "if bundle_of"),
    "a loser keeps its record": Mistake("log", "            self.world.disk.remove(self._path(tip))\n", ""),
    "a barred bundle may be promoted": Mistake(
        "bars", "if text and not again:", "if text and again is None:"
    ),
    "a rollback may return to a barred bundle": Mistake(
        "former",
        "free = [one for one in former if one.bundle not in history.barred and one.bundle != now]",
        "free = [one for one in former if one.bundle != now]",
    ),
    "bars are not shown to robots": Mistake(
        "bars",
        "        log.world.registry.set_version_tags(log.model, version.version, {BARRED_TAG: text})",
        "        del version, text",
    ),
    "a bar is never lifted": Mistake("history", "if bar.sha256 not in followed]", "if bar.sha256 not in ()]"),
    "a record that is not published is settled": Mistake(
        "releases", "(tip and tip.sha256) == (head and head.sha256)", "True"
    ),
    "a refused bundle is promoted": Mistake(
        "releases", "if not target.is_accepted:", "if target.is_accepted is None:"
    ),
    "an old verdict counts": Mistake(
        "releases", "if target.judged_against != bundle_of(champion):", "if target.judged_against == 0:"
    ),
    "drift is not reported": Mistake(
        "releases",
        "        if bundle_of(history.champion) != bundle_of(found):\n            raise drift_error(history, found, note)",
        "        if found is self:\n            raise drift_error(history, found, note)",
    ),
    "records are not committed": Mistake("committed_records", "    if not paths:", "    if folder:"),
    "a clone that is behind goes on": Mistake(
        "releases",
        "            if not joins:\n                self._require_current",
        "            if joins is None:\n                self._require_current",
    ),
}
"""By name."""


class _Planter(MetaPathFinder, Loader):
    """Loads one module with a mistake in it."""

    def __init__(self, mistake: Mistake) -> None:
        self._name = f"sacpipe.release.{mistake.module}"
        self._mistake = mistake

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        """Answer for the one module."""
        return ModuleSpec(fullname, self) if fullname == self._name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's source with the mistake."""
        package = importlib.util.find_spec("sacpipe.release")
        if package is None or package.submodule_search_locations is None:
            raise ImportError("sacpipe.release is not installed")
        path = Path(package.submodule_search_locations[0], f"{self._mistake.module}.py")
        source = path.read_text()
        found = source.count(self._mistake.right)
        if found != 1:
            raise ImportError(f"{path}: expected the text of a mistake once, found it {found} times")
        module.__file__ = str(path)
        code = compile(source.replace(self._mistake.right, self._mistake.wrong), str(path), "exec")
        exec(code, module.__dict__)  # noqa: S102


def plant(name: str) -> None:
    """Plant a mistake, before the release code is loaded."""
    if "sacpipe.release.log" in sys.modules:
        raise RuntimeError("the release code is loaded already")
    sys.meta_path.insert(0, _Planter(MISTAKES[name]))
