"""Puts the files that a new project begins with into the wheel: pipelines/, dvc.yaml and params.yaml.

They are this repository's own, copied when the wheel is built, so that there is one copy of each in git.
Everything else about the package is in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
TEMPLATE = "sacpipe/project/template"
FILES = ("dvc.yaml", "params.yaml", *sorted(str(path) for path in Path("pipelines").rglob("*.py")))


class BuildWithTemplate(build_py):
    """Copies the template data behind the packages."""

    def run(self) -> None:
        """Build the packages, then add the template."""
        super().run()
        if self.editable_mode:
            return
        for name in FILES:
            target = Path(self.build_lib) / TEMPLATE / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


setup(cmdclass={"build_py": BuildWithTemplate})
