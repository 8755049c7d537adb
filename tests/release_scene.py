"""A project with a folder's registry, and the release commands in it."""

import json
import re

from small_project import git, with_release

from sacpipe.project.workspace import Workspace
from sacpipe.tracking.chosen import open_ledger

NAME = "point-mass-v0"


class Scene:
    """A project on a folder's registry."""

    def __init__(self, root, call):
        self.root, self._call = root, call

    def set_release(self, *rules, **values):
        path = self.root / "params.yaml"
        path.write_text(with_release(path.read_text(), *rules, **values))

    def another_bundle(self, steps):
        """Ask for another bundle of the same network."""
        path = self.root / "params.yaml"
        text, count = re.subn(r"golden_steps: \d+", f"golden_steps: {steps}", path.read_text())
        assert count == 1
        path.write_text(text)

    def run(self, *arguments, code=0):
        return self._seen("run", "--engine", "local", *arguments, code=code)

    def release(self, *arguments, code=0):
        return self._seen(*arguments, "--reason", "a test", code=code)

    def _seen(self, *arguments, code):
        seen = self._call(self.root, *arguments)
        assert seen.code == code, seen.out + seen.err
        return seen

    @property
    def registry(self):
        return open_ledger(Workspace(self.root)).registry

    def aliases(self):
        """Return the number that each alias names."""
        versions = self.registry.versions(NAME)
        return {alias: version.version for version in versions for alias in version.aliases}

    def changed(self):
        return git(self.root, "status", "--porcelain", "--untracked-files=all").splitlines()

    def history(self):
        paths = sorted((self.root / "release" / NAME / "history").glob("*.json"))
        return [json.loads(path.read_text()) for path in paths]
